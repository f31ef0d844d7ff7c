package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
	"sallyport/policy"
)

// wire logs, in their order, the frames that a channel would send.
type wire struct {
	mu     sync.Mutex
	frames []string
}

func (w *wire) add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames = append(w.frames, fmt.Sprintf(format, args...))
}

// wireChannel is an ssh.Channel that reads what it is given and logs what it
// sends.
type wireChannel struct {
	*wire
	name      string
	out, errs io.Reader
}

func (c wireChannel) Read(p []byte) (int, error) { return c.out.Read(p) }
func (c wireChannel) Write(p []byte) (int, error) {
	c.add("%s data %q", c.name, p)
	return len(p), nil
}
func (c wireChannel) Close() error      { c.add("%s close", c.name); return nil }
func (c wireChannel) CloseWrite() error { c.add("%s eof", c.name); return nil }
func (c wireChannel) SendRequest(name string, _ bool, p []byte) (bool, error) {
	c.add("%s request %s %x", c.name, name, p)
	return true, nil
}
func (c wireChannel) Stderr() io.ReadWriter { return wireStderr{c} }

type wireStderr struct{ c wireChannel }

func (s wireStderr) Read(p []byte) (int, error) { return s.c.errs.Read(p) }
func (s wireStderr) Write(p []byte) (int, error) {
	s.c.add("%s stderr %q", s.c.name, p)
	return len(p), nil
}

