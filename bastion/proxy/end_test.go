package proxy_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
)

// targetGone waits until the target's channel is closed, and returns how long
// it took and what the target had read.
func (r *rig) targetGone() (time.Duration, []byte) {
	r.t.Helper()
	begun := time.Now()
	read := make(chan []byte, 1)
	go func() { b, _ := io.ReadAll(r.target); read <- b }()
	closed := make(chan struct{})
	go func() {
		for range r.targetReqs {
		}
		close(closed)
	}()
	within(r.t, 5*time.Second, "close of the target", closed)
	return time.Since(begun), within(r.t, 5*time.Second, "input", read)
}

// A client that vanishes in the middle closes the target's side at once.
func TestClientVanishes(t *testing.T) {
	for name, vanish := range map[string]func(*rig){
		"connection": func(r *rig) { r.userConn.Close() },
		"channel":    func(r *rig) { r.user.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil, nil)
			io.WriteString(r.target, "prompt")
			if _, err := io.ReadFull(r.user, make([]byte, 6)); err != nil {
				t.Fatal(err)
			}
			io.WriteString(r.user, "typed")
			vanish(r)
			d, in := r.targetGone()
			if d > 200*time.Millisecond || name == "channel" && string(in) != "typed" {
				t.Errorf("the target was closed after %v, having read %q", d, in)
			}
			res := r.wait()
			if res.end.Reason != "the client went away" || res.end.ExitStatus != nil || res.err != nil {
				t.Errorf("result %+v", res)
			}
		})
	}
}

// It does so too while the target floods a client that reads nothing.
func TestClientVanishesDuringOutput(t *testing.T) {
	r := newRig(t, nil, nil)
	go func() {
		for {
			if _, err := r.target.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}()
	time.Sleep(300 * time.Millisecond)
	r.userConn.Close()
	if d, _ := r.targetGone(); d > 500*time.Millisecond {
		t.Errorf("the target was closed after %v", d)
	}
	if res := r.wait(); res.end.Reason != "the client went away" {
		t.Errorf("result %+v", res)
	}
}

// What a client sent before it closed its channel still arrives.
func TestInputBeforeCloseArrives(t *testing.T) {
	r := newRig(t, nil, nil)
	big := bytes.Repeat([]byte("x"), 1<<20)
	r.user.Write(big)
	r.user.Close()
	if _, in := r.targetGone(); !bytes.Equal(in, big) {
		t.Errorf("the target read %d bytes, want %d", len(in), len(big))
	}
	r.wait()
}

func TestTargetConnectionLost(t *testing.T) {
	r := newRig(t, nil, nil)
	saw := r.see()
	io.WriteString(r.target, "output")
	time.Sleep(50 * time.Millisecond)
	r.targetConn.Close()
	if s := within(t, 5*time.Second, "end", saw); string(s.out) != "output" || len(s.requests) != 0 {
		t.Errorf("saw %+v", s)
	}
	if res := r.wait(); !strings.Contains(res.end.Reason, "without an exit status") || res.err != nil {
		t.Errorf("result %+v", res)
	}
}

// withTerminal makes the target grant a terminal and a shell.
func withTerminal(o *proxy.Options) {
	o.Start = []proxy.Request{
		{Type: "pty-req", Payload: ptyPayload("xterm", 80, 24), Reply: func(bool) {}},
		{Type: "shell", Reply: func(bool) {}},
	}
}

func ptyPayload(term string, cols, rows uint32) []byte {
	return ssh.Marshal(struct {
		Term             string
		Cols, Rows, W, H uint32
		Modes            string
	}{term, cols, rows, 0, 0, "\x00"})
}

// grant answers the requests of Start.
func (r *rig) grant(n int) {
	r.t.Helper()
	for range n {
		within(r.t, 5*time.Second, "start", r.targetReqs).Reply(true, nil)
	}
}

func TestCancelledContextTellsWhy(t *testing.T) {
	why := errors.New("this access was withdrawn by an administrator")
	for name, c := range map[string]struct {
		edit func(*proxy.Options)
		n    int
		want string
	}{
		"plain":    {nil, 0, "sallyport: this access was withdrawn by an administrator\n"},
		"terminal": {withTerminal, 2, "\r\nsallyport: this access was withdrawn by an administrator\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil, c.edit)
			r.grant(c.n)
			saw := r.see()
			io.WriteString(r.target, "output")
			time.Sleep(100 * time.Millisecond)
			begun := time.Now()
			r.cancel(why)
			s := within(t, time.Second, "end", saw)
			if string(s.errs) != c.want || string(s.out) != "output" {
				t.Errorf("stderr %q, want %q; output %q", s.errs, c.want, s.out)
			}
			r.targetGone()
			res := r.wait()
			if res.end.Reason != why.Error() || res.err != nil || time.Since(begun) > time.Second {
				t.Errorf("result %+v after %v", res, time.Since(begun))
			}
		})
	}
}

