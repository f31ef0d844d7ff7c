package bastion

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// When the server ends, users of live sessions read why, and their recordings
// are closed before Serve returns.
func TestStopEndsSessions(t *testing.T) {
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", nil)
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	s.Stdout, s.Stderr = &out, &errOut
	if err := s.Start("wait"); err != nil {
		t.Fatal(err)
	}
	f.waitConnected()
	begun := time.Now()
	f.stop()
	if d := time.Since(begun); d > 3*time.Second {
		t.Errorf("that took %v", d)
	}
	finish(t, s, &out, &errOut)
	if !strings.Contains(errOut.String(), errShutdown.Error()) {
		t.Errorf("the user read %q", errOut.String())
	}
	e := f.entriesOf(policy.EntrySessionEnd)
	if len(e) != 1 || e[0].Detail["reason"] != errShutdown.Error() {
		t.Errorf("%+v", e)
	}
}

// A dead client is noticed, its session ends, and so does its connection to
// the target.
func TestDeadClientIsNoticed(t *testing.T) {
	f := startFront(t, newFakeWorld(t), func(c *Config) {
		c.Limits.Keepalive = 50 * time.Millisecond
		c.Limits.KeepaliveMissed = 3
	})
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	stuck := &stuckConn{resume: make(chan struct{})}
	var err error
	if stuck.Conn, err = net.Dial("tcp", f.addr); err != nil {
		t.Fatal(err)
	}
	defer close(stuck.resume)
	conn, chans, reqs, err := ssh.NewClientConn(stuck, "bastion", &ssh.ClientConfig{User: "root@db1", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		t.Fatal(err)
	}
	c := ssh.NewClient(conn, chans, reqs)
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("wait"); err != nil {
		t.Fatal(err)
	}
	f.waitConnected()
	time.Sleep(400 * time.Millisecond) // it answers, so it stays
	if n := len(f.entriesOf(policy.EntrySessionEnd)); n != 0 {
		t.Fatal("a client that answers was cut off")
	}
	stuck.stop()
	begun := time.Now()
	f.waitEntries(policy.EntrySessionEnd, 1)
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("that took %v", d)
	}
}

// stuckConn stops to write at some point, as a client that has lost power.
type stuckConn struct {
	net.Conn
	mu      sync.Mutex
	stopped bool
	resume  chan struct{}
}

func (c *stuckConn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
}

func (c *stuckConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	stopped := c.stopped
	c.mu.Unlock()
	if stopped {
		<-c.resume
	}
	return c.Conn.Write(p)
}

// Sessions to one target and login share a connection; another login, and a
// target that hung up, get a new one.
func TestUpstreamIsShared(t *testing.T) {
	var mu sync.Mutex
	var ups []Upstream
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", func(cfg *Config) {
		connect := cfg.Connect
		cfg.Connect = func(ctx context.Context, r ConnectRequest) (Upstream, error) {
			time.Sleep(50 * time.Millisecond)
			u, err := connect(ctx, r)
			mu.Lock()
			defer mu.Unlock()
			ups = append(ups, u)
			return u, err
		}
	})
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if got := run(t, c, "echo x", nil); got.out != "x\n" {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	if len(ups) != 1 {
		t.Fatalf("%d connections", len(ups))
	}
	ups[0].Close()
	ups[0].Wait()
	if got := run(t, c, "echo again", nil); got.out != "again\n" || len(ups) != 2 {
		t.Errorf("%v, %d connections", got, len(ups))
	}
	c.Close()
	done := make(chan struct{})
	go func() { ups[1].Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		t.Error("the connection to the target outlives the client's")
	}
	f.stop()
}

// A target that answers nothing when a session is opened on it does not keep
// its user waiting: neither when its connection ends meanwhile, nor otherwise.
func TestTargetThatOpensNoSession(t *testing.T) {
	for name, ended := range map[string]bool{"connection ends": true, "connection stays": false} {
		t.Run(name, func(t *testing.T) {
			var made []*muteUpstream
			_, c := aliceAt(t, newFakeWorld(t), "root@db1", func(cfg *Config) {
				cfg.Limits.Setup = 500 * time.Millisecond
				cfg.Connect = func(context.Context, ConnectRequest) (Upstream, error) {
					u := &muteUpstream{ended: make(chan struct{})}
					if made = append(made, u); ended {
						time.AfterFunc(50*time.Millisecond, func() { u.Close() })
					}
					return u, nil
				}
			})
			begun := time.Now()
			if got := run(t, c, "true", nil); got.code != 1 || !strings.Contains(got.err, "db1 cannot be reached") {
				t.Error(got)
			}
			if d := time.Since(begun); d > 3*time.Second || ended && d > 400*time.Millisecond {
				t.Errorf("that took %v", d)
			}
		})
	}
}

// muteUpstream opens no session and never says so.
type muteUpstream struct {
	ended chan struct{}
	once  sync.Once
}

