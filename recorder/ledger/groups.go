package ledger

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Of a tree that is only read, memory holds the hashes of whole groups of
// leaves and of what is above them: 64 bytes for 256 leaves. Those below are
// computed again from the leaves of a group when a proof needs them.
const (
	groupLevel = 8
	groupSize  = 1 << groupLevel
)

// groups are the hashes of a tree that grows while it is read.
type groups struct {
	size   int64
	starts []position  // where each group begins
	upper  []tlog.Hash // stored hashes (tlog.StoredHashIndex) of a tree whose leaves are whole groups
	tail   []tlog.Hash // of the leaves after the last whole group
}

// add adds a leaf, which begins at p.
func (g *groups) add(h tlog.Hash, p position) error {
	if len(g.tail) == 0 {
		g.starts = append(g.starts, p)
	}
	g.tail = append(g.tail, h)
	g.size++
	if len(g.tail) < groupSize {
		return nil
	}
	upper, err := tlog.StoredHashesForRecordHash(g.size/groupSize-1, subtree(g.tail), tlog.HashReaderFunc(g.above))
	g.upper, g.tail = append(g.upper, upper...), g.tail[:0]
	return err
}

// subtree returns the root over a power of two of hashes.
func subtree(h []tlog.Hash) tlog.Hash {
	if len(h) == 1 {
		return h[0]
	}
	return tlog.NodeHash(subtree(h[:len(h)/2]), subtree(h[len(h)/2:]))
}

var errNoHash = errors.New("the ledger has no such hash")

func (g *groups) above(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, n := range indexes {
		if n < 0 || n >= int64(len(g.upper)) {
			return nil, errNoHash
		}
		found[i] = g.upper[n]
	}
	return found, nil
}

// reader reads the stored hashes of all leaves.
func (g *Log) reader() tlog.HashReader { return tlog.HashReaderFunc(g.readHashes) }

func (g *Log) readHashes(indexes []int64) ([]tlog.Hash, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 {
			return nil, errNoHash
		}
		level, n := tlog.SplitStoredHashIndex(index)
		if level >= groupLevel {
			h, err := g.groups.above([]int64{tlog.StoredHashIndex(level-groupLevel, n)})
			if err != nil {
				return nil, err
			}
			found[i] = h[0]
			continue
		}
		leaves, err := g.group(n >> (groupLevel - level))
		if err != nil {
			return nil, err
		}
		first := n << level % groupSize
		if first+1<<level > int64(len(leaves)) {
			return nil, errNoHash
		}
		found[i] = subtree(leaves[first : first+1<<level])
	}
	return found, nil
}

// group returns the hashes of the leaves of a group. The caller holds g.mu.
func (g *Log) group(n int64) ([]tlog.Hash, error) {
	switch whole := g.groups.size / groupSize; {
	case n > whole:
		return nil, errNoHash
	case n == whole:
		return g.groups.tail, nil
	case g.cached != nil && n == g.cachedAt:
		return g.cached, nil
	}
	s := scanLeaves(g.dir, g.files, n*groupSize, g.groups.starts[n])
	defer s.close()
	hashes := make([]tlog.Hash, groupSize)
	for i := range hashes {
		line, err := s.next()
		if err != nil {
			return nil, fmt.Errorf("%w while it was read: %w", ErrAltered, err)
		}
		hashes[i] = tlog.RecordHash(line)
	}
	if subtree(hashes) != g.groups.upper[tlog.StoredHashIndex(0, n)] {
		return nil, fmt.Errorf("%w while it was read: entries %d to %d", ErrAltered, n*groupSize, (n+1)*groupSize-1)
	}
	g.cached, g.cachedAt = hashes, n
	return hashes, nil
}

// line returns the line of a leaf. Whoever uses it for a proof finds out by the
// proof if it was altered meanwhile.
func (g *Log) line(index int64) (string, error) {
	n := index / groupSize
	s := scanLeaves(g.dir, g.files, n*groupSize, g.groups.starts[n])
	defer s.close()
	for {
		line, err := s.next()
		if err != nil {
			return "", fmt.Errorf("%w while it was read: %w", ErrAltered, err)
		}
		if s.at > index {
			return string(line), nil
		}
	}
}
