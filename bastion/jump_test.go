package bastion

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// jump opens a direct-tcpip channel on c and an SSH connection inside it.
func jump(f *front, c *ssh.Client, addr, user string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	conn, err := c.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	inner, chans, reqs, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{User: user, Auth: auth, HostKeyCallback: ssh.FixedHostKey(f.hostKey.PublicKey())})
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(inner, chans, reqs), nil
}

func TestJumpWithStockClient(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key, raw := newKeyFile(t)
	f.bind(key.PublicKey(), alice)
	c := f.stock(key, raw)
	if got := c.run("", "-J", "bastion", "root@db1", "both"); got.out != "to stdout\n" || got.err != "to stderr\n" || got.code != 7 {
		t.Error(got)
	}
	f.waitEntries(policy.EntrySessionEnd, 1)
	if got := c.run("typed\n", "-tt", "-J", "bastion", "app@db1"); !strings.Contains(got.out, "welcome app pty=true") || !strings.Contains(got.out, `got "typed"`) {
		t.Error(got)
	}
	if got := c.run("", "-J", "bastion", "-p", "8080", "root@db1", "true"); got.code != 255 || !strings.Contains(got.err, "Port 8080 of db1 cannot be reached through this bastion, only ssh.") {
		t.Error(got)
	}
	e := f.waitEntries(policy.EntrySessionEnd, 2)
	if e[0].Login != "root" || e[1].Login != "app" || e[0].Target != "db1" {
		t.Errorf("%+v", e)
	}
	if rec := f.recordingOf(e[1].Session); !rec.session.TTY || rec.session.Login != "app" {
		t.Errorf("%+v", rec.session)
	}
}

// The inner authentication proves the same user as the outer, and never starts
// a device flow.
func TestJumpProvesTheSameUser(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	a, a2, b, unknown := newKey(t), newKey(t), newKey(t), newKey(t)
	f.bind(a.PublicKey(), alice)
	f.bind(b.PublicKey(), bob)
	outer := f.mustDial("whoever", a)
	banner := func(said *string) func(*ssh.ClientConfig) {
		return func(c *ssh.ClientConfig) { c.BannerCallback = func(m string) error { *said += m; return nil } }
	}
	try := func(key ssh.Signer, change func(*ssh.ClientConfig)) error {
		conn, err := outer.Dial("tcp", "db1:22")
		if err != nil {
			return err
		}
		defer conn.Close()
		cfg := &ssh.ClientConfig{User: "root", HostKeyCallback: ssh.FixedHostKey(f.hostKey.PublicKey()), Auth: []ssh.AuthMethod{
			ssh.PublicKeys(key), ssh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) { return nil, nil })}}
		change(cfg)
		_, _, _, err = ssh.NewClientConn(conn, "db1", cfg)
		return err
	}
	var said string
	if err := try(b, banner(&said)); err == nil || !strings.Contains(said, "belongs to another user") {
		t.Errorf("bob's key inside alice's connection: %v, %q", err, said)
	}
	said = ""
	if err := try(unknown, banner(&said)); err == nil || !strings.Contains(said, ssh.FingerprintSHA256(unknown.PublicKey())) {
		t.Errorf("an unknown key: %v, %q", err, said)
	}
	if err := try(f.certificate(b, bob, nil), banner(&said)); err == nil {
		t.Error("bob's certificate inside alice's connection is in")
	}
	if err := try(f.certificate(a2, alice, nil), banner(&said)); err != nil {
		t.Errorf("alice's certificate for another key: %v", err)
	}
	if n := len(f.pending); n != 0 {
		t.Errorf("%d device flows were started", n)
	}
	if n := len(f.entriesOf(policy.EntryAuthRefused)); n != 3 {
		t.Errorf("%d refusals were entered, want 3", n)
	}
}

