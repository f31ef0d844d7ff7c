package bastion

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// refusedClient is a client whose sign-in the policy refuses.
func refusedClient(t *testing.T) (*front, *ssh.Client) {
	t.Helper()
	w := newFakeWorld(t)
	w.deny = func(r policy.Request) bool { return r.Action == policy.ActionSignIn }
	f := startFront(t, w, nil)
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	return f, f.mustDial("root@db1", key)
}

const refusedSentence = "alice@example.com is not allowed to sign in here."

// Nothing but the sentence can be had on a refused connection.
func TestRefusedConnectionRefusesEverything(t *testing.T) {
	f, c := refusedClient(t)
	for _, name := range []string{"direct-tcpip", "direct-streamlocal@openssh.com", "tun@openssh.com", "x11", "forwarded-tcpip", "auth-agent@openssh.com", "nonsense"} {
		extra := ssh.Marshal(struct {
			Host  string
			Port  uint32
			From  string
			FPort uint32
		}{"db1", 22, "x", 1})
		_, _, err := c.OpenChannel(name, extra)
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) || refused.Message != refusedSentence || refused.Reason != ssh.Prohibited {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"tcpip-forward", "streamlocal-forward@openssh.com", "hostkeys-prove-00@openssh.com", "nonsense"} {
		if ok, _, err := c.SendRequest(name, true, ssh.Marshal(struct {
			A string
			P uint32
		}{"", 0})); ok || err != nil {
			t.Errorf("%s: %v %v", name, ok, err)
		}
	}
	first, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.NewSession(); err == nil || !strings.Contains(err.Error(), refusedSentence) {
		t.Errorf("a second session: %v", err)
	}
	errOut, _ := first.StderrPipe()
	if err := first.Start("id"); err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(errOut)
	var exit *ssh.ExitError
	if err := first.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 1 {
		t.Errorf("it ended with %v", err)
	}
	if string(said) != "sallyport: "+refusedSentence+"\n" {
		t.Errorf("it said %q", said)
	}
	begun := time.Now()
	c.Wait()
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("the connection stayed for %v", d)
	}
	if len(f.connects)+len(f.recordings) != 0 {
		t.Error("something was started")
	}
}

// Every way to start a session is refused alike.
func TestRefusedStarts(t *testing.T) {
	for name, start := range map[string]func(*ssh.Session) error{
		"exec":    func(s *ssh.Session) error { return s.Start("id") },
		"shell":   func(s *ssh.Session) error { return s.Shell() },
		"sftp":    func(s *ssh.Session) error { return s.RequestSubsystem("sftp") },
		"netconf": func(s *ssh.Session) error { return s.RequestSubsystem("netconf") },
		"pty": func(s *ssh.Session) error {
			if err := s.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err != nil {
				return err
			}
			return s.Shell()
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := refusedClient(t)
			s, err := c.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			errOut, _ := s.StderrPipe()
			if err := start(s); err != nil {
				t.Fatal(err)
			}
			said, _ := io.ReadAll(errOut)
			if strings.TrimRight(string(said), "\r\n") != "sallyport: "+refusedSentence {
				t.Errorf("it said %q", said)
			}
			if crlf := strings.HasSuffix(string(said), "\r\n"); crlf != (name == "pty") {
				t.Errorf("line end of %q", said)
			}
			if name == "netconf" || name == "sftp" {
				return // x/crypto's client has no Wait for subsystems
			}
			var exit *ssh.ExitError
			if err := s.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 1 {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// A refused client that asks for nothing is gone after ten seconds.
func TestRefusedConnectionEndsByItself(t *testing.T) {
	_, c := refusedClient(t)
	begun := time.Now()
	done := make(chan struct{})
	go func() { c.Wait(); close(done) }()
	select {
	case <-done:
		if d := time.Since(begun); d < refusedTime-time.Second {
			t.Errorf("it ended after %v", d)
		}
	case <-time.After(refusedTime + 2*time.Second):
		t.Error("it goes on")
	}
}
