package proxy_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/bastion/proxy"
	"sallyport/policy"
)

const failedLine = "sallyport: the recording of this session failed, so it was ended (session 01test)\n"

// T14: whatever fails in the recording, the session ends within a second with
// one plain reason and its id, which names nothing internal.
func TestT14RecordingFails(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*fakeRecording)
		act  func(*rig)
		line string
	}{
		{"in the background", func(*fakeRecording) {}, func(r *rig) { r.rec.fail() }, failedLine},
		{"input", func(m *fakeRecording) { m.failInputAfter = 0 }, func(r *rig) { io.WriteString(r.user, "k") }, failedLine},
		{"output", func(m *fakeRecording) { m.failOutputAfter = 0 }, func(r *rig) { io.WriteString(r.target, "o") }, failedLine},
		{"stderr", func(m *fakeRecording) { m.failOutputAfter = 0 }, func(r *rig) { io.WriteString(r.target.Stderr(), "e") }, failedLine},
		{"at exit", func(m *fakeRecording) { m.failClose = errDisk }, func(r *rig) { r.exit(0) }, failedLine},
		{"resize", func(m *fakeRecording) { m.failResize = errDisk }, func(r *rig) {
			r.user.SendRequest("window-change", false, sizePayload(90, 30))
		}, "\r\n" + strings.TrimSuffix(failedLine, "\n") + "\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := newFakeRecording()
			c.set(rec)
			var r *rig
			if c.name == "resize" {
				r = newRig(t, rec, withTerminal)
				r.grant(2)
			} else {
				r = newRig(t, rec, nil)
			}
			saw := r.see()
			time.Sleep(50 * time.Millisecond)
			begun := time.Now()
			c.act(r)
			s := within(t, time.Second, "end", saw)
			if string(s.errs) != c.line || len(s.out) != 0 || len(s.requests) != 0 {
				t.Errorf("saw %+v, want stderr %q", s, c.line)
			}
			res := r.wait()
			if time.Since(begun) > time.Second || !errors.Is(res.err, errDisk) {
				t.Errorf("result %+v after %v", res, time.Since(begun))
			}
			if !strings.Contains(res.end.Reason, "recording") {
				t.Errorf("end %+v", res.end)
			}
			if d, _ := r.targetGone(); d > time.Second {
				t.Errorf("the target was closed after %v", d)
			}
		})
	}
}

// T14: the same with the recorder itself on a disk that fails: what the client
// got is in the recording, and it got nothing of what came after the failure.
func TestT14DiskFails(t *testing.T) {
	var full atomic.Bool
	recs := newShelf(t, func(f *os.File) error {
		if full.Load() {
			return syscall.EIO
		}
		return f.Sync()
	})
	s := policy.Session{ID: policy.NewSessionID(time.Now()), Start: time.Now()}
	rec, err := recs.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, nil, func(o *proxy.Options) { o.Recording = rec })
	io.WriteString(r.target, "durable")
	if _, err := io.ReadFull(r.user, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	saw := r.see()
	full.Store(true)
	begun := time.Now()
	io.WriteString(r.target, "never on disk")
	got := within(t, time.Second, "end", saw)
	if string(got.errs) != failedLine || len(got.out) != 0 || len(got.requests) != 0 {
		t.Errorf("saw %+v", got)
	}
	res := r.wait()
	if time.Since(begun) > time.Second || !errors.Is(res.err, syscall.EIO) || res.summary.State != policy.RecordingInterrupted {
		t.Errorf("result %+v after %v", res, time.Since(begun))
	}
	recs.again(t)
	if out := recs.streams(t, s.ID)['o']; !bytes.HasPrefix(out, []byte("durable")) {
		t.Errorf("the recording holds %q", out)
	}
}

// T14: also when neither side reads and both windows are full.
func TestT14RecordingFailsUnderLoad(t *testing.T) {
	r := newRig(t, nil, nil)
	go io.Copy(r.user, endless{})
	go io.Copy(r.target, endless{})
	time.Sleep(300 * time.Millisecond)
	begun := time.Now()
	r.rec.fail()
	res := r.wait()
	if d := time.Since(begun); d > time.Second || !errors.Is(res.err, errDisk) {
		t.Errorf("result %+v after %v", res, d)
	}
}

