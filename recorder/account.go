package recorder

import (
	"time"

	"sallyport/recorder/cast"
	"sallyport/recorder/journal"
	"sallyport/recorder/redact"
)

// output accounts for p. The caller holds mu.
func (rec *Recording) output(st *stream, p []byte) error {
	if st.masked && st.masker == nil {
		s := rec.session
		s.Cols = rec.cols
		st.masker = rec.r.o.NewMasker(s)
	}
	at := rec.now()
	held := len(st.held)
	return rec.account(st, held, st.decide(p, rec.r.o.Now()), p, at)
}

// flush accounts for what st holds back. The caller holds mu.
func (rec *Recording) flush(st *stream) error {
	held := len(st.held)
	if held == 0 {
		return nil
	}
	return rec.account(st, held, st.flush(rec.r.o.Now()), nil, rec.now())
}

// account puts bytes and what is decided now into one record of the journal,
// the view of that into the queue, to be given out once the record is durable,
// and the events into the batch.
func (rec *Recording) account(st *stream, held int, chunks []redact.Chunk, raw []byte, at time.Duration) error {
	need := len(raw) + 32
	for _, c := range chunks {
		need += 16 + 64*len(c.Masks)
	}
	buf := appendAccount(buffer(rec.own, need), held, chunks, raw)
	lsn, err := rec.log(byte(st.code), at, buf)
	rec.own = giveBack(rec.own, buf)
	// Also what the journal did not take, and nobody will see, is an event: that
	// it came is true.
	for _, c := range chunks {
		rec.gather(st.code, at, c.Raw, c.Masks)
	}
	if err == nil && (st.wire && len(chunks) > 0 || !st.wire && len(raw) > 0) {
		rec.qmu.Lock()
		if !st.wire {
			st.queue.push(raw) // a masked tarball is a corrupt tarball (THREATS T23)
		} else {
			for _, c := range chunks {
				st.queue.push(redact.View(c.Raw, c.Masks))
			}
		}
		st.queue.mark(lsn)
		if lsn <= rec.committed {
			st.queue.commit(rec.committed)
		}
		rec.qmu.Unlock()
	}
	rec.cutIfFull(at)
	rec.arm()
	return err
}

// event records something that is not output, and has written it when it
// returns.
func (rec *Recording) event(code cast.Code, data []byte) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if err := rec.Err(); err != nil {
		return err
	}
	if rec.closed {
		return ErrClosed
	}
	at := rec.now()
	lsn, err := rec.r.o.Journal.Write(rec.record(byte(code), at, data))
	if err != nil {
		return rec.fail(err)
	}
	rec.seq, rec.last = rec.seq+1, lsn
	rec.gather(code, at, data, nil)
	rec.cutIfFull(at)
	rec.arm()
	return nil
}

// log appends a record, of which the recording is told when it is durable. The
// caller holds mu.
func (rec *Recording) log(kind byte, at time.Duration, data []byte) (journal.LSN, error) {
	if err := rec.Err(); err != nil {
		return 0, err
	}
	j := rec.r.o.Journal
	add := j.Append
	if rec.closing {
		add = j.AppendClosing
	}
	lsn, err := add(rec.record(kind, at, data), rec)
	if err != nil {
		return 0, rec.fail(err)
	}
	rec.seq, rec.last = rec.seq+1, lsn
	return lsn, nil
}

func (rec *Recording) record(kind byte, at time.Duration, data []byte) journal.Record {
	return journal.Record{Session: journal.ID(rec.id), Seq: rec.seq, Time: at, Kind: kind, Data: data}
}

// now returns the time of an event that happens now; it never goes back. The
// caller holds mu. Only times of the monotonic clock are compared.
func (rec *Recording) now() time.Duration {
	rec.prev = max(rec.r.o.Now().Sub(rec.start), rec.prev)
	return rec.prev
}

// gather puts an event into the batch. The caller holds mu.
func (rec *Recording) gather(code cast.Code, at time.Duration, data []byte, masks []redact.Mask) {
	if rec.batch == nil {
		rec.batch = new(batch)
	}
	if rec.gathered == 0 {
		rec.first, rec.firstAt = at, rec.r.o.Now()
	}
	before := rec.batch.cost
	rec.batch.add(code, at, data, masks, false)
	rec.gathered += rec.batch.cost - before
	if rec.batch.full() {
		rec.handOver(nil)
	}
}

// handOver gives the batch, and a cut after it, to the pipeline. The caller
// holds mu.
func (rec *Recording) handOver(c *cut) {
	b := rec.batch
	rec.batch = nil
	if b != nil {
		rec.qmu.Lock()
		rec.r.sealing(rec.unsealed, rec.unsealed+b.cost)
		rec.unsealed += b.cost
		rec.qmu.Unlock()
	}
	if !rec.pipe.submit(job{b, c}) && b != nil {
		rec.sealedSome(b.cost, false)
	}
}

// cutIfFull ends the segment when it is large or old enough. The caller holds
// mu and has accounted for all that rec.seq covers.
func (rec *Recording) cutIfFull(at time.Duration) {
	o := &rec.r.o
	switch {
	case rec.gathered == 0:
	case rec.gathered >= rec.r.segmentShare(),
		at-rec.first >= o.SegmentTime && rec.pipe.waiting() < maxUnstored:
		rec.cut(&cut{})
	}
}

// cut ends the segment here. The caller holds mu.
func (rec *Recording) cut(c *cut) {
	c.next, c.at, c.file = rec.seq, rec.prev, rec.last.File()
	c.out, c.err = append([]byte(nil), rec.out.held...), append([]byte(nil), rec.errs.held...)
	if f := rec.r.o.Keyframe; f != nil && c.end == nil {
		c.keyframe = f(rec.session.ID)
	}
	rec.begun = rec.begun || c.force || rec.gathered > 0
	rec.gathered = 0
	rec.handOver(c)
}

// arm sets the timer to when something is due next. The caller holds mu.
func (rec *Recording) arm() {
	var next time.Time
	if rec.gathered > 0 {
		next = rec.firstAt.Add(rec.r.o.WaitTime)
	}
	for _, st := range []*stream{&rec.out, &rec.errs} {
		if when, held := st.deadline(); held && (next.IsZero() || when.Before(next)) {
			next = when
		}
	}
	if next.IsZero() || rec.closed {
		return // a timer that runs finds nothing to do
	}
	if !rec.wakeAt.IsZero() && !next.Before(rec.wakeAt) {
		return
	}
	rec.wakeAt = next
	wait := max(next.Sub(rec.r.o.Now()), time.Millisecond)
	if rec.timer == nil {
		rec.timer = time.AfterFunc(wait, rec.wake)
		return
	}
	rec.timer.Reset(wait)
}

// lateCut is how long a cut that is due is put off while the archive does not
// take those before.
const lateCut = 5 * time.Second

// wake does what is due.
func (rec *Recording) wake() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.wakeAt = time.Time{}
	if rec.closed {
		return
	}
	now := rec.r.o.Now()
	for _, st := range []*stream{&rec.out, &rec.errs} {
		if when, held := st.deadline(); held && !now.Before(when) {
			rec.flush(st) // its failure is in err
		}
	}
	if rec.gathered > 0 && now.Sub(rec.firstAt) >= rec.r.o.WaitTime {
		if rec.pipe.waiting() < maxUnstored {
			rec.cut(&cut{})
		} else {
			rec.firstAt = now.Add(min(lateCut, rec.r.o.WaitTime) - rec.r.o.WaitTime)
		}
	}
	rec.arm()
}