// A cause cannot move the cursor or add lines, and the library's own words for
// a cancelled context are not shown.
func TestNoticeIsOneLine(t *testing.T) {
	for cause, want := range map[error]string{
		errors.New("a\r\nb\x1b[2J\u202ec"): "sallyport: a  b [2J c\n",
		nil:                                "sallyport: the bastion ended this session\n",
	} {
		r := newRig(t, nil, nil)
		saw := r.see()
		r.cancel(cause)
		if s := within(t, time.Second, "end", saw); string(s.errs) != want {
			t.Errorf("stderr %q, want %q", s.errs, want)
		}
		r.wait()
	}
}

// Neither a client that reads nothing nor a target that answers nothing holds
// up the end: both channels' windows are full here.
func TestEndInTimeThoughNobodyReads(t *testing.T) {
	r := newRig(t, nil, nil)
	go io.Copy(r.user, endless{})
	go io.Copy(r.target, endless{})
	go io.Copy(r.target.Stderr(), endless{})
	time.Sleep(500 * time.Millisecond)
	begun := time.Now()
	r.cancel(errors.New("enough"))
	res := r.wait()
	if d := time.Since(begun); d > time.Second {
		t.Errorf("it took %v", d)
	}
	if res.end.Reason != "enough" {
		t.Errorf("result %+v", res)
	}
}

// endless is a source of bytes without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A client that reads nothing stops the target, with bounded memory between.
func TestBackpressure(t *testing.T) {
	rec := newFakeRecording()
	r := newRig(t, rec, nil)
	sent := make(chan int, 1)
	go func() {
		n, _ := r.target.Write(make([]byte, 64<<20))
		sent <- n
	}()
	time.Sleep(500 * time.Millisecond)
	// 2 MiB of window to the client, the recording's 1 MiB, a buffer.
	if n := len(rec.got('o')); n == 0 || n > 4<<20 {
		t.Errorf("%d bytes were taken from the target", n)
	}
	select {
	case <-sent:
		t.Error("the target could write everything")
	default:
	}
	r.cancel(nil)
	r.wait()
}

func TestMaxSession(t *testing.T) {
	r := newRig(t, nil, func(o *proxy.Options) { o.MaxSession = 300 * time.Millisecond })
	saw := r.see()
	s := within(t, 2*time.Second, "end", saw)
	if string(s.errs) != "sallyport: this session has reached its limit of 300ms\n" {
		t.Errorf("stderr %q", s.errs)
	}
	if res := r.wait(); res.took < 300*time.Millisecond || res.took > 1300*time.Millisecond {
		t.Errorf("result %+v", res)
	}
}

// Traffic of any kind keeps a session, and without it the limit counts from the
// last byte.
func TestIdleTimeout(t *testing.T) {
	r := newRig(t, nil, func(o *proxy.Options) { o.IdleTimeout = 400 * time.Millisecond })
	saw := r.see()
	go io.Copy(io.Discard, r.target)
	for i := range 6 {
		time.Sleep(150 * time.Millisecond)
		switch i % 3 {
		case 0:
			io.WriteString(r.user, "k")
		case 1:
			io.WriteString(r.target, "o")
		case 2:
			r.user.SendRequest("window-change", false, make([]byte, 16))
		}
	}
	last := time.Now()
	s := within(t, 3*time.Second, "end", saw)
	if string(s.errs) != "sallyport: this session was idle for 400ms, its limit\n" || len(s.out) != 2 {
		t.Errorf("saw %+v", s)
	}
	if d := time.Since(last); d < 350*time.Millisecond || d > 1400*time.Millisecond {
		t.Errorf("it ended %v after the last traffic", d)
	}
	r.wait()
}

