package recorder

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"sallyport/policy"
	"sallyport/recorder/cast"
)

// closePatience is how long Close waits while the archive or the ledger fails.
const closePatience = 5 * time.Second

// Close ends the recording: both streams are closed, the exit status is
// recorded, everything is made durable, and the last segment and the manifest
// go into the archive and the ledger. What is durable can still be taken with
// Next afterwards. Every call returns what the first one did.
//
// After a failure, the summary is that of an interrupted recording, and the
// error is the failure. Where the archive or the ledger does not take the end,
// the error says so; the recording is sealed later, by this Recorder or by the
// next one that recovers the journal.
func (rec *Recording) Close(end policy.End) (policy.Summary, error) {
	rec.once.Do(func() { rec.summary, rec.closeErr = rec.close(end) })
	return rec.summary, rec.closeErr
}

func (rec *Recording) close(end policy.End) (policy.Summary, error) {
	rec.mu.Lock()
	rec.closing = true
	rec.mu.Unlock()
	rec.CloseOutput(policy.StreamOutput)
	rec.CloseOutput(policy.StreamStderr)
	e := rec.end(end)
	err := rec.logEnd(&e)

	rec.qmu.Lock()
	rec.ended = true
	rec.space.Broadcast()
	rec.qmu.Unlock()
	return rec.finish(e, err)
}

// end records the exit status, and seals what has gathered.
func (rec *Recording) end(end policy.End) ending {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	e := ending{
		State: policy.RecordingComplete, End: end,
		Ended: rec.r.o.Now().Round(0), Duration: rec.now(),
	}
	if end.ExitStatus != nil {
		text := strconv.AppendUint(nil, uint64(*end.ExitStatus), 10)
		rec.log(byte(cast.CodeExit), e.Duration, text) // its failure is in err
		rec.gather(cast.CodeExit, e.Duration, text, nil)
	}
	rec.closed = true
	if rec.timer != nil {
		rec.timer.Stop()
	}
	return e
}

// logEnd puts the end into the journal, or, where that has failed, the end of an
// interrupted recording, if it can. It returns why the recording is not
// complete.
func (rec *Recording) logEnd(e *ending) error {
	j := rec.r.o.Journal
	err := rec.Err()
	if err == nil {
		rec.mu.Lock()
		lsn, logErr := rec.log(kindEnd, e.Duration, encodeEnding(*e))
		rec.mu.Unlock()
		if err = logErr; err == nil {
			if err = j.Sync(lsn); err == nil {
				return nil
			}
			err = rec.fail(err)
		}
	}
	e.State, e.Missing = policy.RecordingInterrupted, fmt.Sprintf("what came after %s: it could not be recorded any more", clock(e.Duration))
	if e.End.Reason == "" {
		e.End.Reason = err.Error()
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if _, logErr := j.AppendClosing(rec.record(kindEnd, e.Duration, encodeEnding(*e)), nil); logErr == nil {
		rec.seq++
	}
	return err
}

func encodeEnding(e ending) []byte {
	data, err := json.Marshal(e)
	if err != nil {
		return []byte("{}") // strings and numbers always have JSON
	}
	return data
}

// clock shows a time of a recording.
func clock(d time.Duration) string {
	d = d.Truncate(time.Millisecond)
	return fmt.Sprintf("%d:%02d:%02d.%03d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60, d.Milliseconds()%1000)
}

// finish waits until all is stored; err is why the recording is not complete.
func (rec *Recording) finish(e ending, err error) (policy.Summary, error) {
	c := &cut{end: &e, done: make(chan struct{})}
	rec.mu.Lock()
	rec.cut(c)
	rec.mu.Unlock()
	select {
	case <-c.done:
	case <-rec.r.ctx.Done():
	case <-rec.r.trouble(&rec.pipe):
		select {
		case <-c.done:
		case <-rec.r.ctx.Done():
		case <-time.After(rec.r.patience):
		}
	}
	rec.pipe.giveUp()
	sum, finished, broken := rec.pipe.result()
	switch {
	case finished:
		return sum, err
	case broken == nil:
		broken = rec.r.why(&rec.pipe)
	}
	sum = policy.Summary{ID: rec.session.ID, State: policy.RecordingInterrupted, End: e.End, Ended: e.Ended, Duration: e.Duration}
	if sum.End.Reason == "" {
		sum.End.Reason = reason(broken)
	}
	if err == nil {
		err = fmt.Errorf("recorder: the end of session %s cannot be stored yet: %w", rec.session.ID, broken)
	} else {
		err = fmt.Errorf("%w; nor can its end be stored yet: %w", err, broken)
	}
	return sum, err
}
