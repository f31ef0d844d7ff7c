package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

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
		day, err := time.Parse(time.DateOnly+bodiesExt, f.Name())
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