func TestStartRefused(t *testing.T) {
	granted := make(chan bool, 2)
	reply := func(ok bool) { granted <- ok }
	r := newRig(t, nil, func(o *proxy.Options) {
		o.Start = []proxy.Request{{Type: "env", Payload: []byte("x")}, {Type: "subsystem", Reply: reply}}
	})
	saw := r.see()
	if q := within(t, time.Second, "env", r.targetReqs); q.Type != "env" || q.WantReply || string(q.Payload) != "x" {
		t.Errorf("first request %+v", q)
	}
	within(t, time.Second, "subsystem", r.targetReqs).Reply(false, nil)
	if within(t, time.Second, "reply", granted) {
		t.Error("the client was told that it is granted")
	}
	s := within(t, 2*time.Second, "end", saw)
	if want := "sallyport: the target refused to start the session (subsystem)\n"; string(s.errs) != want {
		t.Errorf("stderr %q, want %q", s.errs, want)
	}
	if res := r.wait(); res.err != nil || !strings.Contains(res.end.Reason, "refused") {
		t.Errorf("result %+v", res)
	}
}

// A target that grants no terminal goes on without one, and the user knows.
func TestTerminalRefused(t *testing.T) {
	r := newRig(t, nil, func(o *proxy.Options) {
		o.Start = []proxy.Request{{Type: "pty-req", Payload: ptyPayload("xterm", 80, 24)}, {Type: "shell"}}
	})
	saw := r.see()
	within(t, time.Second, "pty-req", r.targetReqs).Reply(false, nil)
	r.grant(1)
	io.WriteString(r.target, "output\n")
	r.exit(0)
	s := within(t, 2*time.Second, "end", saw)
	if want := "\r\nsallyport: the target grants no terminal\r\n"; string(s.errs) != want || string(s.out) != "output\n" || len(s.requests) != 1 {
		t.Errorf("saw %+v, want stderr %q", s, want)
	}
	r.wait()
}

// Input waits for the target's word: an sshd drops what comes before it.
func TestInputWaitsForStart(t *testing.T) {
	r := newRig(t, nil, withTerminal)
	io.WriteString(r.user, "early")
	time.Sleep(100 * time.Millisecond)
	if got := r.rec.got('i'); len(got) != 0 {
		t.Errorf("%q was forwarded before the session had started", got)
	}
	r.grant(2)
	buf := make([]byte, 5)
	if _, err := io.ReadFull(r.target, buf); err != nil || string(buf) != "early" {
		t.Errorf("target read %q, %v", buf, err)
	}
	r.cancel(nil)
	r.wait()
}

// A target that never answers Start holds nobody up.
func TestStartNeverAnswered(t *testing.T) {
	r := newRig(t, nil, withTerminal)
	within(t, time.Second, "pty-req", r.targetReqs)
	r.user.Close()
	if res := r.wait(); res.end.Reason != "the client went away" || res.took > time.Second {
		t.Errorf("result %+v", res)
	}
}

func TestTargetGoesBeforeStart(t *testing.T) {
	r := newRig(t, nil, withTerminal)
	saw := r.see()
	within(t, time.Second, "pty-req", r.targetReqs)
	r.target.Close()
	s := within(t, 2*time.Second, "end", saw)
	if want := "sallyport: the target closed the session before it started\n"; string(s.errs) != want {
		t.Errorf("stderr %q, want %q", s.errs, want)
	}
	r.wait()
}

// Every goroutine of a session is gone once its channels are.
func TestNoGoroutinesAreLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		r := newRig(t, nil, nil)
		saw := r.see()
		io.WriteString(r.target.Stderr(), "e")
		r.exit(0)
		within(t, 5*time.Second, "end", saw)
		r.wait()
		r.userConn.Close()
		r.targetConn.Close()
	}
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 64<<10)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// An idle session runs on few goroutines (beside those of its connections).
func TestGoroutinesOfAnIdleSession(t *testing.T) {
	_, _, _, client := connection(t, false)
	_, _, _, target := connection(t, true)
	time.Sleep(50 * time.Millisecond)
	before := runtime.NumGoroutine()
	done := make(chan struct{})
	rec := newFakeRecording()
	go func() {
		proxy.Run(t.Context(), proxy.Options{Client: client, Target: target, Recording: rec})
		close(done)
	}()
	time.Sleep(100 * time.Millisecond)
	if n := runtime.NumGoroutine() - before; n > 7 {
		t.Errorf("%d goroutines, want at most 7", n)
	}
	client.Channel.Close()
	within(t, 5*time.Second, "Run", done)
}