func TestJumpLeadsOnlyToTargets(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	c := f.mustDial("x", key)
	port := mustPort(t, f.targetAddr)
	refused := 0
	for _, tc := range []struct {
		host string
		port int
		ok   bool
	}{
		{"db1", 22, true}, {"db1", port, true}, {"DB1", 22, true}, {"db1.bastion.test", 22, true},
		{"db1", 80, false}, {"db1", 0, false}, {"db2", 22, false}, {"127.0.0.1", port, false}, {"localhost", port, false},
		{"::1", port, false}, {"::ffff:127.0.0.1", port, false}, {"2130706433", port, false}, {"0", port, false},
		{"169.254.169.254", 80, false}, {"", 22, false}, {"db1\x00", 22, false}, {"db1\nx", 22, false}, {"../db1", 22, false},
		{"db1.evil.test", 22, false}, {strings.Repeat("a", 5000), 22, false},
	} {
		ch, reqs, err := c.OpenChannel("direct-tcpip", ssh.Marshal(struct {
			Host  string
			Port  uint32
			From  string
			FPort uint32
		}{tc.host, uint32(tc.port), "127.0.0.1", 5}))
		if err == nil {
			go ssh.DiscardRequests(reqs)
			ch.Close()
		} else {
			refused++
			var e *ssh.OpenChannelError
			if !errors.As(err, &e) || printable(e.Message, 1000) != e.Message || e.Message == "" {
				t.Errorf("%.40q: %v", tc.host, err)
			}
		}
		if (err == nil) != tc.ok {
			t.Errorf("%.40q port %d: %v", tc.host, tc.port, err)
		}
	}
	for _, other := range []string{"direct-streamlocal@openssh.com", "tun@openssh.com", "x11", "forwarded-tcpip", "auth-agent@openssh.com", "nonsense"} {
		if _, _, err := c.OpenChannel(other, nil); err == nil {
			t.Errorf("%s was opened", other)
		}
		refused++
	}
	if ok, _, _ := c.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
		A string
		P uint32
	}{"0.0.0.0", 0})); ok {
		t.Error("a port is forwarded")
	}
	refused++
	if n := len(f.waitEntries(policy.EntryChannelDenied, refused)); n != refused {
		t.Errorf("%d refusals were entered, want %d", n, refused)
	}
}

// No second jump, no forward: what is inside a target's connection ends there.
func TestJumpInsideJump(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	inner, err := jump(f, f.mustDial("x", key), "db1:22", "root", ssh.PublicKeys(key))
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	if _, err := inner.Dial("tcp", "web1:22"); err == nil || !strings.Contains(err.Error(), "does not forward to other hosts from db1") {
		t.Errorf("%v", err)
	}
	if got := run(t, inner, "user", nil); got.out != "root\n" {
		t.Error(got)
	}
	if f.connects[0].Login != "root" || f.connects[0].User.Email != alice.Email {
		t.Errorf("%+v", f.connects)
	}
}

// The address that certificates may be bound to is the client's own, also
// inside a jump.
func TestJumpKeepsTheSourceAddress(t *testing.T) {
	var seen []string
	f := startFront(t, newFakeWorld(t), func(c *Config) {
		identify := c.Identify
		c.Identify = func(ctx context.Context, cr Credential) (Identity, error) {
			if _, ok := cr.Remote.(*net.TCPAddr); !ok {
				t.Errorf("%T", cr.Remote)
			}
			seen = append(seen, cr.Remote.String())
			return identify(ctx, cr)
		}
	})
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	outer := f.mustDial("x", key)
	inner, err := jump(f, outer, "db1:22", "root", ssh.PublicKeys(key))
	if err != nil {
		t.Fatal(err)
	}
	inner.Close()
	if len(seen) != 2 || seen[0] != outer.LocalAddr().String() || seen[1] != seen[0] {
		t.Errorf("%v", seen)
	}
}

// A login that cannot be one gets its sentence inside a jump too.
func TestJumpWithBadLogin(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	outer := f.mustDial("x", key)
	for login, want := range map[string]string{
		"-x": "A login cannot start with", "a b": "character that is not allowed", "ghost": `The login "ghost" is not among those of db1.`,
	} {
		inner, err := jump(f, outer, "db1:22", login, ssh.PublicKeys(key))
		if err != nil {
			t.Fatal(err)
		}
		if got := run(t, inner, "id", nil); got.code != 1 || !strings.Contains(got.err, want) || bytes.Count([]byte(got.err), []byte("\n")) != 1 {
			t.Errorf("%q: %v", login, got)
		}
		inner.Close()
	}
}

// A client that opens a jump and says nothing inside it is cut off, and so is
// one that is still inside when the server ends.
func TestSilentJump(t *testing.T) {
	f := startFront(t, newFakeWorld(t), func(c *Config) { c.Limits.Signing = 300 * time.Millisecond })
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	c := f.mustDial("x", key)
	conn, err := c.Dial("tcp", "db1:22")
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	io.Copy(io.Discard, conn)
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("it was cut off after %v", d)
	}
	waitForLog(t, f, "", "it was not authenticated in time")
	if _, err := c.Dial("tcp", "db1:22"); err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	f.stop()
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("the end took %v", d)
	}
}
