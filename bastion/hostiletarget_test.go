package bastion

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/bastion/upstream"
	"sallyport/policy"
)

// every is each type of channel and request that the RFCs and OpenSSH know, and
// some that nobody does.
var (
	everyChannel = []string{
		"x11", "forwarded-tcpip", "forwarded-streamlocal@openssh.com", "direct-streamlocal@openssh.com", "tun@openssh.com",
		"auth-agent@openssh.com", "auth-agent", "", "made up\x1b[2J", "made-up@example.com", strings.Repeat("n", 300),
	}
	everyGlobal = []string{
		"tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com", "cancel-streamlocal-forward@openssh.com",
		"hostkeys-00@openssh.com", "hostkeys-prove-00@openssh.com", "no-more-sessions@openssh.com", "keepalive@openssh.com",
		"made-up@example.com", "",
	}
	everyRequest = []string{
		"pty-req", "env", "shell", "exec", "subsystem", "x11-req", "auth-agent-req@openssh.com", "auth-agent-req",
		"window-change", "signal", "break", "xon-xoff", "eow@openssh.com", "keepalive@openssh.com", "exit-status", "exit-signal", "made-up@example.com", "\u202e",
	}
)

// hostileTarget is a target that asks for everything, twice, in each session
// that runs "ask", and counts what it asked for and what it got.
type hostileTarget struct {
	t *testing.T
	*sshtest.HostileTarget

	mu    sync.Mutex
	asked map[sshtest.Asked]int // guarded by mu
	got   map[sshtest.Asked]int // guarded by mu
}

func startHostileTarget(t *testing.T) *hostileTarget {
	h := &hostileTarget{t: t, asked: map[sshtest.Asked]int{}, got: map[sshtest.Asked]int{}}
	h.HostileTarget = sshtest.StartHostileTarget(t, h.serve)
	return h
}

func (h *hostileTarget) count(in map[sshtest.Asked]int, kind, wireType string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in[sshtest.Asked{Kind: kind, Type: wireType}]++
}

func (h *hostileTarget) serve(c ssh.Conn, chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { ssh.DiscardRequests(reqs) })
	for nc := range chans {
		h.count(h.got, "channel", nc.ChannelType())
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { h.session(c, ch, reqs) })
	}
}

func (h *hostileTarget) session(c ssh.Conn, ch ssh.Channel, reqs <-chan *ssh.Request) {
	for r := range reqs {
		r.Reply(true, nil)
		var m struct{ Command string }
		if ssh.Unmarshal(r.Payload, &m) != nil || r.Type != "exec" {
			continue
		}
		switch {
		case m.Command == probeCommand:
			io.WriteString(ch, "garbage\x00\xff\n")
		case m.Command == "ask":
			go h.ask(c, ch)
			continue
		}
		ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
		ch.Close()
	}
}

// ask asks for everything, waits for a byte, and ends the session.
func (h *hostileTarget) ask(c ssh.Conn, ch ssh.Channel) {
	for range 2 {
		for _, typ := range append([]string{"session", "direct-tcpip"}, everyChannel...) {
			h.count(h.asked, "channel", typ)
			if _, _, err := c.OpenChannel(typ, nil); err == nil {
				h.t.Errorf("the bastion opened %q for the target", typ)
			}
		}
		for _, typ := range everyGlobal {
			h.count(h.asked, "global", typ)
			if ok, _, err := c.SendRequest(typ, true, nil); ok || err != nil {
				h.t.Errorf("the target's %q: %v %v", typ, ok, err)
			}
		}
		for _, typ := range everyRequest {
			h.count(h.asked, "request", typ)
			reply := typ != "keepalive@openssh.com" && typ != "eow@openssh.com" && typ != "xon-xoff" // the client answers none
			if ok, err := ch.SendRequest(typ, reply, nil); ok || err != nil {
				h.t.Errorf("the target's %q: %v %v", typ, ok, err)
			}
		}
	}
	io.WriteString(ch, "asked")
	io.ReadFull(ch, make([]byte, 1))
	h.count(h.asked, "request", "exit-status")
	ch.SendRequest("exit-status", false, []byte{0, 0, 0, 3})
	ch.CloseWrite()
	ch.Close()
}

// use makes f reach h over the real upstream, with policy's wish for a probe.
func (h *hostileTarget) use(w *fakeWorld, probe bool) func(*Config) {
	w.targets[0].Address = h.Addr
	w.targets[0].HostKeys = []string{sshtest.AuthorizedKey(h.HostKey)}
	signer := sshtest.NewSigner(h.t)
	dialer := &upstream.Dialer{Signer: func(context.Context, upstream.Request) (ssh.Signer, error) { return signer, nil }}
	return func(c *Config) {
		c.Connect = func(ctx context.Context, r ConnectRequest) (Upstream, error) {
			return dialer.Connect(ctx, upstream.Request{Target: r.Target, Login: r.Login, User: r.User, Connection: r.Connection})
		}
		withProbe(probe)(c)
	}
}

// withProbe makes every permit ask for the context.
func withProbe(on bool) func(*Config) {
	return func(c *Config) {
		decide := c.Decide
		c.Decide = func(r policy.Request) policy.Decision {
			d := decide(r)
			d.Obligations.Context = on
			return d
		}
	}
}
