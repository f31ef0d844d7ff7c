package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Copies of a ledger are chunks of whole entries and checkpoints:
// entries-FROM-TO.jsonl holds entries FROM to TO-1, checkpoint-SIZE is the one
// that covers SIZE entries. Numbers have 16 decimal digits.
const (
	chunkPrefix      = "entries-"
	checkpointPrefix = "checkpoint-"
	maxChunk         = 16 << 20 // bytes
)

// checkpointOf reports whether name is that of a copied checkpoint.
func checkpointOf(name string) bool {
	text, found := strings.CutPrefix(name, checkpointPrefix)
	size, err := strconv.ParseInt(text, 10, 64)
	return found && err == nil && size >= 0 && name == copiedCheckpoint(size)
}

func copiedCheckpoint(size int64) string { return fmt.Sprintf("%s%016d", checkpointPrefix, size) }

func chunkName(from, to int64) string {
	return fmt.Sprintf("%s%016d-%016d.jsonl", chunkPrefix, from, to)
}

func chunkRange(name string) (from, to int64, ok bool) {
	a, b, found := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(name, chunkPrefix), ".jsonl"), "-")
	from, err1 := strconv.ParseInt(a, 10, 64)
	to, err2 := strconv.ParseInt(b, 10, 64)
	return from, to, found && err1 == nil && err2 == nil && from >= 0 && to > from && name == chunkName(from, to)
}

// Export hands the entries from number from on to put, in chunks, and then a
// checkpoint that covers them. It returns the number from which to go on. put
// must be durable once it returns, and is called again with the same content
// where an earlier export did not come to its end.
func (l *Ledger) Export(ctx context.Context, from int64, put func(name string, data []byte) error) (next int64, err error) {
	checkpoint, err := l.Checkpoint(ctx)
	if err != nil {
		return from, err
	}
	t, err := OpenCheckpoint(checkpoint, l.o.Verifier)
	if err != nil {
		return from, err
	}
	if from < 0 {
		return from, fmt.Errorf("the ledger cannot be copied from entry %d on", from)
	}
	if from > t.N {
		return from, fmt.Errorf("%w: its copy has %d entries, and the ledger in %s has %d; keep that copy as evidence and copy to another place", ErrRolledBack, from, l.o.Dir, t.N)
	}
	if from == t.N {
		return from, nil
	}
	if err := l.exportChunks(ctx, from, t.N, put); err != nil {
		return from, err
	}
	if err := put(copiedCheckpoint(t.N), checkpoint); err != nil {
		return from, err
	}
	return t.N, nil
}

// exportChunks hands leaves from up to to, in chunks.
func (l *Ledger) exportChunks(ctx context.Context, from, to int64, put func(name string, data []byte) error) error {
	l.commit <- struct{}{}
	s := l.scanFrom(from)
	<-l.commit
	defer s.close()
	var chunk []byte
	begun := from
	for s.at < to {
		line, err := s.next()
		if err != nil {
			return fmt.Errorf("the ledger in %s cannot be copied: %w", l.o.Dir, err)
		}
		chunk = append(append(chunk, line...), '\n')
		if len(chunk) < maxChunk && s.at < to {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := put(chunkName(begun, s.at), chunk); err != nil {
			return err
		}
		begun, chunk = s.at, nil
	}
	return nil
}
