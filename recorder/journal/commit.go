package journal

import "time"

const idleTime = time.Hour // any long time does

// commitLoop is the committer. It ends with Close or a failure.
func (j *Journal) commitLoop() {
	defer close(j.done)
	timer := time.NewTimer(idleTime)
	defer timer.Stop()
	for {
		next := j.commit(false)
		if j.Err() != nil {
			j.tell()
			return
		}
		timer.Reset(next)
		select {
		case <-j.wake:
		case <-timer.C:
		case <-j.failed:
		case <-j.stop:
			j.commit(true)
			j.tell()
			return
		}
	}
}

// commit makes durable what somebody waits for or what is due, tells the
// waiters, and returns when to come again at the latest.
func (j *Journal) commit(final bool) time.Duration {
	j.mu.Lock()
	due := !j.dirty.IsZero() && j.o.Now().Sub(j.dirty) >= syncTime
	want := j.wanted || due || final
	left := idleTime
	if !j.dirty.IsZero() {
		left = max(syncTime-j.o.Now().Sub(j.dirty), time.Millisecond)
	}
	j.mu.Unlock()
	if !want {
		return left
	}
	begun := j.o.Now()
	j.wmu.Lock()
	j.mu.Lock()
	j.wanted = false
	j.mu.Unlock()
	_, err := j.flush()
	j.mu.Lock()
	to, f := j.written, j.file
	j.dirty = time.Time{}
	behind := j.durable < to
	j.mu.Unlock()
	// Rotation makes a file durable before it leaves it, so f is the only one
	// that is not. It must not be closed while it is synced: wmu is let go
	// only once a reference is held.
	f.users.Add(1)
	j.wmu.Unlock()
	if err == nil && behind {
		err = j.sync(f.f)
	}
	f.users.Done()
	j.mu.Lock()
	if err != nil {
		j.fail(err)
	} else if j.err == nil && j.durable < to {
		j.durable = to
		j.stats.Commits++
		j.stats.LastCommit = j.o.Now().Sub(begun)
		j.synced.Broadcast()
	}
	j.mu.Unlock()
	j.tell()
	return time.Millisecond
}

// tell tells the waiters what is durable. Those whose last record is not yet
// are told again.
func (j *Journal) tell() {
	j.mu.Lock()
	upTo, err := j.durable, j.err
	told := j.told[:0]
	for w, last := range j.waiting {
		told = append(told, w)
		if err != nil || last <= upTo {
			delete(j.waiting, w)
		}
	}
	if len(j.waiting) > 0 {
		j.wanted = true
	}
	j.mu.Unlock()
	for i, w := range told {
		w.Committed(upTo, err)
		told[i] = nil
	}
	j.told = told
}