// The order of the end is fixed: output and stderr are drained, the recording
// is complete, then exit status, EOF, close. Here everything that could come
// too early does: the exit status and the close of the target are there before
// its output is read.
func TestOrderOfTheEnd(t *testing.T) {
	w := &wire{}
	outR, outW := io.Pipe()
	errR, errW := io.Pipe()
	inR, inW := io.Pipe()
	defer inW.Close()
	targetReqs, clientReqs := make(chan *ssh.Request, 1), make(chan *ssh.Request)
	defer close(clientReqs)
	targetReqs <- &ssh.Request{Type: "exit-status", Payload: []byte{0, 0, 0, 9}}
	close(targetReqs)
	rec := newFakeRecording()
	rec.onClose = func() { w.add("recording closed") }
	done := make(chan policy.End)
	go func() {
		_, end, _ := proxy.Run(t.Context(), proxy.Options{
			Client:    proxy.Side{Channel: wireChannel{w, "client", inR, strings.NewReader("")}, Requests: clientReqs},
			Target:    proxy.Side{Channel: wireChannel{w, "target", outR, errR}, Requests: targetReqs},
			Recording: rec,
		})
		done <- end
	}()
	time.Sleep(50 * time.Millisecond) // the exit status is long known
	io.WriteString(outW, "output")
	outW.Close()
	time.Sleep(50 * time.Millisecond)
	io.WriteString(errW, "error")
	errW.Close()
	end := within(t, 5*time.Second, "Run", done)
	if end.ExitStatus == nil || *end.ExitStatus != 9 || end.Reason != "" {
		t.Errorf("end %+v", end)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	client := slices.DeleteFunc(slices.Clone(w.frames), func(s string) bool { return strings.HasPrefix(s, "target") })
	want := []string{
		`client data "output"`, `client stderr "error"`, "recording closed",
		"client request exit-status 00000009", "client eof", "client close",
	}
	if !slices.Equal(client, want) {
		t.Errorf("frames %q,\nwant %q", client, want)
	}
	if !slices.Contains(w.frames, "target close") {
		t.Errorf("frames %q: the target is not closed", w.frames)
	}
}

// A reply that is awaited when the session ends still comes before the close.
func TestPendingReplyBeforeTheEnd(t *testing.T) {
	r := newRig(t, nil, nil)
	saw := r.see()
	replied := make(chan error, 1)
	go func() {
		ok, err := r.user.SendRequest("break", true, []byte{0, 0, 0, 0})
		if err == nil && !ok {
			err = fmt.Errorf("it was refused")
		}
		replied <- err
	}()
	q := within(t, 5*time.Second, "break", r.targetReqs)
	r.target.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
	r.target.CloseWrite()
	time.Sleep(100 * time.Millisecond)
	q.Reply(true, nil)
	if err := within(t, 5*time.Second, "reply", replied); err != nil {
		t.Errorf("reply: %v", err)
	}
	s := within(t, 5*time.Second, "end", saw)
	if !slices.Equal(s.requests, []string{"exit-status \x00\x00\x00\x00"}) {
		t.Errorf("requests %q", s.requests)
	}
	r.wait()
}

// The exit status arrives although stdin is at EOF and 8 MiB of output are on
// their way when the target closes.
func TestExitStatusAfterLargeOutput(t *testing.T) {
	r := newRig(t, nil, nil)
	big := bytes.Repeat([]byte("0123456789abcdef"), 8<<16)
	r.user.CloseWrite()
	go func() {
		r.target.Write(big)
		io.WriteString(r.target.Stderr(), "done")
		r.exit(42)
	}()
	s := within(t, 20*time.Second, "end", r.see())
	if !bytes.Equal(s.out, big) || string(s.errs) != "done" {
		t.Errorf("%d bytes of output, want %d; stderr %q", len(s.out), len(big), s.errs)
	}
	if !slices.Equal(s.requests, []string{"exit-status \x00\x00\x00\x2a"}) {
		t.Errorf("requests %q", s.requests)
	}
	res := r.wait()
	if res.err != nil || res.end.ExitStatus == nil || *res.end.ExitStatus != 42 {
		t.Errorf("result %+v", res)
	}
	if res.summary.OutputBytes != int64(len(big)) || r.rec.largestRead <= 4<<10 || r.rec.largestRead > 32<<10 {
		t.Errorf("%d bytes recorded, in reads of up to %d", res.summary.OutputBytes, r.rec.largestRead)
	}
}

func TestExitSignalArrivesVerbatim(t *testing.T) {
	r := newRig(t, nil, nil)
	saw := r.see()
	payload := ssh.Marshal(struct {
		Signal  string
		Core    bool
		Message string
		Lang    string
	}{"SEGV", true, "oops", "en"})
	r.target.SendRequest("exit-signal", false, payload)
	r.target.Close()
	if s := within(t, 5*time.Second, "end", saw); !slices.Equal(s.requests, []string{"exit-signal " + string(payload)}) {
		t.Errorf("requests %q", s.requests)
	}
	if res := r.wait(); res.end.ExitSignal != "SEGV" || res.end.Reason != "" {
		t.Errorf("end %+v", res.end)
	}
}

// What is no exit status is not passed on, since clients break off over it.
func TestBrokenExitIsDropped(t *testing.T) {
	for _, q := range []struct {
		name    string
		payload []byte
	}{
		{"exit-status", nil}, {"exit-status", []byte{1}}, {"exit-status", make([]byte, 5)}, {"exit-signal", []byte("\xff\xff\xff\xff")},
		{"exit-signal", ssh.Marshal(struct {
			Signal  string
			Core    bool
			Message string
			Lang    string
		}{"KILL\x1b]0;x\x07", false, "", ""})},
	} {
		r := newRig(t, nil, nil)
		saw := r.see()
		r.target.SendRequest(q.name, false, q.payload)
		r.target.Close()
		if s := within(t, 5*time.Second, "end", saw); len(s.requests) != 0 {
			t.Errorf("%s %q: requests %q", q.name, q.payload, s.requests)
		}
		if res := r.wait(); !strings.Contains(res.end.Reason, "without an exit status") {
			t.Errorf("end %+v", res.end)
		}
	}
}

// The client's EOF reaches the target, whose output goes on.
func TestClientHalfClose(t *testing.T) {
	r := newRig(t, nil, nil)
	saw := r.see()
	io.WriteString(r.user, "input")
	r.user.CloseWrite()
	in, err := io.ReadAll(r.target)
	if err != nil || string(in) != "input" {
		t.Errorf("target read %q, %v", in, err)
	}
	time.Sleep(200 * time.Millisecond)
	io.WriteString(r.target, "late output")
	r.exit(0)
	if s := within(t, 5*time.Second, "end", saw); string(s.out) != "late output" || len(s.requests) != 1 {
		t.Errorf("saw %+v", s)
	}
	r.wait()
}

// The target's EOF reaches the client, whose input goes on; the exit status
// comes later.
func TestTargetHalfClose(t *testing.T) {
	r := newRig(t, nil, nil)
	io.WriteString(r.target, "output")
	r.target.CloseWrite()
	out, err := io.ReadAll(r.user) // returns at EOF, before the close
	if err != nil || string(out) != "output" {
		t.Errorf("client read %q, %v", out, err)
	}
	io.WriteString(r.user, "late input")
	buf := make([]byte, 10)
	if _, err := io.ReadFull(r.target, buf); err != nil || string(buf) != "late input" {
		t.Errorf("target read %q, %v", buf, err)
	}
	saw := r.see()
	r.exit(5)
	if s := within(t, 5*time.Second, "end", saw); !slices.Equal(s.requests, []string{"exit-status \x00\x00\x00\x05"}) {
		t.Errorf("requests %q", s.requests)
	}
	r.wait()
}
