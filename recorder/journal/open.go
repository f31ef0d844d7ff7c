package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Open opens the journal in o.Dir, which it makes with mode 0700, and begins a
// new file. Files of earlier runs stay, for Replay, until Release. The error
// wraps ErrWrongKey where one of them was written with another key, or says that
// a newer program wrote it: then nothing is changed, so that the right key or
// program still opens all of them. It wraps ErrFull where the disk has no space
// for the new file.
func Open(o Options) (*Journal, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	j := &Journal{o: o, waiting: map[Waiter]LSN{}, wake: make(chan struct{}, 1), stop: make(chan struct{}),
		done: make(chan struct{}), failed: make(chan struct{})}
	j.space.L, j.synced.L, j.made.L = &j.mu, &j.mu, &j.mu
	err := j.makeDir(o.Dir)
	if err == nil {
		j.lock, err = lockDir(o.Dir)
	}
	if err == nil {
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
	if o.FileSize == 0 {
		o.FileSize = DefaultFileSize
	}
	if o.Reserve == 0 {
		o.Reserve = min(DefaultReserve, o.FileSize/4)
	}
	if o.Reserve < 0 || o.FileSize-o.Reserve < headerSize+linkSize+int64(recordSize(0)) || o.FileSize >= 1<<offsetBits {
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
	for _, f := range old {
		if err := j.checkHeader(f.number); err != nil {
			return err
		}
	}
	if old, err = j.removeUnused(old); err != nil {
		return err
	}
	next := uint64(1)
	if len(old) > 0 {
		next = old[len(old)-1].number + 1
	}
	if j.file, err = j.create(next); err != nil {
		if noSpace(err) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		return err
	}
	for _, f := range old {
		j.old = append(j.old, f.number)
	}
	j.files = append(old, listed{next, j.o.FileSize})
	j.end, j.written, j.durable = headerSize, lsn(next, headerSize), lsn(next, headerSize)
	return nil
}

// checkHeader looks whether an earlier file can be read with this key and by
// this program. What is damaged is for Replay to say.
func (j *Journal) checkHeader(number uint64) error {
	f, err := os.Open(j.path(number))
	if err != nil {
		return err
	}
	defer f.Close()
	var header [headerSize]byte
	n, _ := f.ReadAt(header[:], 0)
	if _, err := readHeader(header[:n], number, j.o.Key); fatal(err) {
		return fmt.Errorf("%s: %w", j.path(number), err)
	}
	return nil
}

// removeUnused removes the last files where nothing was written to them, made
// ahead before a crash: a full disk needs their space now.
func (j *Journal) removeUnused(all []listed) ([]listed, error) {
	for len(all) > 0 {
		path := j.path(all[len(all)-1].number)
		unused, err := isUnused(path)
		if err != nil || !unused {
			return all, err
		}
		if err := os.Remove(path); err != nil {
			return all, err
		}
		all = all[:len(all)-1]
	}
	return all, nil
}

func isUnused(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	s := newSource(f, info.Size())
	at, err := s.nonZero(headerSize)
	if err != nil || at < s.size {
		return false, nil // Replay says what there is
	}
	return true, nil
}

// Release removes the files with a number below before, the oldest first. The
// file that is written stays.
func (j *Journal) Release(before uint64) error {
	j.releasing.Lock()
	defer j.releasing.Unlock()
	for {
		j.mu.Lock()
		first := j.files[0].number
		last := first >= before || len(j.files) == 1
		j.mu.Unlock()
		if last {
			return nil
		}
		if err := os.Remove(j.path(first)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("a file of the journal cannot be removed: %w", err)
		}
		// One by one, so that what a crash leaves has no gap.
		if err := j.syncDir(j.o.Dir); err != nil {
			return fmt.Errorf("a file of the journal cannot be removed for good: %w", err)
		}
		j.mu.Lock()
		j.files = slices.Delete(j.files, 0, 1)
		j.mu.Unlock()
	}
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
	j.wmu.Lock()
	defer j.wmu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.making {
		j.made.Wait()
	}
	err := errors.Join(j.err, j.file.f.Close())
	if j.next != nil {
		err = errors.Join(err, j.next.f.Close(), os.Remove(j.path(j.next.number)))
	}
	return errors.Join(err, j.lock.Close())
}
