package journal

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// retryTime is how long after a failure the next file is tried again.
const retryTime = time.Second

// Damage is a place from which on a file of the journal cannot be read.
type Damage struct {
	File   string
	Offset int64
	Err    error
}

func (d Damage) Error() string {
	return fmt.Sprintf("the journal's file %s is damaged at byte %d: %v", d.File, d.Offset, d.Err)
}

func (d Damage) Unwrap() error { return d.Err }

// Open opens the journal in o.Dir, which it makes with mode 0700, and begins a
// new file. Files of earlier runs stay, for Replay, until Release. The error
// wraps ErrWrongKey where one of them was written with another key: then nothing
// is changed, so that the right key still opens all of them.
func Open(o Options) (*Journal, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the journal cannot be opened: %w", err)
	}
	j := &Journal{o: o, waiting: map[Waiter]LSN{}, wake: make(chan struct{}, 1), stop: make(chan struct{}),
		done: make(chan struct{}), failed: make(chan struct{})}
	j.space.L, j.synced.L = &j.mu, &j.mu
	var err error
	if j.lock, err = lockDir(o.Dir); err == nil {
		err = j.begin()
	}
	if err != nil {
		if j.lock != nil {
			j.lock.Close()
		}
		return nil, fmt.Errorf("the journal in %s cannot be opened: %w", o.Dir, err)
	}
	go j.commitLoop()
	return j, nil
}

