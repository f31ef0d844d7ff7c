package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sallyport/policy"
)

// Log is a ledger that is only read, checked against its checkpoint with the
// public key. What other processes add later is not in it.
type Log struct {
	dir        string
	files      []string // of leaves, in order
	verifier   note.Verifier
	leaves     int64
	signed     tlog.Tree
	checkpoint []byte
	hashes     []tlog.Hash // stored hashes, by tlog.StoredHashIndex; of all leaves
}

// Load reads the ledger in dir, or a directory of the chunks that Export makes,
// computes its tree and compares it with the newest checkpoint. Entries beyond
// that are there, but nobody has signed them. The error wraps ErrUnsigned,
// ErrWrongKey, ErrAltered or ErrRolledBack.
func Load(dir string, v note.Verifier) (*Log, error) {
	g := &Log{dir: dir, verifier: v}
	if err := g.load(); err != nil {
		return nil, fmt.Errorf("the ledger in %s: %w", dir, err)
	}
	return g, nil
}

func (g *Log) load() error {
	if err := g.find(); err != nil {
		return err
	}
	var err error
	if g.signed, err = OpenCheckpoint(g.checkpoint, g.verifier); err != nil {
		return err
	}
	if err := g.hash(); err != nil {
		return err
	}
	if g.signed.N > g.leaves {
		return fmt.Errorf("%w: its checkpoint covers %d entries, and there are %d", ErrAltered, g.signed.N, g.leaves)
	}
	root, err := tlog.TreeHash(g.signed.N, g.reader())
	if err != nil {
		return err
	}
	if root != g.signed.Hash {
		return fmt.Errorf("%w: its first %d entries are not those that its checkpoint covers", ErrAltered, g.signed.N)
	}
	return nil
}

// find lists the files and reads the newest checkpoint.
func (g *Log) find() error {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return err
	}
	newest := ""
	for _, e := range entries { // sorted by name
		switch name := e.Name(); {
		case name == entriesName:
			g.files = []string{name}
		case strings.HasPrefix(name, chunkPrefix) && !slices.Contains(g.files, entriesName):
			g.files = append(g.files, name)
		case name == checkpointName, strings.HasPrefix(name, checkpointPrefix) && newest != checkpointName:
			newest = name
		}
	}
	if slices.Contains(g.files, entriesName) {
		g.files = []string{entriesName}
	}
	if newest == "" {
		return ErrUnsigned
	}
	st, err := os.Stat(filepath.Join(g.dir, newest))
	if err != nil {
		return err
	}
	if st.Size() > maxCheckpoint {
		return fmt.Errorf("its checkpoint of %d bytes is too large", st.Size())
	}
	g.checkpoint, err = os.ReadFile(filepath.Join(g.dir, newest))
	return err
}

// hash computes the hashes of the tree.
func (g *Log) hash() error {
	for line, err := range g.lines() {
		if err != nil {
			return err
		}
		add, err := tlog.StoredHashes(g.leaves, line, g.reader())
		if err != nil {
			return err
		}
		g.hashes = append(g.hashes, add...)
		g.leaves++
	}
	return nil
}

func (g *Log) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, n := range indexes {
			if n < 0 || n >= int64(len(g.hashes)) {
				return nil, errors.New("the ledger has no such hash")
			}
			found[i] = g.hashes[n]
		}
		return found, nil
	})
}

// lines yields the lines of all leaves; each holds until the next.
func (g *Log) lines() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var at int64
		for _, name := range g.files {
			if name != entriesName {
				from, _, ok := chunkRange(name)
				if !ok || from < at {
					continue // it begins within what was there already
				}
				if from > at {
					yield(nil, fmt.Errorf("%w: entries %d to %d are missing", ErrAltered, at, from-1))
					return
				}
			}
			n, ok := g.linesOf(name, yield)
			if at += n; !ok {
				return
			}
		}
	}
}

