package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
)

func sizePayload(cols, rows uint32) []byte {
	return ssh.Marshal(struct{ Cols, Rows, W, H uint32 }{cols, rows, 7, 9})
}

// Window changes arrive verbatim, whatever they say; the recording is told a
// size that it can hold, and none where a dimension is zero (RFC 4254, 6.2).
func TestWindowChange(t *testing.T) {
	r := newRig(t, nil, withTerminal)
	r.grant(2)
	time.Sleep(50 * time.Millisecond)
	for _, size := range [][2]uint32{{120, 40}, {0, 0}, {5000, 5000}, {0, 50}, {1 << 31, 1<<32 - 1}, {1, 1}} {
		payload := sizePayload(size[0], size[1])
		r.user.SendRequest("window-change", false, payload)
		q := within(t, time.Second, "window-change", r.targetReqs)
		if q.Type != "window-change" || q.WantReply || !bytes.Equal(q.Payload, payload) {
			t.Errorf("%v arrived as %+v", size, q)
		}
	}
	r.cancel(nil)
	r.wait()
	if want := [][2]int{{120, 40}, {5000, 5000}, {10000, 10000}, {1, 1}}; !slices.Equal(r.rec.sizes, want) {
		t.Errorf("recorded sizes %v, want %v", r.rec.sizes, want)
	}
}

// Signals, breaks and keepalives pass, with their replies; signals and breaks
// are noted in the recording, since they have no bytes.
func TestRequestsThatPass(t *testing.T) {
	signal := func(name string) []byte { return ssh.Marshal(struct{ Name string }{name}) }
	r := newRig(t, nil, nil)
	for _, c := range []struct {
		name    string
		payload []byte
		reply   bool
	}{
		{"signal", signal("INT"), false}, {"break", []byte{0, 0, 1, 0}, true},
		{"break", nil, true}, {"signal", signal("USR1@example.com"), false}, {"keepalive@openssh.com", nil, true},
	} {
		for _, answer := range []bool{true, false} {
			got := make(chan bool, 1)
			go func() {
				ok, _ := r.user.SendRequest(c.name, c.reply, c.payload)
				got <- ok
			}()
			q := within(t, time.Second, c.name, r.targetReqs)
			if q.Type != c.name || q.WantReply != c.reply || !bytes.Equal(q.Payload, c.payload) {
				t.Errorf("%s arrived as %+v", c.name, q)
			}
			q.Reply(answer, nil)
			if ok := within(t, time.Second, "reply", got); ok != (answer && c.reply) {
				t.Errorf("%s: reply %v, want %v", c.name, ok, answer)
			}
		}
	}
	for _, name := range []string{"xon-xoff", "keepalive@openssh.com", "eow@openssh.com"} {
		go r.target.SendRequest(name, name[0] == 'k', []byte{1})
		q := within(t, time.Second, name, r.userReqs)
		if q.Type != name || q.WantReply != (name[0] == 'k') || !bytes.Equal(q.Payload, []byte{1}) {
			t.Errorf("%s arrived as %+v", name, q)
		}
		q.Reply(true, nil)
	}
	r.cancel(nil)
	r.wait()
	if want := []string{"signal INT", "signal INT", "break", "break", "break", "break", "signal USR1@example.com", "signal USR1@example.com"}; !slices.Equal(r.rec.marks, want) {
		t.Errorf("marks %q, want %q", r.rec.marks, want)
	}
}

// T12, T37, I3: what opens another way, starts something else, sets the
// environment past the allow-list, or is unknown is refused on both sides.
func TestRequestsThatAreRefused(t *testing.T) {
	r := newRig(t, nil, nil)
	reached := make(chan string, 100)
	for _, c := range []<-chan *ssh.Request{r.targetReqs, r.userReqs} {
		go func() {
			for q := range c {
				reached <- q.Type
				q.Reply(true, nil)
			}
		}()
	}
	env := ssh.Marshal(struct{ K, V string }{"LD_PRELOAD", "x.so"})
	for name, payload := range map[string][]byte{
		"auth-agent-req@openssh.com": nil, "x11-req": nil, "shell": nil, "exec": []byte("\x00\x00\x00\x02id"),
		"subsystem": []byte("\x00\x00\x00\x04sftp"), "pty-req": ptyPayload("xterm", 80, 24), "env": env,
		"window-change": {1, 2, 3}, "signal": []byte("\x00\x00\x00\x05\x1b[2Jx"), "unknown@example.com": nil, "": nil,
		"exit-status": {0, 0, 0, 0}, "tcpip-forward": nil,
	} {
		if ok, err := r.user.SendRequest(name, true, payload); ok || err != nil {
			t.Errorf("client's %q: %v %v", name, ok, err)
		}
	}
	for _, name := range []string{"shell", "x11-req", "auth-agent-req@openssh.com", "signal", "window-change", "unknown@example.com"} {
		if ok, err := r.target.SendRequest(name, true, nil); ok || err != nil {
			t.Errorf("target's %q: %v %v", name, ok, err)
		}
	}
	r.cancel(nil)
	r.wait()
	if len(reached) > 0 {
		t.Errorf("%q was passed on", <-reached)
	}
}

