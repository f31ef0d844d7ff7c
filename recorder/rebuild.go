package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sallyport/policy"
	"sallyport/recorder/cast"
	"sallyport/recorder/journal"
	"sallyport/recorder/redact"
)

// rebuild seals one recording out of the journal, as its session would have.
type rebuild struct {
	r     *Recorder
	f     *found
	segs  segments
	shelf *shelf
	done  *policy.Recording // it has a manifest already
	known Entered

	expect   uint64 // sequence of the record that comes next
	covered  uint64 // sequence of the first record whose events are in no segment
	at       time.Duration
	streams  map[byte]*undecided
	batch    batch
	gathered int
	first    time.Duration
	missing  []string // what is lost in the middle
	err      error
}

// undecided is what a stream held back.
type undecided struct {
	held []byte
	lost int // bytes before held that are lost
}

// newRebuild looks what the archive has of a recording.
func (r *Recorder) newRebuild(ctx context.Context, f *found, known Entered, asked bool) (*rebuild, error) {
	if f.err != nil {
		return nil, f.err
	}
	if f.state == nil {
		return nil, fmt.Errorf("the journal has records of it from number %d on, and lost those that say what it is", f.first)
	}
	keys, err := f.state.keys()
	if err != nil {
		return nil, err
	}
	var s policy.Session
	if err := json.Unmarshal(f.state.Session, &s); err != nil {
		return nil, fmt.Errorf("the session in the journal is damaged: %w", err)
	}
	if !asked {
		known.Start = true
	}
	b := &rebuild{
		r: r, f: f, known: known, expect: f.state.Next, covered: f.state.Next, at: f.state.Time,
		segs:  segments{id: f.id, keys: keys, context: f.state.Session},
		shelf: newShelf(r, &s, f.id, keys, f.state.KeyObject),
		streams: map[byte]*undecided{
			byte(cast.CodeOutput): {held: f.state.HeldOut}, byte(cast.CodeStderr): {held: f.state.HeldErr},
		},
	}
	b.shelf.keyDigest = [32]byte(f.state.KeyDigest)
	b.shelf.manifest.KeyObject = b.shelf.keyDigest
	return b, b.look(ctx)
}

// record takes the next record of the journal.
func (b *rebuild) record(ctx context.Context, rec journal.Record) error {
	if b.done != nil || rec.Seq < b.expect || rec.Seq == closedSeq {
		return nil
	}
	if rec.Seq > b.expect {
		b.gap(max(b.expect, b.covered), rec.Seq, rec.Time)
	}
	b.expect = rec.Seq + 1
	b.at = max(b.at, rec.Time)
	fresh := rec.Seq >= b.covered
	switch st := b.streams[rec.Kind]; {
	case st != nil:
		a, err := parseAccount(rec.Data)
		if err != nil {
			return err
		}
		b.account(rec.Kind, st, a, fresh)
	case isEvent(rec.Kind) && fresh:
		b.add(cast.Code(rec.Kind), rec.Data, nil, false)
	}
	return b.cutIfFull(ctx, rec.Seq+1)
}

// gap says that the records from one sequence number up to another are lost.
func (b *rebuild) gap(from, to uint64, at time.Duration) {
	if from >= to {
		return
	}
	text := fmt.Sprintf("what happened between %s and %s (%d records of the journal)", clock(b.at), clock(at), to-from)
	b.missing = append(b.missing, text)
	b.add(cast.CodeGap, []byte(text+" is lost"), nil, false)
}

// account does with the bytes of a record what was decided about them.
func (b *rebuild) account(kind byte, st *undecided, a account, fresh bool) {
	if a.held != st.lost+len(st.held) {
		// A lost record changed what was undecided: what is known of it cannot
		// be told apart from what was decided since.
		b.undecided(kind, st, fresh)
		st.lost = a.held
	}
	st.held = append(st.held, a.raw...)
	for _, d := range a.decisions {
		gone := min(st.lost, d.n)
		st.lost -= gone
		n := min(d.n-gone, len(st.held))
		if n > 0 && fresh {
			b.add(cast.Code(kind), st.held[:n], fit(shift(d.masks, gone), n), false)
		}
		st.held = st.held[n:]
	}
}

