package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Append adds r and returns at once; w, if not nil, is told once everything up
// to r is durable. It blocks only while more than MaxPending bytes wait to be
// written. Nothing of r is kept. The error wraps ErrFull, ErrClosed, or is the
// journal's failure.
func (j *Journal) Append(r Record, w Waiter) (LSN, error) { return j.add(r, w, false) }

// AppendClosing is Append for a record that ends a session: it may use the
// space that is reserved for it at a file's end.
func (j *Journal) AppendClosing(r Record, w Waiter) (LSN, error) { return j.add(r, w, true) }

func (j *Journal) add(r Record, w Waiter, closing bool) (LSN, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	at, err := j.put(r, closing)
	if err != nil {
		return 0, err
	}
	if w != nil {
		j.waiting[w] = at
		j.wanted = true
		j.kick()
	}
	return at, nil
}

// Write adds r and returns once it and all before it is in the file. It is
// durable with the next commit, at the latest 100 ms later.
func (j *Journal) Write(r Record) (LSN, error) {
	j.mu.Lock()
	at, err := j.put(r, false)
	j.mu.Unlock()
	if err != nil {
		return 0, err
	}
	j.wmu.Lock()
	defer j.wmu.Unlock()
	first, err := j.flush()
	if first {
		j.kick() // so that it is durable in time
	}
	return at, err
}

// Sync returns once everything up to at is durable.
func (j *Journal) Sync(at LSN) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.durable < at {
		if j.err != nil {
			return j.err
		}
		if j.closed {
			return ErrClosed
		}
		j.wanted = true
		j.kick()
		j.synced.Wait()
	}
	return nil
}

// put seals r into the batch. The caller holds mu, which may be let go
// meanwhile.
func (j *Journal) put(r Record, closing bool) (LSN, error) {
	if len(r.Data) > MaxData {
		return 0, fmt.Errorf("a record of %d bytes is too large for the journal: at most %d fit", len(r.Data), MaxData)
	}
	size := int64(recordSize(len(r.Data)))
	for {
		switch {
		case j.err != nil:
			return 0, j.err
		case j.closed:
			return 0, ErrClosed
		case len(j.batch) > j.o.MaxPending:
			j.kick()
			j.space.Wait()
			continue
		}
		room := j.o.FileSize - j.end
		if !closing {
			room -= j.o.Reserve
		}
		if size <= room {
			break
		}
		if err := j.rotate(); err != nil {
			if closing && errors.Is(err, ErrFull) && size <= j.o.FileSize-j.end {
				break
			}
			return 0, err
		}
	}
	j.batch = j.file.seal(j.batch, j.end, r)
	j.end += size
	j.stats.Records++
	if j.next == nil && !j.making && j.end > j.o.FileSize/2 {
		j.prepare()
	}
	return lsn(j.file.number, j.end), nil
}

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
	j.mu.Lock()
	for j.making && j.file == old {
		j.mu.Unlock()
		j.makers.Wait()
		j.mu.Lock()
	}
	if j.file != old || j.err != nil || j.closed {
		defer j.mu.Unlock()
		return j.err
	}
	if j.next == nil {
		if since := j.o.Now().Sub(j.lastTry); j.full != nil && since >= 0 && since < time.Second {
			defer j.mu.Unlock()
			return j.full // it was tried just now
		}
		j.making = true
		j.makers.Add(1)
		j.mu.Unlock()
		j.make()
		j.mu.Lock()
	}
	next, full := j.next, j.full
	j.mu.Unlock()
	if next == nil {
		if full == nil {
			full = j.Err()
		}
		return full
	}
	if _, err := j.flush(); err != nil {
		return err
	}
	if err := j.sync(old.f); err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.fail(err)
		return j.err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.batch) > 0 { // put meanwhile, into the old file
		return nil // the caller comes again
	}
	j.file, j.next, j.end = next, nil, headerSize
	j.files = append(j.files, next.number)
	old.users.Wait() // the committer may be making it durable, too
	if err := old.f.Close(); err != nil {
		j.fail(err)
		return j.err
	}
	return nil
}

// flush writes the batch. It reports whether all that was written before is
// durable. The caller holds wmu.
func (j *Journal) flush() (first bool, err error) {
	j.mu.Lock()
	if j.err != nil {
		defer j.mu.Unlock()
		return false, j.err
	}
	batch, to, f := j.batch, lsn(j.file.number, j.end), j.file
	at := j.end - int64(len(batch))
	j.batch, j.spare = j.spare[:0], nil
	j.space.Broadcast()
	j.mu.Unlock()
	if len(batch) > 0 {
		err = j.writeAll(f.f, batch, at)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if cap(batch) <= maxSpare {
		j.spare = batch[:0]
	}
	if err != nil {
		j.fail(err)
		return false, j.err
	}
	if j.written < to && len(batch) > 0 {
		j.written = to
	}
	if first = j.dirty.IsZero() && len(batch) > 0; first {
		j.dirty = j.o.Now()
	}
	return first, nil
}

// maxSpare is the most memory that is kept between batches, in bytes.
const maxSpare = 4 << 20

// writeAll writes p at the offset at, where the file already is.
func (j *Journal) writeAll(f *os.File, p []byte, at int64) error {
	n, err := j.o.Write(f, p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("%s at byte %d: %w", f.Name(), at, err)
	}
	return nil
}

func (j *Journal) sync(f *os.File) error {
	if j.o.NoSync {
		return nil
	}
	return j.o.Sync(f)
}

// seal appends r, as it stands at offset at of f.
func (f *file) seal(dst []byte, at int64, r Record) []byte {
	n := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(recordSize(len(r.Data))-lengthSize))
	var nonce [12]byte
	binary.BigEndian.PutUint64(nonce[4:], uint64(at))
	start := len(dst)
	dst = append(dst, r.Session[:]...)
	dst = binary.BigEndian.AppendUint64(dst, r.Seq)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Time))
	dst = append(dst, r.Kind)
	dst = append(dst, r.Data...)
	return f.aead.Seal(dst[:start], nonce[:], dst[start:], dst[n:start])
}