func (o *Options) defaults() error {
	if o.Dir == "" {
		return errors.New("the journal has no directory")
	}
	def := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.FileSize, DefaultFileSize)
	def(&o.Reserve, min(DefaultReserve, o.FileSize/4))
	if o.Reserve < 0 || o.FileSize-o.Reserve < headerSize+int64(recordSize(0)) || o.FileSize >= 1<<offsetBits {
		return fmt.Errorf("files of %d bytes with %d reserved make no journal", o.FileSize, o.Reserve)
	}
	if o.MaxPending <= 0 {
		o.MaxPending = DefaultMaxPending
	}
	if o.Write == nil {
		o.Write = (*os.File).Write
	}
	if o.Sync == nil {
		o.Sync = datasync
	}
	if o.Allocate == nil {
		o.Allocate = allocate
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// begin lists the old files and makes the first of this run.
func (j *Journal) begin() error {
	old, err := numbers(j.o.Dir)
	if err != nil {
		return err
	}
	for _, number := range old {
		if err := j.checkKey(number); err != nil {
			return err
		}
	}
	next := uint64(1)
	if len(old) > 0 {
		next = old[len(old)-1] + 1
	}
	if j.file, err = j.create(next); err != nil {
		return err
	}
	j.old, j.files = old, append(slices.Clone(old), next)
	j.end, j.written, j.durable = headerSize, lsn(next, headerSize), lsn(next, headerSize)
	return nil
}

// checkKey reads the header of an earlier file. What else is wrong with it is
// for Replay to say.
func (j *Journal) checkKey(number uint64) error {
	f, err := os.Open(j.path(number))
	if err != nil {
		return err
	}
	defer f.Close()
	var header [headerSize]byte
	if _, err := io.ReadFull(f, header[:]); err != nil {
		return nil // cut off
	}
	if _, err := readHeader(header[:], number, j.o.Key); errors.Is(err, ErrWrongKey) {
		return fmt.Errorf("%s: %w", j.path(number), err)
	}
	return nil
}

// Replay calls f with every record of earlier runs, in order; the data is valid
// until f returns. A record that a crash cut off at the end of a file is the
// end of that file. Where something is damaged and whole records follow, the
// place is returned and reading goes on there. The error is f's, or ErrWrongKey, or that a file is of a newer
// version or cannot be read: nothing may be released then.
func (j *Journal) Replay(f func(Record, LSN) error) ([]Damage, error) {
	var damaged []Damage
	for _, number := range j.old {
		more, err := j.replayFile(number, f)
		damaged = append(damaged, more...)
		if err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}

func (j *Journal) replayFile(number uint64, f func(Record, LSN) error) ([]Damage, error) {
	path := j.path(number)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the journal cannot be read: %w", err)
	}
	damaged, err := read(data, number, j.o.Key, f)
	for i := range damaged {
		damaged[i].File = path
	}
	if err != nil {
		return damaged, fmt.Errorf("%s: %w", path, err)
	}
	return damaged, nil
}

// read calls f with the records of the file data.
func read(data []byte, number uint64, key [32]byte, f func(Record, LSN) error) ([]Damage, error) {
	if head := data[:min(len(data), headerSize)]; len(head) < headerSize && strings.HasPrefix(magic, string(head[:min(len(head), len(magic))])) || allZero(head) {
		return nil, nil // the crash came while the file was made
	}
	aead, err := readHeader(data, number, key)
	if err != nil {
		return nil, err
	}
	var damaged []Damage
	var memory []byte
	for at := headerSize; ; {
		plain, why := open(memory, aead, data, at)
		if why == nil && plain == nil {
			return damaged, nil
		}
		if why != nil {
			// Past what a crash cut off, there is nothing.
			next := resume(aead, data, at+1)
			if next < 0 {
				return damaged, nil
			}
			damaged = append(damaged, Damage{Offset: int64(at), Err: why})
			at = next
			continue
		}
		memory = plain
		at += lengthSize + len(plain) + tagSize
		if err := f(parse(plain), lsn(number, int64(at))); err != nil {
			return damaged, err
		}
	}
}

// open returns the plain text of the record at offset at, or nothing at the
// end of the file.
func open(memory []byte, aead cipher.AEAD, data []byte, at int) ([]byte, error) {
	if len(data)-at < lengthSize {
		return nil, nil
	}
	size := int(binary.BigEndian.Uint32(data[at:]))
	switch {
	case size == 0 && allZero(data[at:min(len(data), at+zeros)]):
		return nil, nil
	case size < plainSize+tagSize || size > plainSize+MaxData+tagSize:
		return nil, fmt.Errorf("a record of %d bytes cannot be", size)
	case size > len(data)-at-lengthSize:
		return nil, errors.New("a record is cut off")
	}
	var nonce [12]byte
	binary.BigEndian.PutUint64(nonce[4:], uint64(at))
	body := data[at+lengthSize:]
	plain, err := aead.Open(memory[:0], nonce[:], body[:size], data[at:at+lengthSize])
	if err != nil {
		return nil, errors.New("a record fails its authentication")
	}
	return plain, nil
}

// zeros is how many zero bytes are taken for the end of a file.
const zeros = 64 << 10

// resume returns the offset of the first whole record from at on, or -1.
// Offsets whose length cannot be are passed over quickly.
func resume(aead cipher.AEAD, data []byte, at int) int {
	for ; at < len(data)-lengthSize; at++ {
		if size := binary.BigEndian.Uint32(data[at:]); size < plainSize+tagSize || size > plainSize+MaxData+tagSize {
			continue
		}
		if plain, err := open(nil, aead, data, at); plain != nil && err == nil {
			return at
		}
	}
	return -1
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

func parse(p []byte) Record {
	r := Record{Seq: binary.BigEndian.Uint64(p[16:]), Time: time.Duration(binary.BigEndian.Uint64(p[24:])), Kind: p[32], Data: p[33:]}
	copy(r.Session[:], p)
	return r
}

// Release removes the files with a number below before. The file that is
// written stays.
func (j *Journal) Release(before uint64) error {
	j.mu.Lock()
	n, _ := slices.BinarySearch(j.files, min(before, j.file.number))
	gone := slices.Clone(j.files[:n])
	j.files = slices.Clone(j.files[n:])
	j.mu.Unlock()
	for i, number := range gone {
		if err := os.Remove(j.path(number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			j.mu.Lock()
			j.files = append(gone[i:], j.files...)
			j.mu.Unlock()
			return fmt.Errorf("a file of the journal cannot be removed: %w", err)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if err := j.syncDir(); err != nil {
		return fmt.Errorf("a file of the journal cannot be removed for good: %w", err)
	}
	return nil
}

// Close makes everything durable, tells the waiters, and closes the files. It
// returns the journal's failure, if there was one.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		<-j.done
		return j.Err()
	}
	j.closed = true
	j.space.Broadcast()
	j.mu.Unlock()
	close(j.stop)
	<-j.done
	j.makers.Wait()
	j.wmu.Lock()
	defer j.wmu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.synced.Broadcast()
	err := errors.Join(j.err, j.file.f.Close())
	if j.next != nil {
		err = errors.Join(err, j.next.f.Close())
	}
	return errors.Join(err, j.lock.Close())
}
