package bastion

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/policy"
)

// T12: agent and X11 forwarding are refused, with one entry each.
func TestT12AgentAndX11AreRefused(t *testing.T) {
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", nil)
	got := run(t, c, "echo in", func(s *ssh.Session) {
		for _, name := range []string{"auth-agent-req@openssh.com", "auth-agent-req@openssh.com", "x11-req", "nonsense", "signal"} {
			if ok, err := s.SendRequest(name, true, nil); ok || err != nil {
				t.Errorf("%s: %v %v", name, ok, err)
			}
		}
	})
	if got.out != "in\n" {
		t.Error(got)
	}
	e := f.waitEntries(policy.EntryChannelDenied, 2)
	if len(e) != 2 || e[0].Detail["type"] != "auth-agent-req@openssh.com" || e[1].Detail["type"] != "x11-req" || e[0].User == nil {
		t.Errorf("%+v", e)
	}
}

// What Identify returns is checked: nobody, or a sign-in that is over, is not
// let in.
func TestIdentityMustBeWhole(t *testing.T) {
	for name, id := range map[string]Identity{
		"nobody":  {Expires: time.Now().Add(time.Hour)},
		"expired": {User: alice, Expires: time.Now().Add(-time.Second)},
		"endless": {User: alice},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFront(t, newFakeWorld(t), func(c *Config) {
				c.Identify = func(context.Context, Credential) (Identity, error) { return id, nil }
			})
			if _, err := f.dial("root@db1", ssh.PublicKeys(newKey(t))); err == nil {
				t.Error("it is in")
			}
			f.waitEntries(policy.EntryAuthRefused, 1)
		})
	}
	t.Run("ErrNotSignedIn for a certificate", func(t *testing.T) {
		f := startFront(t, newFakeWorld(t), func(c *Config) {
			c.Identify = func(context.Context, Credential) (Identity, error) { return Identity{}, ErrNotSignedIn }
		})
		r := dialRaw(t, f)
		s := f.certificate(newKey(t), alice, nil)
		if a, err := r.Sign("x", s.PublicKey(), s); err != nil || a.Success || a.Partial {
			t.Errorf("%+v %v", a, err)
		}
	})
}

// A user in the menu reads that the server ends.
func TestStopDuringTheMenu(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key, raw := newKeyFile(t)
	f.bind(key.PublicKey(), alice)
	_, shown, wait := f.stock(key, raw).inTerminal("bastion")
	expect(t, shown, "(q quits): ")
	begun := time.Now()
	f.stop()
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("the end took %v", d)
	}
	if code := wait(); code != 1 || !strings.Contains(shown.String(), errShutdown.Error()) {
		t.Errorf("exit %d\n%s", code, shown)
	}
}

// A crowd of all kinds leaves nothing behind: no goroutine, no place taken.
func TestT30NothingIsLeft(t *testing.T) {
	w := newFakeWorld(t)
	var srv *Server
	cfg := w.config()
	cfg.Limits.Handshake = 500 * time.Millisecond
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	f := &front{fakeWorld: w, log: &syncBuffer{}}
	stop := serveOn(t, srv, f)
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	silent, half := sshtest.Silent(f.addr, 50), sshtest.HalfDone(f.addr, 20)
	for range 10 {
		c, err := f.dial("root@db1", ssh.PublicKeys(key))
		if err != nil {
			t.Fatal(err)
		}
		run(t, c, "both", nil)
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start("wait"); err != nil {
			t.Fatal(err)
		}
		inner, err := jump(f, c, "db1:22", "root", ssh.PublicKeys(key))
		if err != nil {
			t.Fatal(err)
		}
		run(t, inner, "both", nil)
		r, err := sshtest.DialRaw(f.addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Authenticate(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Interactive("x"); err != nil {
			t.Fatal(err)
		}
		r.Close()
		c.Close()
	}
	silent.Close()
	half.Close()
	f.waitEntries(policy.EntrySessionEnd, 30)
	srv.lobby.mu.Lock()
	inLobby := len(srv.lobby.waiting)
	srv.lobby.mu.Unlock()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if used := srv.signIns.used + srv.signing.used + srv.conns.used; used != 0 {
		t.Errorf("%d places are taken (%d were in the lobby before the end)", used, inLobby)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		runtime.GC()
		// The fake target's own connections end with ours.
		if n := runtime.NumGoroutine(); n <= before+2 {
			break
		} else if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", n, before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// serveOn serves srv and returns what ends it.
func serveOn(t *testing.T, srv *Server, f *front) func() error {
	t.Helper()
	l := listen(t)
	f.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	return func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(20 * time.Second):
			return errors.New("Serve does not end")
		}
	}
}
