package recorder

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"time"
)

const (
	// syncTime is how long what nobody waits for, such as input, may be in
	// the file without being durable.
	syncTime = 100 * time.Millisecond
	idleTime = time.Hour // when nothing is due; any long time does
	minTime  = time.Millisecond
)

// commitLoop is the committer. It ends with Close or with the first failure.
func (rec *Recording) commitLoop() {
	defer close(rec.done)
	timer := time.NewTimer(idleTime)
	defer timer.Stop()
	for {
		next, err := rec.commit(false)
		if err != nil {
			return
		}
		timer.Reset(next)
		select {
		case <-rec.wake:
		case <-timer.C:
		case <-rec.failed:
			return
		case <-rec.stop:
			rec.commit(true) // its failure is in err
			return
		}
	}
}

// commit writes all that is encoded, makes it durable if anybody waits for it
// or final is set, and returns when it is to be called again at the latest.
func (rec *Recording) commit(final bool) (time.Duration, error) {
	now := rec.r.o.Now()
	rec.mu.Lock()
	due := rec.enc.due(now, now.Sub(rec.start))
	rec.encoded()
	rec.mu.Unlock()
	if _, err := rec.write(); err != nil {
		return 0, err
	}
	next := idleTime
	if !due.IsZero() {
		next = due.Sub(now)
	}
	rec.qmu.Lock()
	wanted := final || rec.out.durable < rec.out.written || rec.errs.durable < rec.errs.written
	if !rec.dirty.IsZero() {
		left := rec.dirty.Add(syncTime).Sub(now)
		wanted = wanted || left <= 0
		if !wanted {
			next = min(next, left)
		}
	}
	rec.qmu.Unlock()
	if wanted {
		if err := rec.sync(); err != nil {
			return 0, err
		}
	}
	return max(next, minTime), nil
}

// write writes all that is encoded to the file. On an error, which may have
// left part of a line there, the recording has failed. It reports whether all
// that was written before is durable.
func (rec *Recording) write() (first bool, err error) {
	rec.wmu.Lock()
	defer rec.wmu.Unlock()
	if err := rec.Err(); err != nil {
		return false, err
	}
	rec.mu.Lock()
	lines := rec.enc.lines
	rec.enc.lines = nil
	rec.qmu.Lock()
	out, errs := rec.out.end, rec.errs.end
	rec.qmu.Unlock()
	rec.mu.Unlock()
	if len(lines) == 0 {
		rec.keep(lines)
		return false, nil
	}
	if err := rec.r.writeAll(rec.file, lines); err != nil {
		return false, rec.fail(err)
	}
	rec.digest.add(lines)
	rec.keep(lines)

	rec.qmu.Lock()
	rec.out.written, rec.errs.written = out, errs
	if first = rec.dirty.IsZero(); first {
		rec.dirty = rec.r.o.Now()
	}
	rec.qmu.Unlock()
	return first, nil
}

// keep takes the memory of written lines back.
func (rec *Recording) keep(lines []byte) {
	lines = giveBack(lines)
	rec.mu.Lock()
	if rec.enc.lines == nil {
		rec.enc.lines = lines
	}
	rec.qmu.Lock()
	rec.waiting = len(rec.enc.lines)
	rec.space.Broadcast()
	rec.qmu.Unlock()
	rec.mu.Unlock()
}

// sync makes all that is written durable and gives its view free. An error is
// final, since after one nobody knows what the disk holds.
func (rec *Recording) sync() error {
	rec.qmu.Lock()
	out, errs := rec.out.written, rec.errs.written
	rec.dirty = time.Time{}
	rec.qmu.Unlock()
	if err := rec.r.o.Sync(rec.file); err != nil {
		return rec.fail(err)
	}
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	if rec.err != nil {
		return rec.err
	}
	if rec.out.durable < out {
		rec.out.durable = out
		rec.out.ready.Signal()
	}
	if rec.errs.durable < errs {
		rec.errs.durable = errs
		rec.errs.ready.Signal()
	}
	return nil
}

// fail ends the recording for good: nothing more is written or given out. It
// returns the first failure.
func (rec *Recording) fail(err error) error {
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	if rec.err == nil {
		rec.err = rec.failure(err)
		close(rec.failed)
		rec.space.Broadcast()
		rec.out.ready.Broadcast()
		rec.errs.ready.Broadcast()
	}
	return rec.err
}

// failure puts err into one sentence.
func (rec *Recording) failure(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		err = p.Err // the id names the file
	}
	return fmt.Errorf("recorder: session %s cannot be recorded any more: %w", rec.session.ID, err)
}

// digest counts and hashes what a file holds.
type digest struct {
	hash hash.Hash
	size int64
}

func newDigest() digest { return digest{hash: sha256.New()} }

func (d *digest) add(p []byte) {
	d.hash.Write(p)
	d.size += int64(len(p))
}

func (d *digest) sum() string { return hex.EncodeToString(d.hash.Sum(nil)) }

// Write lets a digest be the end of an io.TeeReader.
func (d *digest) Write(p []byte) (int, error) {
	d.add(p)
	return len(p), nil
}
