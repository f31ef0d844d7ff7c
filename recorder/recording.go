package recorder

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"sallyport/policy"
	"sallyport/recorder/cast"
)

// maxPiece is the most bytes that become one event.
const maxPiece = 32 << 10

// Recording is the record of one session. All its methods may be called
// concurrently, but one stream has one caller of Output and one of Next.
//
// Output goes through three stages: it is encoded (by its caller), written and
// made durable (by the committer, the one goroutine of a recording, which ends
// with Close or the first failure), and given out by Next. While the committer
// waits for the disk, what comes in gathers for its next round.
type Recording struct {
	r       *Recorder
	session policy.Session
	start   time.Time // of the events' times

	wake   chan struct{} // something is to be committed, or due later
	stop   chan struct{} // closed by Close: commit all and end
	done   chan struct{} // closed when the committer has ended
	failed chan struct{} // closed under qmu, together with err

	once     sync.Once // Close
	summary  policy.Summary
	closeErr error

	// Lock order: wmu, mu, qmu.

	wmu    sync.Mutex // held while writing, so that lines are written in order
	file   *os.File
	digest digest

	mu  sync.Mutex // held while encoding
	enc encoder

	qmu     sync.Mutex
	out     queue     // standard output or the terminal
	errs    queue     // standard error
	waiting int       // bytes of lines encoded and not written
	dirty   time.Time // when the oldest bytes written but not durable were written
	space   sync.Cond // there may be room for output again
	closed  bool
	err     error
}

func newRecording(r *Recorder, s policy.Session, start time.Time, file *os.File, header []byte) *Recording {
	rec := &Recording{
		r: r, session: s, start: start, file: file, digest: newDigest(),
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
		done: make(chan struct{}), failed: make(chan struct{}),
	}
	rec.digest.add(header)
	rec.space.L, rec.out.ready.L, rec.errs.ready.L = &rec.qmu, &rec.qmu, &rec.qmu
	rec.enc.init(r, s, &rec.qmu, &rec.out, &rec.errs)
	go rec.commitLoop()
	return rec
}

// Output takes the next bytes of StreamOutput or StreamStderr and keeps nothing
// of p. It blocks while more than MaxPending bytes have not been stored or not
// been taken with Next. The error is that of the recording, or ErrClosed.
func (rec *Recording) Output(s policy.Stream, p []byte) error {
	st, err := rec.stream(s)
	if err != nil {
		return err
	}
	for len(p) > 0 {
		if err := rec.waitForSpace(); err != nil {
			return err
		}
		n := min(len(p), maxPiece)
		rec.mu.Lock()
		if st.closed {
			rec.mu.Unlock()
			return ErrClosed
		}
		rec.enc.output(st, p[:n], rec.at())
		rec.encoded()
		rec.mu.Unlock()
		rec.kick()
		p = p[n:]
	}
	return rec.Err()
}

// CloseOutput ends a stream: what is held back of it is released, and Next
// returns io.EOF after it.
func (rec *Recording) CloseOutput(s policy.Stream) {
	st, err := rec.stream(s)
	if err != nil {
		return
	}
	rec.mu.Lock()
	if !st.closed {
		rec.enc.finish(st, rec.at())
		rec.encoded()
		rec.qmu.Lock()
		st.queue.closed = true
		st.queue.ready.Broadcast()
		rec.qmu.Unlock()
	}
	rec.mu.Unlock()
	rec.kick()
}

// Next returns the next bytes of a stream that the client may see: they are
// durable, and masked where the live view hides something. It blocks until
// there are some. They hold until the next call for the same stream.
//
// The error is io.EOF once the stream is closed and all of it was returned. From
// the moment the recording has failed it is that failure.
func (rec *Recording) Next(s policy.Stream) ([]byte, error) {
	st, err := rec.stream(s)
	if err != nil {
		return nil, err
	}
	q := st.queue
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	for {
		if rec.err != nil {
			return nil, rec.err
		}
		if p := q.take(); p != nil {
			rec.space.Broadcast()
			return p, nil
		}
		if q.closed && q.taken == q.end {
			return nil, io.EOF
		}
		q.ready.Wait()
	}
}

// Input records what the client sent. When it returns, p is in the file; it is
// durable before any later output is given out, at the latest 100 ms later. The
// caller must not forward p after an error.
func (rec *Recording) Input(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), maxPiece)
		if err := rec.event(func(at time.Duration) { rec.enc.input(p[:n], at) }); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// Resize records that the terminal now has cols columns and rows rows; more
// than 10000 of either are recorded as 10000.
func (rec *Recording) Resize(cols, rows int) error {
	cols, rows = side(cols), side(rows)
	return rec.event(func(at time.Duration) { rec.enc.resize(cols, rows, at) })
}

// Marker records text as a named place, to which players can jump.
func (rec *Recording) Marker(text string) error {
	text = clip(text, maxPiece)
	return rec.event(func(at time.Duration) { rec.enc.plain(cast.CodeMarker, []byte(text), at) })
}

