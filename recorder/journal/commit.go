package journal

import "time"

const idleTime = time.Hour // any long time does

// commitLoop is the committer. It ends with Close or a failure.
func (j *Journal) commitLoop() {
	defer close(j.done)
	defer func() {
		j.tell()
		j.mu.Lock()
		defer j.mu.Unlock()
		j.ended = true
		j.synced.Broadcast()
	}()
	timer := time.NewTimer(idleTime)
	defer timer.Stop()
	for {
		next := j.commit(false)
		if j.Err() != nil {
			return
		}
		timer.Reset(next)
		select {
		case <-j.wake:
		case <-timer.C:
		case <-j.failed:
			return
		case <-j.stop:
			j.commit(true)
			return
		}
	}
}

// commit makes durable what somebody waits for or what is due, tells the
// waiters, and returns when to come again at the latest.
func (j *Journal) commit(final bool) time.Duration {
	j.mu.Lock()
	now := j.o.Now()
	left := idleTime
	if !j.since.IsZero() {
		left = min(syncTime-now.Sub(j.since), syncTime)
	}
	wanted := j.wanted || final || left <= 0
	j.wanted = false
	j.mu.Unlock()
	if !wanted {
		return left
	}
	to, err := j.makeDurable()
	j.mu.Lock()
	left = idleTime
	if !j.since.IsZero() {
		left = syncTime
	}
	switch {
	case err != nil:
		j.fail(err)
	case j.err == nil && j.durable < to:
		j.durable = to
		j.stats.Commits++
		j.stats.LastCommit = j.o.Now().Sub(now)
		j.synced.Broadcast()
	}
	j.mu.Unlock()
	j.tell()
	return left
}

// makeDurable writes the batch and syncs, and returns up to where everything is
// durable then.
func (j *Journal) makeDurable() (LSN, error) {
	j.wmu.Lock()
	err := j.flush()
	j.mu.Lock()
	to, f := j.written, j.file
	behind := j.durable < to
	if j.since = (time.Time{}); len(j.batch) > 0 { // put since
		j.since = j.o.Now()
	}
	j.mu.Unlock()
	// Rotation makes a file durable before it leaves it, so f is the only one
	// that is not. users keeps it open.
	f.users.Add(1)
	j.wmu.Unlock()
	defer f.users.Done()
	if err == nil && behind {
		err = j.sync(f.f)
	}
	return to, err
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
	j.mu.Unlock()
	for i, w := range told {
		w.Committed(upTo, err)
		told[i] = nil
	}
	j.told = told
}
