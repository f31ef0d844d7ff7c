package recorder

import (
	"sync/atomic"

	"sallyport/recorder/journal"
	"sallyport/recorder/sealed"
)

// counters are what a Recorder has done since it was made.
type counters struct {
	opened, segments, segmentBytes, eventBytes atomic.Int64
}

// Stats says what a Recorder has done and what waits.
type Stats struct {
	Open         int   // recordings that need something of the journal, closed ones that are not stored yet included
	Opened       int64 // recordings since the start
	Segments     int64 // segments stored
	SegmentBytes int64 // their size
	EventBytes   int64 // bytes of output, standard error and input in them
	Unstored     int   // finished segments that wait for the archive or the ledger
	Failing      int   // recordings that the archive or the ledger does not take at the moment
	Err          error // why, for one of them; nil: all is well
	Journal      journal.Stats
}

// Stats returns what the Recorder has done so far.
func (r *Recorder) Stats() Stats {
	s := Stats{
		Opened: r.counts.opened.Load(), Segments: r.counts.segments.Load(),
		SegmentBytes: r.counts.segmentBytes.Load(), EventBytes: r.counts.eventBytes.Load(),
		Err: r.sick(), Journal: r.o.Journal.Stats(),
	}
	recs := r.all()
	s.Open = len(recs)
	for _, rec := range recs {
		rec.qmu.Lock()
		s.Unstored += rec.unstored
		rec.qmu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.ill {
		if i.err != nil {
			s.Failing++
		}
	}
	return s
}

// stored counts a segment.
func (r *Recorder) stored(i sealed.Info) {
	r.counts.segments.Add(1)
	r.counts.segmentBytes.Add(i.Size)
	r.counts.eventBytes.Add(i.OutputBytes + i.StderrBytes + i.InputBytes)
}

// unhealthy notes that p cannot be stored for the moment.
func (r *Recorder) unhealthy(p *pipeline, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, known := r.ill[p]
	if !known {
		i.ch = make(chan struct{})
	}
	if i.err == nil {
		close(i.ch)
	}
	i.err = err
	r.ill[p] = i
}

// healthy notes that p was stored.
func (r *Recorder) healthy(p *pipeline) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ill[p].err != nil {
		delete(r.ill, p)
	}
}

// trouble returns a channel that is closed when p cannot be stored.
func (r *Recorder) trouble(p *pipeline) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, known := r.ill[p]
	if !known {
		i.ch = make(chan struct{})
		r.ill[p] = i
	}
	return i.ch
}

// why returns what keeps p from being stored.
func (r *Recorder) why(p *pipeline) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ill[p].err; err != nil {
		return err
	}
	if r.ctx.Err() != nil {
		return ErrClosed
	}
	return nil
}

// sick returns why something cannot be stored.
func (r *Recorder) sick() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.ill {
		if i.err != nil {
			return i.err
		}
	}
	return nil
}

// Memory of all recordings together, in bytes; many busy ones share it.
const (
	sealMemory    = 64 << 20
	mostUnsealed  = 1 << 20 // of one recording
	segmentMemory = 256 << 20
	leastSegment  = 512 << 10
)

// sealing notes that what one recording has unsealed changes.
func (r *Recorder) sealing(before, after int) {
	switch {
	case before == 0 && after > 0:
		r.active.Add(1)
	case before > 0 && after == 0:
		r.active.Add(-1)
	}
}

// sealShare returns how much of one recording may wait to be sealed, in bytes.
func (r *Recorder) sealShare() int {
	return min(mostUnsealed, sealMemory/int(max(r.active.Load(), 1)))
}

// segmentShare returns how large the segments of one recording may be.
func (r *Recorder) segmentShare() int {
	share := segmentMemory / int(max(r.active.Load(), 1))
	return min(r.o.SegmentBytes, max(share, leastSegment))
}
