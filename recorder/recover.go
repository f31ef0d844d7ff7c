package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sallyport/policy"
	"sallyport/recorder/journal"
	"sallyport/recorder/sealed"
)

// found is what a journal says of one recording of an earlier run.
type found struct {
	id      sealed.ID
	state   *state
	end     *ending
	first   uint64      // sequence of the first record seen
	last    journal.LSN // where the last one ends
	events  bool        // there are records of events
	dropped bool        // it never began, as far as the journal knows
	closed  bool
	err     error // what is wrong with its records
}

// Recover seals what the journal holds of recordings that an earlier run did not
// finish, and returns them, oldest first. One whose end is in the journal becomes
// what it was meant to be; any other is interrupted, and its manifest says what
// is missing. It must be called before the first Open.
//
// An error of one recording does not keep the others from being recovered: what
// was recovered is returned together with the joined errors. What was not stays
// in the journal, for the next run.
func (r *Recorder) Recover(ctx context.Context) ([]policy.Recording, error) {
	open, damages, err := r.scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("recorder: the journal cannot be read: %w", err)
	}
	builds, failed := r.prepare(ctx, open)
	if len(builds) > 0 {
		if _, err := r.o.Journal.Replay(func(rec journal.Record, _ journal.LSN) error {
			if b := builds[sealed.ID(rec.Session)]; b != nil && b.err == nil {
				b.err = b.record(ctx, rec)
			}
			return ctx.Err()
		}); err != nil {
			return nil, fmt.Errorf("recorder: the journal cannot be read: %w", err)
		}
	}
	var out []policy.Recording
	for _, f := range open {
		b := builds[f.id]
		if b == nil {
			continue
		}
		m, err := b.finish(ctx, damages)
		if err != nil {
			failed = append(failed, fmt.Errorf("recorder: session %s cannot be recovered: %w", f.id, err))
			continue
		}
		r.logClosed(f.id)
		out = append(out, m)
	}
	for _, d := range damages {
		r.o.Log.Error("the journal is damaged", "damage", d)
	}
	if len(failed) == 0 {
		r.mu.Lock()
		r.recovered = true
		r.mu.Unlock()
		r.look()
	}
	return out, errors.Join(failed...)
}

// scan reads what the journal says of recordings that are not closed, oldest
// first, and what is damaged.
func (r *Recorder) scan(ctx context.Context) ([]*found, []journal.Damage, error) {
	all := map[sealed.ID]*found{}
	damages, err := r.o.Journal.Replay(func(rec journal.Record, at journal.LSN) error {
		f := all[sealed.ID(rec.Session)]
		if f == nil {
			f = &found{id: sealed.ID(rec.Session), first: rec.Seq}
			all[f.id] = f
		}
		f.last = at
		f.take(rec)
		return ctx.Err()
	})
	if err != nil {
		return nil, nil, err
	}
	var open []*found
	for _, f := range all {
		if !f.closed {
			open = append(open, f)
		}
	}
	slices.SortFunc(open, func(a, b *found) int { return strings.Compare(a.id.String(), b.id.String()) })
	return open, damages, nil
}

// take notes what a record says, apart from its events.
func (f *found) take(rec journal.Record) {
	var err error
	switch rec.Kind {
	case kindOpen, kindCheckpoint:
		var s *state
		if s, err = parseState(rec.Data); err == nil {
			f.state = s
		}
	case kindEnd:
		e := new(ending)
		if err = json.Unmarshal(rec.Data, e); err == nil {
			f.end = e
		}
	case kindDropped:
		f.dropped = true
	case kindClosed:
		f.closed, f.state, f.end = true, nil, nil
	default:
		if f.events = true; !isEvent(rec.Kind) {
			err = fmt.Errorf("the journal has a record of the unknown kind %q: a newer program wrote it", rec.Kind)
		}
	}
	if err != nil && f.err == nil {
		f.err = err
	}
}

// prepare says what is to be built of each recording. Those of which nothing is
// to be done are not in it.
func (r *Recorder) prepare(ctx context.Context, open []*found) (map[sealed.ID]*rebuild, []error) {
	builds := map[sealed.ID]*rebuild{}
	var failed []error
	entered, err := r.entered(ctx, open)
	if err != nil {
		return nil, []error{fmt.Errorf("recorder: the ledger does not say what it holds: %w", err)}
	}
	for _, f := range open {
		known, asked := entered[policy.SessionID(f.id.String())]
		if f.dropped && !f.events && !known.Start {
			continue // it never began, and nobody was told otherwise
		}
		b, err := r.newRebuild(ctx, f, known, asked)
		if errors.Is(err, errShredded) {
			r.o.Log.Warn("what the journal holds of a shredded recording is dropped", "session", f.id)
			r.logClosed(f.id)
			continue
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("recorder: session %s cannot be recovered: %w", f.id, err))
			continue
		}
		builds[f.id] = b
	}
	return builds, failed
}

// entered asks the ledger what it holds of recordings.
func (r *Recorder) entered(ctx context.Context, open []*found) (map[policy.SessionID]Entered, error) {
	if r.o.Entered == nil || len(open) == 0 {
		return nil, nil
	}
	ids := make([]policy.SessionID, len(open))
	for i, f := range open {
		ids[i] = policy.SessionID(f.id.String())
	}
	known, err := r.o.Entered(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[policy.SessionID]Entered, len(ids))
	for _, id := range ids {
		out[id] = known[id] // what it does not name, it has nothing of
	}
	return out, nil
}

// after says which damage of the journal may have held more of f: what lies
// after the last record that is known. What lies before shows in the sequence.
func (f *found) after(damages []journal.Damage) string {
	for _, d := range damages {
		name := filepath.Base(d.File)
		number, err := strconv.ParseUint(strings.TrimSuffix(name, filepath.Ext(name)), 16, 64)
		if err != nil || number > f.last.File() || number == f.last.File() && uint64(d.Offset) >= uint64(f.last)&(1<<40-1) {
			return fmt.Sprintf("what the journal's file %s held where it is damaged, at byte %d", name, d.Offset)
		}
	}
	return ""
}

// logClosed has the next run leave a recording alone. Where that fails, the next
// run finds that nothing is left to do.
func (r *Recorder) logClosed(id sealed.ID) {
	r.o.Journal.AppendClosing(journal.Record{Session: journal.ID(id), Seq: closedSeq, Kind: kindClosed}, nil)
}

// closedSeq is the sequence of the last record of a recovered recording, which
// may come before records of a damaged file that were never read.
const closedSeq = 1<<63 - 1
