package recorder

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"sallyport/policy"
	"sallyport/recorder/cast"
	"sallyport/recorder/journal"
	"sallyport/recorder/sealed"
)

// maxPiece is the most bytes that become one record of the journal.
const maxPiece = 32 << 10

// Recording is the record of one session. All its methods may be called
// concurrently, but one stream has one caller of Output and one of Next.
//
// Output decides what can be shown and appends bytes and decisions to the
// journal; Next gives out what the journal says is on disk. Apart from that, what
// happened gathers in a batch, and batches go through the pipeline into the
// archive. An idle recording has no goroutine and no batch.
type Recording struct {
	r       *Recorder
	session policy.Session
	id      sealed.ID
	start   time.Time // of the events' times
	pipe    pipeline

	failed chan struct{} // closed under qmu, together with err

	once     sync.Once // Close
	summary  policy.Summary
	closeErr error

	// Lock order: mu, pipeline.mu, qmu. The journal is called under mu, and
	// may wait there for its committer, which takes qmu only.

	mu        sync.Mutex
	out, errs stream
	cols      int           // of the terminal
	seq       uint64        // of the next journal record
	last      journal.LSN   // of the last one
	prev      time.Duration // time of the last event
	batch     *batch        // nil: nothing has happened since the last one
	begun     bool          // there is a segment, or will be
	gathered  int           // bytes of events since the last cut
	first     time.Duration // time of the first of them
	firstAt   time.Time     // when it happened
	timer     *time.Timer   // calls wake
	wakeAt    time.Time     // when; zero: never
	own       []byte        // memory for small journal records
	closing   bool          // records may use what the journal keeps for ends
	closed    bool          // nothing but what Close adds

	qmu       sync.Mutex
	committed journal.LSN // all up to it is durable
	unsealed  int         // bytes of batches on their way into a segment
	unstored  int         // segments on their way into the archive
	waits     int         // who waits for either
	space     sync.Cond   // there may be room for output again
	ended     bool        // Close was called
	err       error

	pin     uint64      // the journal file that holds the oldest record needed
	nextPin uint64      // the same once nextLSN is durable
	nextLSN journal.LSN // of the last checkpoint; 0: none is under way
	overLSN journal.LSN // of the record that says that nothing is needed any more
}

func newRecording(r *Recorder, s policy.Session, id sealed.ID, start time.Time) *Recording {
	rec := &Recording{
		r: r, session: s, id: id, start: start, cols: s.Cols, failed: make(chan struct{}),
		out: stream{code: cast.CodeOutput}, errs: stream{code: cast.CodeStderr},
	}
	rec.space.L, rec.out.queue.ready.L, rec.errs.queue.ready.L = &rec.qmu, &rec.qmu, &rec.qmu
	masked, wire := r.o.NewMasker != nil, s.TTY || s.RedactStreams
	rec.out.masked, rec.errs.masked = masked, masked
	rec.out.wire, rec.errs.wire = wire, wire
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
		if err := rec.waitForSpace(true); err != nil {
			return err
		}
		n := min(len(p), maxPiece)
		rec.mu.Lock()
		if st.closed {
			rec.mu.Unlock()
			return ErrClosed
		}
		err := rec.output(st, p[:n])
		rec.mu.Unlock()
		if err != nil {
			return err
		}
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
	defer rec.mu.Unlock()
	if st.closed {
		return
	}
	rec.flush(st) // its failure is in err
	st.closed, st.masker, st.held = true, nil, nil
	rec.qmu.Lock()
	st.queue.closed = true
	st.queue.ready.Broadcast()
	rec.qmu.Unlock()
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
	q := &st.queue
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

// Input records what the client sent. When it returns, p is in the journal's
// file; it is durable before any later output is given out, at the latest 100 ms
// later. The caller must not forward p after an error.
func (rec *Recording) Input(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), maxPiece)
		if err := rec.waitForSpace(false); err != nil {
			return err
		}
		if err := rec.event(cast.CodeInput, p[:n]); err != nil {
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
	err := rec.event(cast.CodeResize, fmt.Appendf(nil, "%dx%d", cols, rows))
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.cols = cols
	for _, st := range []*stream{&rec.out, &rec.errs} {
		if st.masker != nil {
			st.masker.Resize(cols)
		}
	}
	return err
}

// Marker records text as a named place, to which players can jump.
func (rec *Recording) Marker(text string) error {
	return rec.event(cast.CodeMarker, []byte(clip(strings.ToValidUTF8(text, "\uFFFD"), maxPiece)))
}

// Failed is closed when the recording cannot go on; Err then says why.
func (rec *Recording) Failed() <-chan struct{} { return rec.failed }

// Err returns why the recording cannot go on, or nil while it can.
func (rec *Recording) Err() error {
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	return rec.err
}

// stream returns the state of a stream that has output.
func (rec *Recording) stream(s policy.Stream) (*stream, error) {
	switch s {
	case policy.StreamOutput:
		return &rec.out, nil
	case policy.StreamStderr:
		return &rec.errs, nil
	}
	return nil, fmt.Errorf("recorder: stream %q has no output", byte(s))
}

// waitForSpace blocks while too much waits to be sealed, or, for output, to be
// delivered. Input may go on for a while where output has to wait, so that it
// can end what prints too much.
func (rec *Recording) waitForSpace(output bool) error {
	most, more := int64(rec.r.o.MaxPending), 1
	if !output {
		more = 2
	}
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	for {
		out, errs := &rec.out.queue, &rec.errs.queue
		undelivered := out.end - out.taken + errs.end - errs.taken
		backlog := rec.unsealed > more*rec.r.sealShare() || rec.unstored > more*maxUnstored
		switch {
		case rec.err != nil:
			return rec.err
		case rec.ended:
			return ErrClosed
		case !backlog && (!output || undelivered <= most):
			return nil
		}
		if backlog {
			rec.waits++
		}
		rec.space.Wait()
		if backlog {
			rec.waits--
		}
	}
}