// event encodes something and writes it.
func (rec *Recording) event(encode func(at time.Duration)) error {
	if err := rec.Err(); err != nil {
		return err
	}
	rec.mu.Lock()
	if rec.enc.closed {
		rec.mu.Unlock()
		return ErrClosed
	}
	encode(rec.at())
	rec.encoded()
	rec.mu.Unlock()
	first, err := rec.write()
	if first {
		rec.kick() // to make it durable in time
	}
	return err
}

// Failed is closed when the recording cannot go on; Err then says why.
func (rec *Recording) Failed() <-chan struct{} { return rec.failed }

// Err returns why the recording cannot go on, or nil while it can.
func (rec *Recording) Err() error {
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	return rec.err
}

// Close ends the recording: both streams are closed, the exit status is
// recorded, everything is made durable, and the manifest is published. What is
// durable can still be taken with Next afterwards. Every call returns what the
// first one did.
//
// After a failure, the summary is that of an interrupted recording, made from
// what can be read back, and the error is the failure.
func (rec *Recording) Close(end policy.End) (policy.Summary, error) {
	rec.once.Do(func() { rec.summary, rec.closeErr = rec.close(end) })
	return rec.summary, rec.closeErr
}

func (rec *Recording) close(end policy.End) (policy.Summary, error) {
	rec.CloseOutput(policy.StreamOutput)
	rec.CloseOutput(policy.StreamStderr)
	now := rec.r.o.Now()
	rec.mu.Lock()
	took := max(rec.at(), rec.enc.prev)
	if end.ExitStatus != nil {
		rec.enc.plain(cast.CodeExit, strconv.AppendUint(nil, uint64(*end.ExitStatus), 10), took)
	}
	rec.enc.closed = true
	sum := rec.enc.counts
	rec.encoded()
	rec.mu.Unlock()

	rec.qmu.Lock()
	rec.closed = true
	rec.space.Broadcast()
	rec.qmu.Unlock()

	close(rec.stop)
	<-rec.done
	defer rec.r.setOpen(rec.session.ID, false)
	err := rec.Err()
	rec.wmu.Lock() // Input may still be writing to a failed recording
	if closeErr := rec.file.Close(); err == nil && closeErr != nil {
		err = rec.failure(closeErr)
	}
	rec.wmu.Unlock()
	if err != nil {
		return rec.closeFailed(end, now, err)
	}
	sum.ID, sum.State, sum.End = rec.session.ID, policy.RecordingComplete, end
	sum.Ended, sum.Duration = now.Round(0), took
	sum.Size, sum.SHA256 = rec.digest.size, rec.digest.sum()
	if err := rec.r.writeManifest(policy.Recording{Session: rec.session, Summary: sum}); err != nil {
		sum.State = policy.RecordingInterrupted
		return sum, fmt.Errorf("recorder: the manifest of session %s cannot be written: %w", sum.ID, err)
	}
	return sum, nil
}

// closeFailed describes what a failed recording left. Without a manifest, the
// next Recover tries again.
func (rec *Recording) closeFailed(end policy.End, now time.Time, err error) (policy.Summary, error) {
	if end.Reason == "" {
		end.Reason = err.Error()
	}
	found, sealErr := rec.r.seal(rec.session.ID, func(m *policy.Recording) {
		m.Session = rec.session
		m.Summary.End = end
		m.Summary.Ended, m.Summary.Duration = now.Round(0), max(now.Sub(rec.start), 0)
		m.Summary.SHA256 = "" // what reads back need not be what the disk holds
	})
	if sealErr != nil {
		err = fmt.Errorf("%w; nor can its manifest be written: %w", err, sealErr)
	}
	return found.Summary, err
}

// stream returns the state of a stream that has output.
func (rec *Recording) stream(s policy.Stream) (*stream, error) {
	switch s {
	case policy.StreamOutput:
		return &rec.enc.out, nil
	case policy.StreamStderr:
		return &rec.enc.errs, nil
	}
	return nil, fmt.Errorf("recorder: stream %q has no output", byte(s))
}

// waitForSpace blocks while too much waits to be stored or delivered.
func (rec *Recording) waitForSpace() error {
	most := rec.r.o.MaxPending
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	for {
		undelivered := rec.out.end - rec.out.taken + rec.errs.end - rec.errs.taken
		switch {
		case rec.err != nil:
			return rec.err
		case rec.closed:
			return ErrClosed
		case undelivered <= int64(most) && rec.waiting <= most:
			return nil
		}
		rec.space.Wait()
	}
}

// at returns the time of an event that happens now. Only times of the monotonic
// clock are compared.
func (rec *Recording) at() time.Duration { return rec.r.o.Now().Sub(rec.start) }

// encoded notes how much waits to be written. The caller holds mu.
func (rec *Recording) encoded() {
	rec.qmu.Lock()
	rec.waiting = len(rec.enc.lines)
	rec.qmu.Unlock()
}

// kick makes the committer look again.
func (rec *Recording) kick() {
	select {
	case rec.wake <- struct{}{}:
	default:
	}
}
