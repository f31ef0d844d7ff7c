package journal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	magic      = "SALLYWAL"
	version    = 1
	headerSize = 72
	lengthSize = 4
	plainSize  = 16 + 8 + 8 + 1 // of a record without data
	tagSize    = 16
	ext        = ".wal"
	lockName   = "lock"
)

// recordSize is what a record with n bytes of data takes in a file.
func recordSize(n int) int { return lengthSize + plainSize + n + tagSize }

// file is one file of the journal.
type file struct {
	number uint64
	f      *os.File
	aead   cipher.AEAD
	users  sync.WaitGroup // fsyncs under way
}

func fileName(number uint64) string { return fmt.Sprintf("%016x%s", number, ext) }

func (j *Journal) path(number uint64) string { return filepath.Join(j.o.Dir, fileName(number)) }

// fileKey derives the key of a file and its check value.
func fileKey(key [32]byte, salt []byte) (cipher.AEAD, []byte, error) {
	okm, err := hkdf.Key(sha256.New, key[:], salt, "sallyport journal v1", 48)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(okm[:32])
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return aead, okm[32:], err
}

// create makes a file, allocated whole and durable.
func (j *Journal) create(number uint64) (*file, error) {
	header := make([]byte, 0, headerSize)
	header = append(header, magic...)
	header = binary.BigEndian.AppendUint16(header, version)
	header = append(header, make([]byte, 6)...)
	header = binary.BigEndian.AppendUint64(header, number)
	salt := make([]byte, 32)
	rand.Read(salt)
	aead, check, err := fileKey(j.o.Key, salt)
	if err != nil {
		return nil, err
	}
	header = append(append(header, salt...), check...)
	f, err := os.OpenFile(j.path(number), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err = j.o.Allocate(f, j.o.FileSize); err == nil {
		err = j.writeAll(f, header, 0)
	}
	if err == nil {
		err = j.sync(f)
	}
	if err == nil {
		err = j.syncDir()
	}
	if err != nil {
		f.Close()
		return nil, errors.Join(err, os.Remove(j.path(number)))
	}
	return &file{number: number, f: f, aead: aead}, nil
}

func (j *Journal) syncDir() error {
	d, err := os.Open(j.o.Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return j.sync(d)
}

// prepare makes the next file in the background. The caller holds mu.
func (j *Journal) prepare() {
	if since := j.o.Now().Sub(j.lastTry); j.full != nil && since >= 0 && since < retryTime {
		return
	}
	j.making = true
	j.makers.Add(1)
	go j.make()
}

// make makes the next file; making is set. Without space it is tried again
// later; any other failure is left to the record that needs the file.
func (j *Journal) make() {
	defer j.makers.Done()
	j.mu.Lock()
	number := j.file.number + 1
	j.mu.Unlock()
	next, err := j.create(number)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.making, j.next, j.full, j.lastTry = false, next, nil, j.o.Now()
	if err != nil {
		j.full = fmt.Errorf("%w: %w", ErrFull, err)
	}
}

// readHeader checks the header of a file and returns its cipher.
func readHeader(header []byte, number uint64, key [32]byte) (cipher.AEAD, error) {
	if len(header) < headerSize || string(header[:8]) != magic {
		return nil, errors.New("byte 0: this is no file of a journal")
	}
	if v := binary.BigEndian.Uint16(header[8:]); v != version {
		return nil, fmt.Errorf("byte 8: version %d is newer than this program knows (%d): use the version that wrote it", v, version)
	}
	if n := binary.BigEndian.Uint64(header[16:]); n != number {
		return nil, fmt.Errorf("byte 16: this is file %d of the journal under another's name", n)
	}
	aead, check, err := fileKey(key, header[24:56])
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(check, header[56:72]) != 1 {
		return nil, ErrWrongKey
	}
	return aead, nil
}

// numbers lists the files in dir, in order.
func numbers(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ext)
		n, err := strconv.ParseUint(name, 16, 64)
		if ok && err == nil && e.Name() == fileName(n) && e.Type().IsRegular() {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}

// lockDir keeps a second process off the journal.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, errors.New("another process uses it")
	}
	return f, nil
}

// datasync makes a file's bytes durable.
func datasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// allocate sets n bytes aside for f, and makes them its length. Where the file
// system cannot, zeros are written: the space must be there.
func allocate(f *os.File, n int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, n)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return fill(f, n)
		case err != unix.EINTR:
			return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
	}
}

func fill(f *os.File, n int64) error {
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < n; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), n-at)], at); err != nil {
			return err
		}
	}
	return nil
}
