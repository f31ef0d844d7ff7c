package recorder

import (
	"errors"
	"sync"
	"time"

	"sallyport/policy"
	"sallyport/recorder/archive"
)

// How long to wait after the archive or the ledger has failed, and how long
// output may be held up by that before its session ends.
const (
	firstRetry      = 100 * time.Millisecond
	lastRetry       = 5 * time.Second
	archivePatience = 10 * time.Second
)

// maxUnstored is how many finished segments of a recording may wait for the
// archive before output has to.
const maxUnstored = 2

// cut is a place between two journal records of a recording at which a segment
// ends.
type cut struct {
	next     uint64        // sequence of the first record after it
	at       time.Duration // time of the last event before it
	file     uint64        // number of the journal file that holds what comes next, or one before
	out, err []byte        // what was not decided there of output and of standard error
	keyframe []byte        // of the segment that begins
	force    bool          // also without events
	end      *ending       // the recording ends here
	done     chan struct{} // closed when all before it is in the archive and the ledger; may be nil
}

// job is work of sealing: a batch, a cut, or both in this order.
type job struct {
	batch *batch
	cut   *cut
}

// step is work of storing: a segment, if there is one, and what follows it.
type step struct {
	cut    *cut
	seg    *segment
	number uint32   // of the next segment
	prev   [32]byte // hash of the one before that
}

// pipeline takes what a recording gathered through sealing and storing, on the
// recorder's workers: each in order, both at the same time.
type pipeline struct {
	rec *Recording
	r   *Recorder

	key   []byte   // the key object, until it is in the archive; under Recording.mu
	segs  segments // of the sealing worker
	shelf *shelf   // of the storing worker

	mu       sync.Mutex // taken after Recording.mu, before qmu
	jobs     []job
	steps    []*step
	sealing  bool // a job is being worked on, or soon
	storing  bool // steps[0] is, or waits to be tried again
	tries    int
	since    time.Time // when steps[0] failed first
	late     bool      // Close has given up waiting
	broken   error     // nothing goes on
	finished bool
	summary  policy.Summary
}

// submit appends a job. It reports whether that will ever be done.
func (p *pipeline) submit(j job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		j.cut.over()
		return false
	}
	p.jobs = append(p.jobs, j)
	if !p.sealing {
		p.sealing = true
		p.r.sealers.submit(p)
	}
	return true
}

// over tells whoever waits for a cut.
func (c *cut) over() {
	if c != nil && c.done != nil {
		close(c.done)
	}
}

// sealOne does the next job. The pool calls it for one worker at a time.
func (p *pipeline) sealOne() {
	j, ok := p.nextJob()
	if !ok {
		return // broken meanwhile
	}
	st, cost, err := p.seal(j)
	p.rec.sealedSome(cost, st != nil && st.seg != nil)
	if err != nil {
		p.breakOff(err)
		j.cut.over()
		p.rec.fail(err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		j.cut.over()
		return
	}
	if st != nil {
		p.steps = append(p.steps, st)
		if !p.storing {
			p.storing = true
			p.r.storers.submit(p)
		}
	}
	if p.sealing = len(p.jobs) > 0; p.sealing {
		p.r.sealers.submit(p)
	}
}

// nextJob takes the next job.
func (p *pipeline) nextJob() (j job, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.jobs) == 0 {
		return j, false
	}
	j = p.jobs[0]
	p.jobs[0] = job{}
	if p.jobs = p.jobs[1:]; len(p.jobs) == 0 {
		p.jobs = nil
	}
	return j, true
}

// seal does a job outside of the lock.
func (p *pipeline) seal(j job) (st *step, cost int, err error) {
	if j.batch != nil {
		cost = j.batch.cost
		if err := p.segs.block(j.batch); err != nil {
			return nil, cost, err
		}
	}
	if j.cut == nil {
		return nil, cost, nil
	}
	seg, err := p.segs.cut(j.cut.next, j.cut.force)
	if err != nil {
		return nil, cost, err
	}
	p.segs.keyframe = j.cut.keyframe
	return &step{cut: j.cut, seg: seg, number: p.segs.number, prev: p.segs.prev}, cost, nil
}

