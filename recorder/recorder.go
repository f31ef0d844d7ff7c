// Package recorder keeps the record of sessions: every byte is on disk before
// anybody sees it (DESIGN, invariant I1).
//
// What happens goes into the node's journal first, as it came and with what
// redaction decided about it. From there on, nothing waits: events gather in
// memory, become blocks of a segment, and segments go into the archive, each
// with an entry in the ledger. After a crash, Recover does the same with what
// it finds in the journal. A Reader puts the events together again.
package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/policy"
	"sallyport/recorder/sealed"
)

// ErrClosed is returned for what comes after a recording or its stream was
// closed, or after the Recorder was.
var ErrClosed = errors.New("the recording is closed")

// Recorder makes recordings in one journal, which belongs to it alone. It is
// safe for concurrent use.
type Recorder struct {
	o    Options
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	sealers, storers *pool
	wake             chan struct{} // the keeper is to look for files to release
	kept             chan struct{} // closed when the keeper has ended

	mu        sync.Mutex                      // taken alone
	recs      map[policy.SessionID]*Recording // those that need something of the journal
	ill       map[*pipeline]illness
	recovered bool   // nothing of earlier runs is needed
	released  uint64 // all journal files below are gone

	patience time.Duration // how long Close waits for an archive or ledger that fails
	stall    time.Duration // how long output waits for one

	active atomic.Int64 // recordings of which something waits to be sealed
	counts counters
}

// illness is what keeps a recording from being stored.
type illness struct {
	err error
	ch  chan struct{} // closed as soon as there is an err
}

// New returns a Recorder. Recover must be called before the first Open where
// the journal holds something of earlier runs.
func New(o Options) (*Recorder, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	// The recipients are tried now, not at the first session.
	if _, err := sealed.WrapKeys(sealed.ID{}, sealed.NewKeys(), o.ViewRecipients, o.RawRecipients); err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	r := &Recorder{
		o: o, patience: closePatience, stall: archivePatience, wake: make(chan struct{}, 1), kept: make(chan struct{}),
		recs: map[policy.SessionID]*Recording{}, ill: map[*pipeline]illness{},
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.sealers = newPool(runtime.GOMAXPROCS(0), (*pipeline).sealOne)
	r.storers = newPool(storeWorkers, (*pipeline).storeOne)
	go r.keep()
	return r, nil
}

// storeWorkers is how many segments are stored at the same time, each of
// another recording.
const storeWorkers = 8

// Open starts the recording of s. When it returns, the session and its keys are
// durable in the journal and its start in the ledger; an error leaves no
// recording. The caller must Close the recording.
func (r *Recorder) Open(ctx context.Context, s policy.Session) (*Recording, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	id, err := sealed.ParseID(string(s.ID))
	if err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	rec, err := r.open(ctx, s, id)
	if err != nil {
		return nil, fmt.Errorf("recorder: the recording of session %s cannot be opened: %w", s.ID, err)
	}
	return rec, nil
}

func (r *Recorder) open(ctx context.Context, s policy.Session, id sealed.ID) (*Recording, error) {
	if err := r.Ready(); err != nil {
		return nil, err
	}
	start := r.o.Now()
	if s.Start.IsZero() {
		s.Start = start
	}
	s.Start = s.Start.Round(0)
	session, err := json.Marshal(s)
	if err == nil && len(session) > maxSession {
		err = fmt.Errorf("its description of %d bytes is larger than the %d allowed", len(session), maxSession)
	}
	if err != nil {
		return nil, err
	}
	keys := sealed.NewKeys()
	key, err := sealed.WrapKeys(id, keys, r.o.ViewRecipients, r.o.RawRecipients)
	if err != nil {
		return nil, err
	}
	rec := newRecording(r, s, id, start)
	rec.pipe = pipeline{
		rec: rec, r: r, key: key,
		segs: segments{id: id, keys: keys, context: session}, shelf: newShelf(r, &rec.session, id, keys, key),
	}
	if err := r.remember(rec); err != nil {
		return nil, err
	}
	if err := r.begin(ctx, rec); err != nil {
		r.forget(rec)
		return nil, err
	}
	r.counts.opened.Add(1)
	return rec, nil
}

// begin makes the start of a recording durable.
func (r *Recorder) begin(ctx context.Context, rec *Recording) error {
	data, err := rec.state(&cut{}, 0, [32]byte{})
	if err != nil {
		return err
	}
	j := r.o.Journal
	lsn, err := j.Append(rec.record(kindOpen, 0, data), nil)
	if err != nil {
		return err
	}
	rec.seq, rec.last = 1, lsn
	rec.qmu.Lock()
	rec.pin = lsn.File()
	rec.qmu.Unlock()
	if err = j.Sync(lsn); err == nil {
		if err = r.o.Entry(ctx, startEntry(rec.session, rec.pipe.shelf.keyDigest)); err == nil {
			return nil
		}
		err = fmt.Errorf("the ledger does not take its start: %w", err)
	}
	// Whether or not this succeeds, Recover asks the ledger about the start.
	j.AppendClosing(rec.record(kindDropped, 0, nil), nil)
	return err
}

// Ready returns why no session can begin: the Recorder is closed, the journal
// is broken, or the archive or the ledger does not take what was recorded.
func (r *Recorder) Ready() error {
	if r.ctx.Err() != nil {
		return errors.New("the recorder is closed")
	}
	if err := r.o.Journal.Err(); err != nil {
		return err
	}
	return r.sick()
}

// remember notes that rec needs the journal.
func (r *Recorder) remember(rec *Recording) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recs[rec.session.ID] != nil {
		return fmt.Errorf("there is one already: %w", fs.ErrExist)
	}
	rec.pin = r.released // until it has written something
	r.recs[rec.session.ID] = rec
	return nil
}

// forget notes that rec needs nothing of the journal any more.
func (r *Recorder) forget(rec *Recording) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recs[rec.session.ID] == rec {
		delete(r.recs, rec.session.ID)
	}
	delete(r.ill, &rec.pipe)
}

// Flush makes a segment of what the running recording id holds so far, and
// returns when it is in the archive and the ledger. The error is fs.ErrNotExist
// where no such recording runs.
func (r *Recorder) Flush(ctx context.Context, id policy.SessionID) error {
	r.mu.Lock()
	rec := r.recs[id]
	r.mu.Unlock()
	if rec == nil {
		return fmt.Errorf("recorder: no session %s is being recorded: %w", id, fs.ErrNotExist)
	}
	c := &cut{done: make(chan struct{})}
	rec.mu.Lock()
	if rec.closed {
		rec.mu.Unlock()
		return fmt.Errorf("recorder: session %s has ended: %w", id, fs.ErrNotExist)
	}
	c.force = !rec.begun // a reader needs one segment at least
	rec.cut(c)
	rec.mu.Unlock()
	select {
	case <-c.done:
		_, _, err := rec.pipe.result()
		return err
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), r.why(&rec.pipe))
	case <-r.ctx.Done():
		return ErrClosed
	}
}

// Close ends what the Recorder does in the background. What recordings have not
// stored by then stays in the journal, for Recover; the journal stays open.
func (r *Recorder) Close() error {
	r.stop()
	<-r.kept
	r.sealers.close()
	r.storers.close()
	r.mu.Lock()
	recs := r.recs
	r.recs = map[policy.SessionID]*Recording{}
	r.mu.Unlock()
	for _, rec := range recs {
		rec.fail(ErrClosed)
	}
	return nil
}
