package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
)

// expect collects what a program on a terminal prints, and waits for parts of
// it. Its goroutine ends when the terminal is closed.
type expect struct {
	mu   sync.Mutex
	all  strings.Builder
	seen int           // how much earlier waits have used up
	more chan struct{} // closed and replaced when something came
	done error
}

func newExpect(r io.Reader) *expect {
	e := &expect{more: make(chan struct{})}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			e.mu.Lock()
			e.all.Write(buf[:n])
			e.done = err
			close(e.more)
			e.more = make(chan struct{})
			e.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return e
}

// text is everything so far.
func (e *expect) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all.String()
}

// wait blocks until want has come after what earlier waits found.
func (e *expect) wait(ctx context.Context, want string) error {
	for {
		e.mu.Lock()
		rest := e.all.String()[e.seen:]
		i := strings.Index(rest, want)
		if i >= 0 {
			e.seen += i + len(want)
		}
		more, done := e.more, e.done
		e.mu.Unlock()
		if i >= 0 {
			return nil
		}
		if done != nil {
			return fmt.Errorf("%q did not come before the end of %q", want, tail(rest))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%q did not come: %w; there was %q", want, context.Cause(ctx), tail(rest))
		case <-more:
		}
	}
}

func tail(s string) string {
	if len(s) > 500 {
		return "…" + s[len(s)-500:]
	}
	return s
}
