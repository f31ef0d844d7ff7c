package ledger

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"sallyport/policy"
)

const (
	entriesName    = "entries.jsonl"
	bodiesDir      = "bodies"
	checkpointName = "checkpoint"
)

// check computes the tree from the file and compares it with what is known of
// it. It returns what is to be added: what was torn, what was accepted.
func (l *Ledger) check() ([]item, error) {
	known, err := l.known()
	if err != nil {
		return nil, err
	}
	roots := map[int64]tlog.Hash{}
	for _, k := range known {
		roots[k.N] = tlog.Hash{}
	}
	torn, err := l.read(func() {
		if _, ok := roots[l.tree.size]; ok {
			roots[l.tree.size] = l.tree.root()
		}
	})
	if err != nil {
		return nil, err
	}
	var add []item
	if torn != nil {
		add = append(add, *torn)
	}
	if _, ok := roots[0]; ok {
		roots[0] = (&tree{}).root()
	}
	for i, k := range known {
		err := compare(k, l.tree.size, roots[k.N])
		if err == nil {
			if i == 0 && l.latest != nil {
				l.signed = k.N
			}
			continue
		}
		if !l.o.Accept {
			return nil, err
		}
		it, err := l.item(policy.Entry{Kind: policy.EntryRollback, Ref: map[string]string{
			"remembered_size": strconv.FormatInt(k.N, 10), "remembered_root": k.Hash.String(),
			"size": strconv.FormatInt(l.tree.size, 10), "root": l.tree.root().String()}})
		if err != nil {
			return nil, err
		}
		add = append(add, it)
	}
	return add, nil
}

// compare says whether a tree of size leaves, whose first k.N have the root
// there, holds what k remembers.
func compare(k tlog.Tree, size int64, there tlog.Hash) error {
	switch {
	case k.N > size:
		return fmt.Errorf("%w: a checkpoint covers %d entries, and there are %d; put the missing ones back, or start with --accept-rollback, which is entered", ErrRolledBack, k.N, size)
	case there != k.Hash:
		return fmt.Errorf("%w: its first %d entries are not those that a checkpoint covers", ErrAltered, k.N)
	}
	return nil
}

