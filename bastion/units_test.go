package bastion

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestQuota(t *testing.T) {
	q := newQuota(3, 2)
	a, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	for i, step := range []struct {
		addr netip.Addr
		ok   bool
	}{{a, true}, {a, true}, {a, false}, {b, true}, {c, false}} {
		if q.take(step.addr) != step.ok {
			t.Errorf("step %d", i)
		}
	}
	q.give(a)
	if !q.take(c) || len(q.by) != 3 {
		t.Errorf("%v", q.by)
	}
	q.give(a)
	q.give(b)
	q.give(c)
	if q.used != 0 || len(q.by) != 0 {
		t.Errorf("%d %v are left", q.used, q.by)
	}
	// One customer's IPv6 network counts as one.
	q = newQuota(10, 1)
	if !q.take(netip.MustParseAddr("2001:db8::1")) || q.take(netip.MustParseAddr("2001:db8::2")) || !q.take(netip.MustParseAddr("2001:db8:0:1::1")) {
		t.Error("IPv6 networks")
	}
}

func TestLobby(t *testing.T) {
	guards := 0
	at := func(addr string) *guard {
		guards++
		return &guard{addr: netip.MustParseAddrPort(addr), begun: time.Unix(int64(guards), 0)}
	}
	l := newLobby(3, 2)
	a1, a2, a3, b1, c1 := at("10.0.0.1:1"), at("10.0.0.1:2"), at("10.0.0.1:3"), at("10.0.0.2:1"), at("10.0.0.3:1")
	for _, step := range []struct {
		who, evicted *guard
		ok           bool
	}{{a1, nil, true}, {a2, nil, true}, {a3, a1, true}, {b1, nil, true}, {c1, a2, true}} {
		if evicted, ok := l.enter(step.who); evicted != step.evicted || ok != step.ok {
			t.Errorf("%v: evicts %v, %v", step.who.addr, evicted, ok)
		}
	}
	// Those who authenticate are not evicted.
	for _, g := range []*guard{a3, b1, c1} {
		g.authenticating.Store(true)
	}
	if evicted, ok := l.enter(at("10.0.0.4:1")); evicted != nil || ok {
		t.Errorf("%v %v", evicted, ok)
	}
	for _, g := range []*guard{a1, a2, a3, a3, b1, c1} {
		l.leave(g)
	}
	if len(l.waiting) != 0 || len(l.by) != 0 {
		t.Errorf("%v %v are left", l.waiting, l.by)
	}
}

func TestRequestQueue(t *testing.T) {
	var q requestQueue
	size := &ssh.Request{Type: "window-change", Payload: make([]byte, 16)}
	for range 1000 {
		q.push(size)
	}
	if len(q.list) != 1 || q.size != 16 {
		t.Errorf("%d, %d bytes", len(q.list), q.size)
	}
	for range 1000 {
		q.push(&ssh.Request{Type: "env"})
	}
	if len(q.list) != maxQueued {
		t.Errorf("%d are queued", len(q.list))
	}
	for len(q.list) > 0 {
		q.pop()
	}
	for range 10 {
		q.push(&ssh.Request{Type: "env", Payload: make([]byte, 100<<10)})
	}
	if q.size > maxQueuedBytes {
		t.Errorf("%d bytes are queued", q.size)
	}
	in := make(chan *ssh.Request)
	gone := make(chan struct{})
	out := queueRequests(in, nil, func() { close(gone) })
	for range 100 {
		in <- size // nobody takes any
	}
	close(in)
	<-gone
	if n := 0; true {
		for range out {
			n++
		}
		if n != 1 {
			t.Errorf("%d came", n)
		}
	}
}

// typed is a terminal where everything was typed already.
type typed struct {
	io.Reader
	bytes.Buffer
}

func (t *typed) Read(p []byte) (int, error) { return t.Reader.Read(p) }

