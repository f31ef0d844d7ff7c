package ledger

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

const (
	entriesName    = "entries.jsonl"
	bodiesDir      = "bodies"
	checkpointName = "checkpoint"
	hashesName     = "hashes"
)

// store adds items, bodies first: a body without a leaf is nothing, a leaf
// whose body is missing has lost something. The caller has the lock.
func (l *Ledger) store(items []item) error {
	if err := l.storeBodies(items); err != nil {
		return err
	}
	var lines []byte
	for _, it := range items {
		lines = append(append(lines, it.leaf...), '\n')
	}
	if err := l.write(l.file, lines); err != nil {
		// Nobody was told that these are in the ledger. Where this fails too,
		// they are there or cut off, which catchUp finds out.
		_ = l.file.Truncate(l.size)
		return err
	}
	if err := l.o.Sync(l.file); err != nil {
		return l.fail(err)
	}
	for _, it := range items {
		l.grow(it.leaf)
	}
	l.synced = l.tree.size
	l.counted()
	l.again()
	return nil
}

func (l *Ledger) write(f *os.File, data []byte) error {
	n, err := l.o.Write(f, data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	return err
}

// counted tells those without the token how many leaves there are.
func (l *Ledger) counted() {
	l.omu.Lock()
	defer l.omu.Unlock()
	l.count = l.tree.size
	if l.since.IsZero() && l.signed < l.tree.size {
		l.since = l.o.Now()
	}
}

// storeBodies adds the bodies of items to the files of their days.
func (l *Ledger) storeBodies(items []item) error {
	days := map[string][]byte{}
	for _, it := range items {
		if len(it.body) > 0 {
			days[it.day] = append(days[it.day], it.body...)
		}
	}
	for _, day := range slices.Sorted(maps.Keys(days)) {
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
	if err := l.write(l.day, lines); err != nil {
		return err
	}
	if err := l.o.Sync(l.day); err != nil {
		return l.fail(err)
	}
	return nil
}

// openDay opens the file for the bodies of a day. It is opened anew where it
// was erased meanwhile.
func (l *Ledger) openDay(day string) error {
	path := filepath.Join(l.o.Dir, bodiesDir, day+bodiesExt)
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
		return l.fail(err)
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

func (l *Ledger) syncDir(dir string) error { return syncDir(dir, l.o) }

func syncDir(dir string, o Options) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return o.Sync(d)
}

// writeDurably replaces the file at path. The staged file is made anew, so that
// a link that somebody put in its place leads nowhere.
func writeDurably(path string, data []byte, mode os.FileMode, o Options) error {
	staged := path + ".tmp"
	if err := os.Remove(staged); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := os.OpenFile(staged, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	n, err := o.Write(f, data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = o.Sync(f)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := o.Rename(staged, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path), o)
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes, which is too large", path, limit)
	}
	return b, err
}
