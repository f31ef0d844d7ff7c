package recorder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"sallyport/policy"
	"sallyport/recorder/journal"
)

// Committed is called by the journal when all up to a record is durable, or will
// never be. It takes qmu only, since who holds mu may be waiting for the caller.
func (rec *Recording) Committed(upTo journal.LSN, err error) {
	if err != nil {
		rec.fail(err)
		return
	}
	rec.qmu.Lock()
	rec.committed = max(rec.committed, upTo)
	rec.out.queue.commit(upTo)
	rec.errs.queue.commit(upTo)
	moved := rec.movePin()
	over := rec.overLSN != 0 && rec.overLSN <= rec.committed
	rec.qmu.Unlock()
	if over {
		rec.r.forget(rec)
	}
	if moved || over {
		rec.r.look()
	}
}

// movePin lets go of journal files once a checkpoint is durable. The caller
// holds qmu.
func (rec *Recording) movePin() bool {
	if rec.nextLSN == 0 || rec.nextLSN > rec.committed {
		return false
	}
	moved := rec.nextPin > rec.pin
	rec.pin, rec.nextLSN = max(rec.pin, rec.nextPin), 0
	return moved
}

// fail ends the recording for good: nothing more is taken or given out. It
// returns the first failure.
func (rec *Recording) fail(err error) error {
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	if rec.err == nil {
		rec.err = &failure{rec.session.ID, err}
		close(rec.failed)
		rec.space.Broadcast()
		rec.out.queue.ready.Broadcast()
		rec.errs.queue.ready.Broadcast()
	}
	return rec.err
}

// failure is why a recording cannot go on, in one sentence that the user may
// read: it has the id and no path.
type failure struct {
	session policy.SessionID
	err     error
}

func (f *failure) Error() string {
	return fmt.Sprintf("recorder: session %s cannot be recorded any more: %s", f.session, reason(f.err))
}

func (f *failure) Unwrap() error { return f.err }

// reason says what is wrong without saying where.
func reason(err error) string {
	var path *fs.PathError
	var link interface{ Unwrap() error }
	switch {
	case errors.As(err, &path):
		return path.Err.Error()
	case errors.Is(err, journal.ErrFull):
		return "no space left on the journal's disk"
	case errors.As(err, &link) && link.Unwrap() != nil:
		return reason(link.Unwrap())
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// sealedSome notes that a batch is in its segment, and whether that is whole.
func (rec *Recording) sealedSome(cost int, segment bool) {
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	rec.r.sealing(rec.unsealed, rec.unsealed-cost)
	rec.unsealed -= cost
	if segment {
		rec.unstored++
	}
	rec.space.Broadcast()
}

// storedOne notes that a segment is in the archive and the ledger.
func (rec *Recording) storedOne() {
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	rec.unstored--
	rec.space.Broadcast()
}

// heldUp reports whether somebody waits for a segment to be stored.
func (rec *Recording) heldUp() bool {
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	return rec.waits > 0
}

// state returns all that a journal must hold to go on after c.
func (rec *Recording) state(c *cut, number uint32, prev [32]byte) ([]byte, error) {
	session, err := json.Marshal(rec.session)
	if err != nil {
		return nil, err
	}
	p := &rec.pipe
	return json.Marshal(state{
		Version: stateVersion, View: p.segs.keys.View[:], Raw: p.segs.keys.Raw[:],
		KeyObject: p.key, KeyDigest: p.shelf.keyDigest[:], Session: session,
		Segment: number, Prev: prev[:], Next: c.next, Time: c.at, HeldOut: c.out, HeldErr: c.err,
	})
}

// checkpoint lets the journal forget what came before a cut, once that is in
// the archive and the ledger.
func (rec *Recording) checkpoint(st *step) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.pipe.key = nil // the archive has it
	rec.logCheckpoint(st.cut, st.number, st.prev)
}

// logCheckpoint is checkpoint for who holds mu.
func (rec *Recording) logCheckpoint(c *cut, number uint32, prev [32]byte) {
	if rec.closed || rec.Err() != nil {
		return // the end will do, or nothing can be logged
	}
	data, err := rec.state(c, number, prev)
	if err != nil {
		rec.fail(err)
		return
	}
	file := c.file
	lsn, err := rec.log(kindCheckpoint, rec.prev, data)
	if err != nil {
		return // it has failed
	}
	rec.qmu.Lock()
	defer rec.qmu.Unlock()
	rec.nextLSN, rec.nextPin = lsn, file
	rec.movePin()
}

// advance lets go of journal files older than current, where an idle recording
// needs them for its state only, and makes a segment of what has waited for
// long while others wrote much. It does not wait for whoever is at work.
func (rec *Recording) advance(current uint64) {
	if !rec.mu.TryLock() {
		return
	}
	defer rec.mu.Unlock()
	rec.qmu.Lock()
	pin, busy := rec.pin, rec.nextLSN != 0
	rec.qmu.Unlock()
	if rec.closed || busy || pin+relogFiles > current {
		return
	}
	number, prev, ok := rec.pipe.rest()
	switch {
	case !ok:
	case rec.gathered > 0:
		if pin+hurryFiles <= current {
			rec.cut(&cut{})
		}
	case len(rec.out.held)+len(rec.errs.held) == 0:
		rec.logCheckpoint(&cut{next: rec.seq, at: rec.prev, file: current}, number, prev)
	}
}

// allStored has the journal forget the recording.
func (rec *Recording) allStored() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	lsn, err := rec.r.o.Journal.AppendClosing(rec.record(kindClosed, rec.prev, nil), rec)
	if err != nil {
		// Recover will find that nothing is left to do.
		rec.r.forget(rec)
		return
	}
	rec.seq++
	rec.qmu.Lock()
	rec.overLSN = lsn
	over := lsn <= rec.committed
	rec.qmu.Unlock()
	if over {
		rec.r.forget(rec)
	}
}