func (u *muteUpstream) OpenSession(ctx context.Context) (ssh.Channel, <-chan *ssh.Request, error) {
	<-ctx.Done()
	return nil, nil, context.Cause(ctx)
}
func (u *muteUpstream) Address() string             { return "" }
func (u *muteUpstream) HostKey() policy.Fingerprint { return "" }
func (u *muteUpstream) Seen() []policy.Channel      { return nil }

func (u *muteUpstream) Wait() error  { <-u.ended; return nil }
func (u *muteUpstream) Close() error { u.once.Do(func() { close(u.ended) }); return nil }

// A client that goes away while its target is reached stops the attempt.
func TestClientLeavesWhileConnecting(t *testing.T) {
	reached := make(chan error, 1)
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", func(cfg *Config) {
		cfg.Connect = func(ctx context.Context, _ ConnectRequest) (Upstream, error) {
			<-ctx.Done()
			reached <- context.Cause(ctx)
			return nil, ctx.Err()
		}
	})
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("true"); err != nil {
		t.Fatal(err)
	}
	f.waitEntries(policy.EntrySessionStart, 1)
	c.Close()
	select {
	case err := <-reached:
		if !errors.Is(err, errClientGone) {
			t.Errorf("%v", err)
		}
	case <-time.After(3 * time.Second):
		t.Fatal("it goes on")
	}
	f.waitEntries(policy.EntrySessionEnd, 1)
}

// Several sessions on one ControlMaster connection of the stock client.
func TestControlMaster(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key, raw := newKeyFile(t)
	f.bind(key.PublicKey(), alice)
	c := f.stock(key, raw)
	c.more = []string{"User root@db1", "ControlPath " + filepath.Join(c.dir, "mux"), "ControlMaster auto", "ControlPersist 30"}
	defer func() { c.run("", "-O", "exit", "bastion") }()
	var wg sync.WaitGroup
	if got := c.run("", "bastion", "echo first"); got.out != "first\n" {
		t.Fatal(got)
	}
	for range 4 {
		wg.Go(func() {
			if got := c.run("through", "bastion", "cat"); got.out != "through" || got.code != 0 {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	e := f.waitEntries(policy.EntrySessionEnd, 5)
	for _, x := range e {
		if x.Detail["connection"] != e[0].Detail["connection"] {
			t.Errorf("%+v is on another connection", x)
		}
	}
	if len(f.connects) != 1 {
		t.Errorf("%d connections to the target", len(f.connects))
	}
}

// A key exchange in the middle of a bulk transfer stalls nothing.
func TestRekeyUnderLoad(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key, raw := newKeyFile(t)
	f.bind(key.PublicKey(), alice)
	c := f.stock(key, raw)
	big := strings.Repeat("0123456789abcdef", 4<<16) // 4 MiB
	if got := c.run(big, "-o", "RekeyLimit=256K", "root@db1@bastion", "cat"); got.out != big || got.code != 0 {
		t.Errorf("%d bytes came back, exit %d, %s", len(got.out), got.code, got.err)
	}
}

// The server offers what the design names, and nothing older.
func TestAlgorithms(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key, raw := newKeyFile(t)
	f.bind(key.PublicKey(), alice)
	c := f.stock(key, raw)
	for option, ok := range map[string]bool{
		"KexAlgorithms=curve25519-sha256":             true,
		"KexAlgorithms=ecdh-sha2-nistp256":            false,
		"KexAlgorithms=diffie-hellman-group14-sha256": false,
		"Ciphers=aes128-gcm@openssh.com":              true,
		"Ciphers=aes256-gcm@openssh.com":              true,
		"Ciphers=chacha20-poly1305@openssh.com":       true,
		"Ciphers=aes256-ctr":                          true,
		"Ciphers=aes128-cbc":                          false,
		"MACs=hmac-sha2-256":                          false,
	} {
		args := []string{"-o", option, "root@db1@bastion", "true"}
		if strings.HasPrefix(option, "MACs") {
			args = append([]string{"-o", "Ciphers=aes256-ctr"}, args...)
		}
		if strings.HasPrefix(option, "Ciphers=aes256-ctr") {
			args = append([]string{"-o", "MACs=hmac-sha2-256-etm@openssh.com"}, args...)
		}
		args[len(args)-1] = "echo in"
		if got := c.run("", args...); (got.code == 0) != ok {
			t.Errorf("%s: %v", option, got)
		}
	}
}

// RSA keys that are too small to be safe or too large to be honest cannot sign.
func TestRSAKeySizes(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	for bits, ok := range map[string]bool{"1024": false, "2048": true} {
		path := filepath.Join(t.TempDir(), "id_rsa")
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "rsa", "-b", bits, "-N", "", "-f", path).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		c := f.stock(nil, nil)
		c.key = path
		c.more = []string{"RequiredRSASize 1024"}
		pub := readKey(t, path+".pub")
		f.bind(pub, alice)
		got := c.run("", "-o", "PreferredAuthentications=publickey", "root@db1@bastion", "echo in")
		if (got.code == 0) != ok {
			t.Errorf("%s bits: %v", bits, got)
		}
	}
}