// Requests that nobody answers neither stall the connection, on which other
// sessions live, nor the end of the session.
func TestRequestFloodStallsNobody(t *testing.T) {
	r := newRig(t, nil, nil) // nobody reads r.targetReqs: the target hangs
	for i := range 2000 {
		typ := [...]string{"window-change", "signal", "break"}[i%3]
		payload := [...][]byte{sizePayload(80, 24), []byte("\x00\x00\x00\x03INT"), nil}[i%3]
		sent := make(chan error, 1)
		go func() {
			_, err := r.user.SendRequest(typ, false, payload)
			sent <- err
		}()
		if err := within(t, 2*time.Second, fmt.Sprintf("request %d", i), sent); err != nil {
			t.Fatal(err)
		}
	}
	// Data still flows: the mux of neither connection waits.
	io.WriteString(r.user, "in")
	deadline := time.Now().Add(2 * time.Second)
	for len(r.rec.got('i')) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("input is stalled")
		}
		time.Sleep(5 * time.Millisecond)
	}
	begun := time.Now()
	r.cancel(nil)
	r.wait()
	if d := time.Since(begun); d > time.Second {
		t.Errorf("the end took %v", d)
	}
}

// Requests that come before the session has started wait behind Start.
func TestRequestsKeepTheirOrder(t *testing.T) {
	r := newRig(t, nil, withTerminal)
	r.user.SendRequest("window-change", false, sizePayload(99, 33))
	r.user.SendRequest("signal", false, []byte("\x00\x00\x00\x03INT"))
	var order []string
	for range 4 {
		q := within(t, time.Second, "request", r.targetReqs)
		order = append(order, q.Type)
		q.Reply(true, nil)
	}
	if want := []string{"pty-req", "shell", "window-change", "signal"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
	r.cancel(nil)
	r.wait()
	if !slices.Equal(r.rec.sizes, [][2]int{{99, 33}}) {
		t.Errorf("recorded sizes %v", r.rec.sizes)
	}
}

func TestParsePTY(t *testing.T) {
	p, err := proxy.ParsePTY(ptyPayload("xterm-256color", 1<<31, 0))
	if err != nil || p.Term != "xterm-256color" || p.Cols != 1<<31 || p.Rows != 0 || !bytes.Equal(p.Modes, []byte{0}) {
		t.Errorf("%+v, %v", p, err)
	}
	whole := ptyPayload("xterm", 80, 24)
	for n := range whole {
		if _, err := proxy.ParsePTY(whole[:n]); err == nil {
			t.Errorf("%d bytes of a pty-req were taken", n)
		}
	}
	if _, err := proxy.ParsePTY(append(whole, 0)); err == nil {
		t.Error("a trailing byte was taken")
	}
}

func TestClampSize(t *testing.T) {
	for in, want := range map[[2]uint32][2]int{
		{0, 0}: {80, 24}, {0, 50}: {80, 50}, {5000, 5000}: {5000, 5000}, {1 << 31, 1<<32 - 1}: {10000, 10000}, {132, 43}: {132, 43},
	} {
		if c, r := proxy.ClampSize(in[0], in[1]); c != want[0] || r != want[1] {
			t.Errorf("%v becomes %dx%d, want %v", in, c, r, want)
		}
	}
}

func FuzzParsePTY(f *testing.F) {
	f.Add(ptyPayload("xterm", 80, 24))
	f.Add(sizePayload(80, 24))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := proxy.ParsePTY(b); err == nil {
			again := ssh.Marshal(struct {
				Term             string
				Cols, Rows, W, H uint32
				Modes            string
			}{p.Term, p.Cols, p.Rows, p.WidthPixel, p.HighPixel, string(p.Modes)})
			if !bytes.Equal(again, b) {
				t.Errorf("%q parses, but means %q", b, again)
			}
		}
		proxy.ParseWindowChange(b)
	})
}
