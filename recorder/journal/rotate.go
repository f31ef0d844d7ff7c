package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// rotate goes on in the next file, unless somebody else has meanwhile. The
// caller holds mu.
func (j *Journal) rotate() error {
	old := j.file
	j.mu.Unlock()
	j.wmu.Lock()
	err := j.switchFile(old)
	j.wmu.Unlock()
	j.mu.Lock()
	return err
}

// switchFile makes old whole and durable and takes the next file. The caller
// holds wmu.
func (j *Journal) switchFile(old *file) error {
	next, err := j.nextFile(old)
	if next == nil || err != nil {
		return err
	}
	if err := j.flush(); err != nil {
		return err
	}
	if err := j.sync(old.f); err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.fail(err)
		return j.err
	}
	old.users.Wait() // the committer may be making it durable, too
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.batch) > 0 { // put meanwhile, into the old file
		return nil // the caller comes again
	}
	if err := old.f.Close(); err != nil {
		j.fail(err)
		return j.err
	}
	j.batch = next.sealLink(j.batch, old.number, j.end)
	j.file, j.next, j.end = next, nil, headerSize+linkSize
	j.files = append(j.files, listed{next.number, j.o.FileSize})
	return nil
}

// nextFile returns the file that follows old, made ahead or now; nil if old is
// no longer written. The caller holds wmu.
func (j *Journal) nextFile(old *file) (*file, error) {
	j.mu.Lock()
	for j.making && j.file == old {
		j.made.Wait()
	}
	defer j.mu.Unlock()
	if j.file != old || j.err != nil || j.closed {
		return nil, j.err
	}
	if j.next != nil {
		return j.next, nil
	}
	if !j.triedJustNow() {
		j.making = true
		j.mu.Unlock()
		j.make()
		j.mu.Lock()
	}
	switch {
	case j.err != nil:
		return nil, j.err
	case j.next != nil:
		return j.next, nil
	case !errors.Is(j.full, ErrFull):
		j.fail(j.full)
		return nil, j.err
	}
	return nil, j.full
}

// triedJustNow reports whether the next file could not be made a moment ago. The
// caller holds mu.
func (j *Journal) triedJustNow() bool {
	past := j.o.Now().Sub(j.lastTry)
	return errors.Is(j.full, ErrFull) && past >= 0 && past < retryTime
}

// prepare makes the next file in the background. The caller holds mu.
func (j *Journal) prepare() {
	if j.triedJustNow() {
		return
	}
	j.making = true
	go j.make()
}

// make makes the next file; making is set. Without space it is tried again
// later. What else fails is left to the record that needs the file, except that
// a failed write or fsync ends the journal.
func (j *Journal) make() {
	j.mu.Lock()
	number := j.file.number + 1
	j.mu.Unlock()
	var next *file
	err := os.Remove(j.path(number)) // what an earlier try could not remove
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		next, err = j.create(number)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.making, j.next, j.full, j.lastTry = false, next, nil, j.o.Now()
	j.made.Broadcast()
	var broken *brokenError
	switch {
	case err == nil:
	case noSpace(err):
		j.full = fmt.Errorf("%w: %w", ErrFull, err)
	case errors.As(err, &broken):
		j.fail(err)
	default:
		j.full = fmt.Errorf("the next file cannot be made: %w", err)
	}
}

// brokenError is a failed write or fsync.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// noSpace reports whether the disk or a quota is full.
func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