func TestReadLine(t *testing.T) {
	for in, want := range map[string]string{
		"abc\r":                               "abc",
		"abc\nrest":                           "abc",
		"ab\x7fc\b\r":                         "a",
		"\x7f\x7fa\r":                         "a",
		"abc\x15d\r":                          "d",
		"abc\x17d\r":                          "d",
		"a\x1b[Ab\x1b[1;5Cc\x1bOPd\x1bxe\r":   "abcde",
		"a\x00\x01\xc3\xbcb\r":                "ab",
		"a\x04b\r":                            "ab",
		strings.Repeat("x", 2*maxLine) + "\r": strings.Repeat("x", maxLine),
	} {
		term := &typed{Reader: strings.NewReader(in)}
		if got, err := readLine(term); err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
		if strings.Contains(term.Buffer.String(), "\x1b") {
			t.Errorf("%q: echoed %q", in, term.Buffer.String())
		}
	}
	for in, want := range map[string]error{"ab\x03": errInterrupted, "\x04": errQuit, "ab": io.EOF, "": io.EOF, "\x1b[": io.EOF} {
		if _, err := readLine(&typed{Reader: strings.NewReader(in)}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
}

func FuzzReadLine(f *testing.F) {
	f.Add("abc\r")
	f.Add("a\x1b[1;5C\x7f\x15\xff\x00\r")
	f.Fuzz(func(t *testing.T, in string) {
		term := &typed{Reader: strings.NewReader(in)}
		line, err := readLine(term)
		if err == nil && (len(line) > maxLine || !isPrintableASCII(line)) {
			t.Fatalf("%q", line)
		}
		for _, c := range term.Buffer.Bytes() {
			if c >= 0x7f || c < 0x20 && c != '\r' && c != '\n' && c != '\b' && c != bell {
				t.Fatalf("echoed %q", term.Buffer.String())
			}
		}
	})
}

func TestLineFeeds(t *testing.T) {
	var out bytes.Buffer
	var raw atomic.Bool
	w := &lineFeeds{w: &out, raw: &raw}
	for _, s := range []string{"a\n", "b\r", "\nc\r\n", "", "\n\n"} {
		if n, err := io.WriteString(w, s); n != len(s) || err != nil {
			t.Errorf("%q: %d %v", s, n, err)
		}
	}
	if got := out.String(); got != "a\r\nb\r\nc\r\n\r\n\r\n" {
		t.Errorf("%q", got)
	}
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := New(Config{}); err == nil || err.Error() != "bastion: Config.HostKeys is not set" {
		t.Error(err)
	}
	cfg := newFakeWorld(t).config()
	cfg.Audit = nil
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "Config.Audit") {
		t.Error(err)
	}
}

// A listener that fails for good ends Serve with its error.
func TestServeReturnsTheListenersError(t *testing.T) {
	srv, err := New(newFakeWorld(t).config())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := srv.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// T4: an address begins so many device flows a minute, and others are none the
// poorer; nothing is remembered for longer.
func TestT4SignInStartsAreLimited(t *testing.T) {
	r := &startRate{most: 3}
	now := time.Now()
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 5 {
		if got, want := r.take(one, now.Add(time.Duration(i)*time.Second)), i < 3; got != want {
			t.Errorf("start %d: %v", i, got)
		}
	}
	if !r.take(other, now) {
		t.Error("another address is refused")
	}
	if !r.take(one, now.Add(startWindow)) {
		t.Error("it is refused a minute later")
	}
	r.expire(now.Add(3 * startWindow))
	if len(r.by) != 0 {
		t.Errorf("%d addresses are remembered", len(r.by))
	}
}

func TestT4StartsOfOneAddress(t *testing.T) {
	f := startFront(t, newFakeWorld(t), func(c *Config) { c.Limits.SignInStarts = 2 })
	for i := range 4 {
		if i < 2 {
			go func() { f.nextSignIn().answer <- errors.New("no") }()
		}
		key, raw := newKeyFile(t)
		got := f.stock(key, raw).run("", "bastion", "status")
		if limited := strings.Contains(got.err, "Too many sign-ins were begun from your address"); limited != (i >= 2) || got.code != 1 {
			t.Errorf("start %d: %v", i, got)
		}
	}
	if n := len(f.pending); n != 0 {
		t.Errorf("%d device flows were begun beyond the limit", n)
	}
}
