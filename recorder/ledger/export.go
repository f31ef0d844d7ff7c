package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Copies of a ledger are chunks of whole entries and checkpoints:
// entries-FROM-TO.jsonl holds entries FROM to TO-1, checkpoint-SIZE is the one
// that covers SIZE entries. Numbers have 16 decimal digits.
const (
	chunkPrefix      = "entries-"
	checkpointPrefix = "checkpoint-"
	maxChunk         = 16 << 20 // bytes
)

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
	if err != nil || t.N <= from {
		return from, err
	}
	g := &Log{dir: l.o.Dir, files: []string{entriesName}}
	var chunk []byte
	begun, n := from, int64(0)
	flush := func() error {
		if len(chunk) == 0 {
			return nil
		}
		err := put(chunkName(begun, n), chunk)
		begun, chunk = n, nil
		return err
	}
	for line, err := range g.lines() {
		if err != nil {
			return from, err
		}
		if n == t.N {
			break
		}
		if n >= from {
			chunk = append(append(chunk, line...), '\n')
		}
		if n++; len(chunk) >= maxChunk {
			if err := flush(); err != nil {
				return from, err
			}
		}
	}
	if err := flush(); err != nil {
		return from, err
	}
	if err := put(fmt.Sprintf("%s%016d", checkpointPrefix, t.N), checkpoint); err != nil {
		return from, err
	}
	return t.N, nil
}

// EraseBodies removes the bodies of the days that ended before a time, for
// good, and returns how many days those were. Their leaves stay.
func EraseBodies(dir string, before time.Time) (int, error) {
	dir = filepath.Join(dir, bodiesDir)
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("the ledger's details cannot be erased: %w", err)
	}
	erased := 0
	for _, f := range files {
		day, err := time.Parse("2006-01-02.jsonl", f.Name())
		if err != nil || day.AddDate(0, 0, 1).After(before) {
			continue
		}
		if err := erase(filepath.Join(dir, f.Name())); err != nil {
			return erased, fmt.Errorf("the ledger's details of %s cannot be erased: %w", f.Name(), err)
		}
		erased++
	}
	if erased == 0 {
		return 0, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return erased, err
	}
	defer d.Close()
	return erased, d.Sync()
}

// erase overwrites a file, as far as the file system lets that reach the disk,
// and removes it.
func erase(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		_, err = io.CopyN(f, zeros{}, st.Size())
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Remove(path)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
