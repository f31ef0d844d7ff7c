package recorder

import "time"

// Files of the journal behind the current one after which an idle recording
// writes its state again, and one that waits becomes a segment.
const (
	relogFiles = 2
	hurryFiles = 4
	lookTime   = 5 * time.Second
)

// keep is the keeper, the one goroutine of a Recorder, which ends with Close. It
// removes journal files that no recording needs, and ends all recordings when
// the journal breaks.
func (r *Recorder) keep() {
	defer close(r.kept)
	ticker := time.NewTicker(lookTime)
	defer ticker.Stop()
	failed := r.o.Journal.Failed()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-failed:
			failed = nil
			for _, rec := range r.all() {
				rec.fail(r.o.Journal.Err())
			}
		case <-r.wake:
		case <-ticker.C:
		}
		r.release()
	}
}

// look has the keeper look for files to release.
func (r *Recorder) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Recorder) all() []*Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*Recording, 0, len(r.recs))
	for _, rec := range r.recs {
		out = append(out, rec)
	}
	return out
}

// release removes the journal files that no recording needs.
func (r *Recorder) release() {
	current := r.o.Journal.Current()
	r.mu.Lock()
	idle := !r.recovered || r.released >= current
	r.mu.Unlock()
	if idle || r.o.Journal.Err() != nil {
		return
	}
	oldest := r.oldest(current)
	if oldest <= r.released {
		return
	}
	if err := r.o.Journal.Release(oldest); err != nil {
		r.o.Log.Error("journal files that are not needed any more cannot be removed", "error", err)
		return
	}
	r.mu.Lock()
	r.released = oldest
	r.mu.Unlock()
}

// oldest returns the number of the oldest journal file that a recording needs,
// and has idle ones let go of theirs.
func (r *Recorder) oldest(current uint64) uint64 {
	// Whoever opens from now on needs current or later ones: remember comes
	// before the first record.
	oldest := current
	for _, rec := range r.all() {
		rec.advance(current)
		rec.qmu.Lock()
		oldest = min(oldest, rec.pin)
		rec.qmu.Unlock()
	}
	return oldest
}