// known returns the trees that checkpoints remember: first the one beside the
// entries, if there is one.
func (l *Ledger) known() ([]tlog.Tree, error) {
	var known []tlog.Tree
	own, err := os.ReadFile(filepath.Join(l.o.Dir, checkpointName))
	switch {
	case err == nil:
		t, err := OpenCheckpoint(own, l.o.Verifier)
		if err != nil {
			return nil, fmt.Errorf("its checkpoint: %w", err)
		}
		known, l.latest = append(known, t), own
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	for _, text := range l.o.Remembered {
		t, err := OpenCheckpoint(text, l.o.Verifier)
		if err != nil {
			return nil, fmt.Errorf("a remembered checkpoint: %w", err)
		}
		known = append(known, t)
	}
	return known, nil
}

// read adds to the tree what the file has beyond it, calling each before the
// first and after every leaf. What follows the last whole line is removed, and
// returned as an entry.
func (l *Ledger) read(each func()) (*item, error) {
	if each != nil {
		each()
	}
	r := lineReader{in: bufio.NewReaderSize(io.NewSectionReader(l.file, l.size, 1<<62), 64<<10)}
	for {
		line, err := r.next()
		if err == io.EOF {
			return nil, nil
		}
		if err == errTorn {
			return l.cutTorn()
		}
		if err != nil {
			return nil, fmt.Errorf("%s at byte %d: %w", l.file.Name(), l.size, err)
		}
		l.tree.add(line)
		l.size += int64(len(line)) + 1
		if each != nil {
			each()
		}
	}
}

var errTorn = errors.New("the last line is cut off")

// lineReader reads lines of bounded length.
type lineReader struct {
	in  *bufio.Reader
	buf []byte
}

// next returns the next line without its line feed; it holds until the next
// call.
func (r *lineReader) next() ([]byte, error) {
	r.buf = r.buf[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		r.buf = append(r.buf, part...)
		switch {
		case err == nil:
			return r.buf[:len(r.buf)-1], nil
		case len(r.buf) > MaxEntry:
			return nil, fmt.Errorf("%w: a line is longer than %d bytes", ErrAltered, MaxEntry)
		case err == io.EOF && len(r.buf) > 0:
			return nil, errTorn
		case err != bufio.ErrBufferFull:
			return nil, err
		}
	}
}

// cutTorn removes what follows the last whole line. Nobody was told that it
// was durable.
func (l *Ledger) cutTorn() (*item, error) {
	tail, err := io.ReadAll(io.NewSectionReader(l.file, l.size, 2*MaxEntry))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(tail)
	it, err := l.item(policy.Entry{Kind: EntryTorn, Ref: map[string]string{"bytes": strconv.Itoa(len(tail)), "sha256": hex.EncodeToString(sum[:])}})
	if err != nil {
		return nil, err
	}
	if err := l.file.Truncate(l.size); err != nil {
		return nil, err
	}
	return &it, l.o.Sync(l.file)
}

// catchUp takes in what other processes have added.
func (l *Ledger) catchUp() (*item, error) {
	st, err := l.file.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < l.size {
		return nil, fmt.Errorf("%w while it was open: %s has %d bytes, and had %d", ErrRolledBack, l.file.Name(), st.Size(), l.size)
	}
	if st.Size() == l.size {
		return nil, nil
	}
	return l.read(nil)
}

// store adds items, bodies first: a body without a leaf is nothing, a leaf
// whose body is missing has lost something. The caller has the lock.
func (l *Ledger) store(items []item) error {
	if err := l.storeBodies(items); err != nil {
		return err
	}
	var lines []byte
	grown := l.tree.clone()
	for _, it := range items {
		lines = append(append(lines, it.leaf...), '\n')
		grown.add(it.leaf)
	}
	n, err := l.o.Write(l.file, lines)
	if err == nil && n < len(lines) {
		err = io.ErrShortWrite
	}
	if err != nil {
		// Nobody was told that these are in the ledger. Where this fails too,
		// they are there or cut off, which catchUp finds out.
		_ = l.file.Truncate(l.size)
		return err
	}
	if err := l.o.Sync(l.file); err != nil {
		l.broken = err
		return err
	}
	l.tree, l.size = grown, l.size+int64(len(lines))
	l.omu.Lock()
	l.count = l.tree.size
	if l.since.IsZero() {
		l.since = l.o.Now()
	}
	l.omu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// storeBodies adds the bodies of items to the files of their days.
func (l *Ledger) storeBodies(items []item) error {
	days := map[string][]byte{}
	for _, it := range items {
		if len(it.body) > 0 {
			days[it.day] = append(days[it.day], it.body...)
		}
	}
	for _, day := range slices.Sorted(mapKeys(days)) {
		if err := l.storeBody(day, days[day]); err != nil {
			return fmt.Errorf("the details of %s: %w", day, err)
		}
	}
	return nil
}

func (l *Ledger) storeBody(day string, lines []byte) error {
	if err := l.openDay(day); err != nil {
		return err
	}
	torn, err := tornEnd(l.day)
	if err != nil {
		return err
	}
	if torn {
		lines = append([]byte{'\n'}, lines...)
	}
	n, err := l.o.Write(l.day, lines)
	if err == nil && n < len(lines) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return err
	}
	if err := l.o.Sync(l.day); err != nil {
		l.broken = err
		return err
	}
	return nil
}

// openDay opens the file for the bodies of a day. It is opened anew where it
// was erased meanwhile.
func (l *Ledger) openDay(day string) error {
	path := filepath.Join(l.o.Dir, bodiesDir, day+".jsonl")
	if l.day != nil && l.dayOf == day {
		if there, err := os.Stat(path); err == nil {
			if own, err := l.day.Stat(); err == nil && os.SameFile(there, own) {
				return nil
			}
		}
	}
	if l.day != nil {
		l.day.Close()
		l.day = nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := l.syncDir(filepath.Dir(path)); err != nil {
		f.Close()
		return err
	}
	l.day, l.dayOf = f, day
	return nil
}

// tornEnd reports whether f ends within a line.
func tornEnd(f *os.File) (bool, error) {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return false, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], st.Size()-1); err != nil {
		return false, err
	}
	return !bytes.Equal(last[:], []byte{'\n'}), nil
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
