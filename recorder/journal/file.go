package journal

import (
	"cmp"
	"crypto/cipher"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	ext      = ".wal"
	lockName = "lock"
)

// file is one file of the journal, being written.
type file struct {
	number uint64
	f      *os.File
	aead   cipher.AEAD
	nonce  [12]byte       // memory of close, the Journal's mu guards it
	users  sync.WaitGroup // fsyncs under way; the Journal's wmu guards Add and Wait
}

func fileName(number uint64) string { return fmt.Sprintf("%016x%s", number, ext) }

func (j *Journal) path(number uint64) string { return filepath.Join(j.o.Dir, fileName(number)) }

// create makes a file, allocated whole and durable. Where that fails, none is
// left; a failed write or fsync is a *brokenError.
func (j *Journal) create(number uint64) (*file, error) {
	if number > maxNumber {
		return nil, fmt.Errorf("%s: a file's number is at most %d", j.path(number), maxNumber)
	}
	header, aead, err := newHeader(number, j.o.Key)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(j.path(number), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err = j.o.Allocate(f, j.o.FileSize); err == nil {
		if err = j.begun(f, header); err != nil {
			err = &brokenError{err}
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(j.path(number)))
	}
	return &file{number: number, f: f, aead: aead}, nil
}

// begun writes the header of a new file and makes it and its name durable.
func (j *Journal) begun(f *os.File, header []byte) error {
	if err := j.writeAll(f, header, 0); err != nil {
		return err
	}
	if err := j.sync(f); err != nil {
		return err
	}
	return j.syncDir(j.o.Dir)
}

func (j *Journal) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return j.sync(d)
}

// makeDir makes o.Dir, whose name is durable then.
func (j *Journal) makeDir(dir string) error {
	parent := filepath.Dir(dir)
	_, err := os.Stat(dir)
	there := err == nil
	if errors.Is(err, os.ErrNotExist) && parent != dir {
		if err := j.makeDir(parent); err != nil {
			return err
		}
		if err = os.Mkdir(dir, 0o700); errors.Is(err, os.ErrExist) {
			err = nil
		}
	}
	if err != nil || parent == dir || there && dir != j.o.Dir {
		return err
	}
	err = j.syncDir(parent)
	if there && errors.Is(err, os.ErrPermission) {
		return nil // whoever made it in a directory that is not ours saw to that
	}
	return err
}

// numbers lists the files in dir, in order.
func numbers(dir string) ([]listed, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []listed
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ext)
		n, err := strconv.ParseUint(name, 16, 64)
		if !ok || err != nil || e.Name() != fileName(n) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		all = append(all, listed{n, info.Size()})
	}
	slices.SortFunc(all, func(a, b listed) int { return cmp.Compare(a.number, b.number) })
	return all, nil
}