// T14: a byte that the recording did not accept is never forwarded. The fake
// accepts a part and then none; what the peers got is at most that part.
func TestT14WhatIsNotAcceptedIsNotForwarded(t *testing.T) {
	const limit = 100_000
	pattern := make([]byte, 1<<20)
	for i := range pattern {
		pattern[i] = byte(i * 7 >> 3)
	}
	t.Run("input", func(t *testing.T) {
		rec := newFakeRecording()
		rec.failInputAfter = limit
		r := newRig(t, rec, nil)
		r.see()
		go r.user.Write(pattern)
		_, in := r.targetGone()
		if got := rec.got('i'); !bytes.Equal(in, got) || len(got) == 0 || !bytes.HasPrefix(pattern, got) {
			t.Errorf("the target got %d bytes, accepted were %d", len(in), len(got))
		}
		r.wait()
	})
	t.Run("output", func(t *testing.T) {
		rec := newFakeRecording()
		rec.failOutputAfter = limit
		r := newRig(t, rec, nil)
		saw := r.see()
		go r.target.Write(pattern)
		s := within(t, 5*time.Second, "end", saw)
		if got := rec.got('o'); !bytes.HasPrefix(got, s.out) || len(got) == 0 || !bytes.HasPrefix(pattern, got) {
			t.Errorf("the client got %d bytes, accepted were %d", len(s.out), len(got))
		}
		r.wait()
	})
}

// Every byte is in the recording before it is anywhere else: the fake looks at
// what the other side has while it takes a byte.
func TestRecordedBeforeForwarded(t *testing.T) {
	rec := newFakeRecording()
	hold := make(chan struct{})
	rec.before = func(what string) {
		if what != "close" {
			<-hold
		}
	}
	r := newRig(t, rec, nil)
	saw := r.see()
	io.WriteString(r.user, "in")
	io.WriteString(r.target, "out")
	got := make(chan string, 1)
	go func() {
		buf := make([]byte, 2)
		io.ReadFull(r.target, buf)
		got <- string(buf)
	}()
	select {
	case in := <-got:
		t.Errorf("the target got %q while the recording was still taking it", in)
	case <-time.After(200 * time.Millisecond):
	}
	close(hold)
	if in := within(t, time.Second, "input", got); in != "in" {
		t.Errorf("the target got %q", in)
	}
	r.exit(0)
	if s := within(t, 2*time.Second, "end", saw); string(s.out) != "out" {
		t.Errorf("the client got %q", s.out)
	}
	r.wait()
}

// A recording that takes long to close delays the exit status and no more.
func TestSlowCloseOfTheRecording(t *testing.T) {
	rec := newFakeRecording()
	rec.before = func(what string) {
		if what == "close" {
			time.Sleep(1500 * time.Millisecond)
		}
	}
	r := newRig(t, rec, nil)
	saw := r.see()
	r.exit(3)
	if s := within(t, 5*time.Second, "end", saw); len(s.requests) != 1 || len(s.errs) != 0 {
		t.Errorf("saw %+v", s)
	}
	if res := r.wait(); res.err != nil || *res.end.ExitStatus != 3 {
		t.Errorf("result %+v", res)
	}
}

// Run closes the recording exactly once, on each path.
func TestRecordingIsClosedOnce(t *testing.T) {
	for name, act := range map[string]func(*rig){
		"exit":   func(r *rig) { r.exit(0) },
		"cancel": func(r *rig) { r.cancel(nil) },
		"client": func(r *rig) { r.user.Close() },
		"target": func(r *rig) { r.targetConn.Close() },
	} {
		r := newRig(t, nil, nil)
		go r.see()
		act(r)
		res := r.wait()
		r.rec.mu.Lock()
		if len(r.rec.ended) != 1 || !sameEnd(r.rec.ended[0], res.end) {
			t.Errorf("%s: closed with %+v, returned %+v", name, r.rec.ended, res.end)
		}
		r.rec.mu.Unlock()
	}
}

func sameEnd(a, b policy.End) bool {
	return a.Reason == b.Reason && a.ExitSignal == b.ExitSignal && (a.ExitStatus == nil) == (b.ExitStatus == nil)
}

var _ proxy.Recording = (*fakeRecording)(nil)
