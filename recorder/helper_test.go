package recorder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/cast"
)

// shell returns a session with a terminal.
func shell() policy.Session {
	now := time.Now()
	return policy.Session{
		ID: policy.NewSessionID(now), Connection: policy.NewConnectionID(now),
		User:   policy.User{Issuer: "https://idp.example", Subject: "1", Name: "Ada"},
		Source: "192.0.2.7:50022", Client: "SSH-2.0-OpenSSH_9.2p1", Serial: 1 << 62,
		Target: "db1", Login: "root", Action: policy.ActionShell,
		TTY: true, Term: "xterm-256color", Cols: 80, Rows: 24, Start: now,
		Env: map[string]string{"LANG": "C.UTF-8"},
	}
}

func open(t testing.TB, g *rig, s policy.Session) *Recording {
	t.Helper()
	rec, err := g.Open(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rec.Close(policy.End{Reason: "the test is over"}) })
	return rec
}

// taker collects what Next gives out, until its error.
type taker struct {
	mu   sync.Mutex
	got  []byte
	err  error
	done chan struct{}
}

func take(rec *Recording, s policy.Stream) *taker {
	k := &taker{done: make(chan struct{})}
	go func() {
		defer close(k.done)
		for {
			p, err := rec.Next(s)
			k.mu.Lock()
			k.got = append(k.got, p...)
			k.err = err
			k.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return k
}

func (k *taker) bytes() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return bytes.Clone(k.got)
}

// end waits for the end of the stream and returns all of it.
func (k *taker) end(t testing.TB) ([]byte, error) {
	t.Helper()
	await(t, k.done, "the end of a stream")
	return k.got, k.err
}

func await(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("waited 10 s for %s", what)
	}
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// readFrames returns the events of an asciicast and what ended it, nil for a
// clean end.
func readFrames(data []byte) ([]Frame, error) {
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return readAll(r)
}

func readAll(r *Reader) ([]Frame, error) {
	var all []Frame
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, f)
	}
}

// joined returns the bytes and the view of all events with a code.
func joined(all []Frame, code cast.Code) (raw, view []byte) {
	for _, f := range all {
		if f.Code == code {
			raw = append(raw, f.Raw...)
			view = append(view, f.View()...)
		}
	}
	return raw, view
}

func status(n uint32) policy.End { return policy.End{ExitStatus: &n} }

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
