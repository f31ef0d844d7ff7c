package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Append adds r and returns at once; w, if not nil, is told once everything up
// to r is durable, and without w it is within 100 ms. It blocks only while more
// than MaxPending bytes wait to be written. Nothing of r is kept. The error
// wraps ErrFull, ErrClosed, or is the journal's failure.
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
// durable with the next commit, at the latest 100 ms later. The error is as
// Append's.
func (j *Journal) Write(r Record) (LSN, error) {
	j.mu.Lock()
	at, err := j.put(r, false)
	j.mu.Unlock()
	if err != nil {
		return 0, err
	}
	j.wmu.Lock()
	defer j.wmu.Unlock()
	return at, j.flush()
}

// Sync returns once everything up to at is durable. at is of this run: what is
// there from earlier runs counts as durable.
func (j *Journal) Sync(at LSN) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.durable < at {
		if j.err != nil {
			return j.err
		}
		if j.ended {
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
	size := int64(recordSize(len(r.Data)))
	if fits := j.o.FileSize - j.o.Reserve - headerSize - linkSize; len(r.Data) > MaxData || size > fits {
		return 0, fmt.Errorf("a record of %d bytes is too large for the journal: at most %d fit", len(r.Data), min(MaxData, fits-int64(recordSize(0))))
	}
	for {
		switch {
		case j.err != nil:
			return 0, j.err
		case j.closed:
			return 0, ErrClosed
		case len(j.batch) > j.o.MaxPending:
			j.wanted = true
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
	if j.since.IsZero() {
		j.since = j.o.Now()
		j.kick() // so that it is durable in time
	}
	if j.next == nil && !j.making && j.end > j.o.FileSize/2 {
		j.prepare()
	}
	return lsn(j.file.number, j.end), nil
}

// flush writes the batch. The caller holds wmu.
func (j *Journal) flush() error {
	j.mu.Lock()
	if j.err != nil {
		defer j.mu.Unlock()
		return j.err
	}
	batch, to, f := j.batch, lsn(j.file.number, j.end), j.file
	if len(batch) == 0 {
		j.mu.Unlock()
		return nil
	}
	at := j.end - int64(len(batch))
	j.batch, j.spare = j.spare[:0], nil
	j.space.Broadcast()
	j.mu.Unlock()
	err := j.writeAll(f.f, batch, at)
	j.mu.Lock()
	defer j.mu.Unlock()
	if cap(batch) <= maxSpare {
		j.spare = batch[:0]
	}
	if err != nil {
		j.fail(err)
		return j.err
	}
	j.written = to
	return nil
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
	if err := j.o.Sync(f); err != nil {
		return fmt.Errorf("%s cannot be made durable: %w", f.Name(), err)
	}
	return nil
}

// seal appends r to dst, as it stands at offset at of f. One caller at a time.
func (f *file) seal(dst []byte, at int64, r Record) []byte {
	n := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(recordSize(len(r.Data))-lengthSize))
	dst = append(dst, r.Session[:]...)
	dst = binary.BigEndian.AppendUint64(dst, r.Seq)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Time))
	dst = append(dst, r.Kind)
	dst = append(dst, r.Data...)
	return f.close(dst, n, at)
}

// close seals what follows the length at dst[n:].
func (f *file) close(dst []byte, n int, at int64) []byte {
	binary.BigEndian.PutUint64(f.nonce[4:], uint64(at))
	start := n + lengthSize
	return f.aead.Seal(dst[:start], f.nonce[:], dst[start:], dst[n:start])
}