func (g *Log) linesOf(name string, yield func([]byte, error) bool) (n int64, ok bool) {
	f, err := os.Open(filepath.Join(g.dir, name))
	if err != nil {
		return 0, yield(nil, err) && false
	}
	defer f.Close()
	r := lineReader{in: bufio.NewReaderSize(f, 256<<10)}
	for at := int64(0); ; n++ {
		line, err := r.next()
		if err == io.EOF || err == errTorn { // being written just now
			return n, true
		}
		if err != nil {
			return n, yield(nil, fmt.Errorf("%s at byte %d: %w", name, at, err)) && false
		}
		at += int64(len(line)) + 1
		if !yield(line, nil) {
			return n, false
		}
	}
}

// Leaves yields all leaves in order. A line that is no leaf comes as an error
// that names it, and reading goes on after it.
func (g *Log) Leaves() iter.Seq2[Leaf, error] {
	return func(yield func(Leaf, error) bool) {
		n := int64(0)
		for line, err := range g.lines() {
			var leaf Leaf
			if err == nil {
				if leaf, err = parseLeaf(line); err != nil {
					err = fmt.Errorf("entry %d of the ledger: %w", n, err)
				}
			}
			leaf.Index = n
			if n++; !yield(leaf, err) {
				return
			}
		}
	}
}

// Size is how many entries there are.
func (g *Log) Size() int64 { return g.leaves }

// SignedSize is how many of them the checkpoint covers.
func (g *Log) SignedSize() int64 { return g.signed.N }

// Root is the hash that the checkpoint gives the first SignedSize entries.
func (g *Log) Root() tlog.Hash { return g.signed.Hash }

// Checkpoint is the newest signed checkpoint.
func (g *Log) Checkpoint() []byte { return g.checkpoint }

// Consistent says whether this ledger holds all that a checkpoint, remembered
// elsewhere, covers. The error wraps ErrRolledBack, ErrAltered or ErrWrongKey.
func (g *Log) Consistent(checkpoint []byte) error {
	t, err := OpenCheckpoint(checkpoint, g.verifier)
	if err != nil {
		return fmt.Errorf("the remembered checkpoint: %w", err)
	}
	if t.N > g.leaves {
		return fmt.Errorf("%w: the remembered checkpoint covers %d entries, and there are %d", ErrRolledBack, t.N, g.leaves)
	}
	root, err := tlog.TreeHash(t.N, g.reader())
	if err != nil {
		return err
	}
	if root != t.Hash {
		return fmt.Errorf("%w: its first %d entries are not those that the remembered checkpoint covers", ErrAltered, t.N)
	}
	return nil
}

// Entries yields all entries with their bodies, where those still exist.
func (g *Log) Entries(bodyKey [32]byte) iter.Seq2[policy.Entry, error] {
	return func(yield func(policy.Entry, error) bool) {
		var day string
		var bodies map[string]body
		for leaf, err := range g.Leaves() {
			if err != nil {
				if !yield(policy.Entry{}, err) {
					return
				}
				continue
			}
			e := policy.Entry{Time: leaf.Time, Kind: leaf.Kind, Session: leaf.Session, Ref: leaf.Ref}
			if leaf.Digest != "" {
				if d := leaf.Time.Format("2006-01-02"); d != day {
					day, bodies = d, g.bodies(d, bodyKey)
				}
				b := bodies[leaf.Digest]
				e.User, e.Target, e.Login, e.Source, e.Detail = b.User, b.Target, b.Login, b.Source, b.Detail
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// bodies reads what can be read of a day's bodies. Those that were erased, or
// fail their digest, are absent.
func (g *Log) bodies(day string, key [32]byte) map[string]body {
	all := map[string]body{}
	f, err := os.Open(filepath.Join(g.dir, bodiesDir, day+".jsonl"))
	if err != nil {
		return all
	}
	defer f.Close()
	r := lineReader{in: bufio.NewReaderSize(f, 64<<10)}
	for {
		line, err := r.next()
		if err != nil {
			return all
		}
		if digest, b, err := openBody(line, key); err == nil {
			all[digest] = b
		}
	}
}
