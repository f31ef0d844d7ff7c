package main

import (
	"context"
	"sync"

	"sallyport/policy"
)

// liveSessions are the sessions that run now. The zero value is ready.
type liveSessions struct {
	mu  sync.Mutex
	end map[policy.SessionID]context.CancelCauseFunc // guarded by mu
}

// begin adds a session. Its context is cancelled by endAll; over takes it out.
func (l *liveSessions) begin(ctx context.Context, id policy.SessionID) (_ context.Context, over func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end == nil {
		l.end = map[policy.SessionID]context.CancelCauseFunc{}
	}
	l.end[id] = cancel
	return ctx, func() {
		cancel(nil)
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.end, id)
	}
}

// endAll ends every session for a reason that its user reads, and returns how
// many there were.
func (l *liveSessions) endAll(cause error) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, cancel := range l.end {
		cancel(cause)
	}
	return len(l.end)
}

func (l *liveSessions) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.end)
}