// fit leaves of masks what lies within n bytes, in order.
func fit(masks []redact.Mask, n int) []redact.Mask {
	out, end := masks[:0], 0
	for _, m := range masks {
		if m.Off >= end && m.Off < n {
			m.Len = min(m.Len, n-m.Off)
			end = m.Off + m.Len
			out = append(out, m)
		}
	}
	return out
}

// undecided records what is held of a stream under the raw key only.
func (b *rebuild) undecided(kind byte, st *undecided, fresh bool) {
	for held := st.held; fresh && len(held) > 0; {
		n := min(len(held), maxPiece)
		b.add(cast.Code(kind), held[:n], nil, true)
		held = held[n:]
	}
	st.held, st.lost = nil, 0
}

func (b *rebuild) add(code cast.Code, data []byte, masks []redact.Mask, undecided bool) {
	if b.gathered == 0 {
		b.first = b.at
	}
	before := b.batch.cost
	b.batch.add(code, b.at, data, masks, undecided)
	b.gathered += b.batch.cost - before
}

// cutIfFull seals what has gathered, and stores the segment where it is whole.
func (b *rebuild) cutIfFull(ctx context.Context, next uint64) error {
	if b.batch.full() {
		if err := b.seal(); err != nil {
			return err
		}
	}
	o := &b.r.o
	if b.gathered < o.SegmentBytes && (b.gathered == 0 || b.at-b.first < o.SegmentTime) {
		return nil
	}
	return b.cut(ctx, next)
}

func (b *rebuild) seal() error {
	err := b.segs.block(&b.batch)
	b.batch = batch{}
	return err
}

func (b *rebuild) cut(ctx context.Context, next uint64) error {
	if err := b.seal(); err != nil {
		return err
	}
	seg, err := b.segs.cut(next, false)
	b.gathered = 0
	if err != nil || seg == nil {
		return err
	}
	return b.shelf.segment(ctx, seg)
}

// finish seals the rest, and completes what an earlier run left of the end.
func (b *rebuild) finish(ctx context.Context, damages []journal.Damage) (policy.Recording, error) {
	if b.err != nil {
		return policy.Recording{}, b.err
	}
	if b.done != nil {
		return *b.done, b.enterEnd(ctx, b.done.Summary)
	}
	for _, kind := range []cast.Code{cast.CodeOutput, cast.CodeStderr} {
		b.undecided(byte(kind), b.streams[byte(kind)], true)
	}
	if err := b.cut(ctx, max(b.expect, b.covered)); err != nil {
		return policy.Recording{}, err
	}
	b.shelf.doubt = b.known.End
	sum, err := b.shelf.finish(ctx, b.ending(damages))
	return policy.Recording{Session: *b.shelf.session, Summary: sum}, err
}

// ending is how the recording ended, as far as the journal knows.
func (b *rebuild) ending(damages []journal.Damage) ending {
	e := ending{
		State: policy.RecordingInterrupted, End: policy.End{Reason: "the bastion stopped during the session"},
		Ended: b.shelf.session.Start.Add(b.at), Duration: b.at,
	}
	missing := b.missing
	switch {
	case b.f.end != nil && len(missing) == 0:
		return *b.f.end
	case b.f.end != nil:
		e = *b.f.end
		e.State = policy.RecordingInterrupted
		if e.Missing != "" {
			missing = append(missing, e.Missing)
		}
	default:
		missing = append(missing, fmt.Sprintf("what came after %s: the bastion stopped", clock(b.at)))
		if lost := b.f.after(damages); lost != "" {
			missing = append(missing, lost)
			e.End.Reason += ", and the journal is damaged"
		}
	}
	e.Missing = join(missing)
	return e
}

// mostGaps is how many gaps a manifest names one by one.
const mostGaps = 4

func join(missing []string) string {
	text := ""
	for i, m := range missing {
		if i == mostGaps && len(missing) > mostGaps+1 {
			return text + fmt.Sprintf("; and %d more gaps", len(missing)-i)
		}
		if i > 0 {
			text += "; "
		}
		text += m
	}
	return text
}

// enterEnd makes the entry of an end whose manifest is in the archive, unless it
// is there.
func (b *rebuild) enterEnd(ctx context.Context, sum policy.Summary) error {
	if b.known.End {
		return nil
	}
	if err := b.r.o.Entry(ctx, endEntry(sum)); err != nil {
		return errors.Join(errors.New("the ledger does not take its end"), err)
	}
	return nil
}