// breakOff ends the work for good; the journal has what is left of it.
func (p *pipeline) breakOff(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		p.broken = err
	}
	for _, j := range p.jobs {
		if j.batch != nil {
			p.rec.sealedSome(j.batch.cost, false)
		}
		j.cut.over()
	}
	for _, st := range p.steps {
		st.cut.over()
	}
	p.jobs, p.steps, p.sealing, p.storing = nil, nil, false, false
}

// storeOne does the next step. The pool calls it for one worker at a time.
func (p *pipeline) storeOne() {
	p.mu.Lock()
	if len(p.steps) == 0 {
		p.mu.Unlock()
		return // broken meanwhile
	}
	st := p.steps[0]
	p.mu.Unlock()
	if err := p.store(st); err != nil {
		p.again(err)
		return
	}
	p.mu.Lock()
	p.tries = 0
	if len(p.steps) > 0 {
		if p.steps = p.steps[1:]; len(p.steps) == 0 {
			p.steps = nil
		}
	}
	if p.storing = len(p.steps) > 0; p.storing {
		p.r.storers.submit(p)
	}
	late := p.late && p.finished
	p.mu.Unlock()
	p.r.healthy(p)
	st.cut.over()
	if late && p.r.o.Finished != nil {
		p.r.o.Finished(policy.Recording{Session: p.rec.session, Summary: p.summary})
	}
}

// store does a step outside of the lock, as far as it was not done before.
func (p *pipeline) store(st *step) error {
	if st.seg != nil {
		if err := p.shelf.segment(p.r.ctx, st.seg); err != nil {
			return err
		}
		st.seg = nil
		p.rec.storedOne()
		if st.cut.end == nil {
			p.rec.checkpoint(st)
		}
	}
	if st.cut.end == nil {
		return nil
	}
	sum, err := p.shelf.finish(p.r.ctx, *st.cut.end)
	if err != nil {
		return err
	}
	p.rec.allStored()
	p.mu.Lock()
	p.finished, p.summary = true, sum
	p.mu.Unlock()
	return nil
}

// again has the step tried again later, unless that is of no use.
func (p *pipeline) again(err error) {
	if p.r.ctx.Err() != nil {
		return // the recorder is closed; Recover goes on with it
	}
	now := p.r.o.Now()
	p.mu.Lock()
	if p.tries == 0 {
		p.since = now
	}
	delay := min(firstRetry<<min(p.tries, 10), lastRetry)
	p.tries++
	taken := errors.Is(err, archive.ErrExists) // and always will be
	tired := now.Sub(p.since) > p.r.stall
	p.mu.Unlock()
	if taken {
		p.breakOff(err)
	}
	p.r.o.Log.Warn("a part of a recording cannot be stored; it stays in the journal", "session", p.rec.session.ID, "error", err)
	if taken || tired && p.rec.heldUp() {
		p.rec.fail(err)
	}
	if taken {
		p.r.healthy(p)
		return
	}
	p.r.unhealthy(p, err)
	time.AfterFunc(delay, func() { p.r.storers.submit(p) })
}

// waiting returns how many finished segments wait for the archive.
func (p *pipeline) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.steps)
}

// rest returns where the next segment begins, if nothing is under way.
func (p *pipeline) rest() (number uint32, prev [32]byte, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sealing || p.storing || p.broken != nil {
		return 0, prev, false
	}
	return p.segs.number, p.segs.prev, true
}

// result returns how the recording was stored, if it is.
func (p *pipeline) result() (policy.Summary, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.summary, p.finished, p.broken
}

// giveUp notes that Close does not wait any longer, unless all is done.
func (p *pipeline) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = !p.finished
}
