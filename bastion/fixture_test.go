package bastion

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// front is a running Server.
type front struct {
	*fakeWorld
	addr string
	log  *syncBuffer
	stop func() // ends the server and waits for it
}

// syncBuffer is a buffer that several goroutines write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// startFront serves w on loopback until the test ends. change may be nil.
func startFront(t testing.TB, w *fakeWorld, change func(*Config)) *front {
	t.Helper()
	f := &front{fakeWorld: w, log: &syncBuffer{}}
	cfg := w.config()
	cfg.Log = slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if change != nil {
		change(&cfg)
	}
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	f.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Serve does not end")
		}
		if t.Failed() {
			text := f.log.String()
			t.Logf("log of the server:\n%s", text[max(0, len(text)-8000):])
		}
	})
	t.Cleanup(f.stop)
	return f
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// dial connects with x/crypto's client.
func (f *front) dial(user string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", f.addr, &ssh.ClientConfig{User: user, Auth: auth, HostKeyCallback: ssh.FixedHostKey(f.hostKey.PublicKey()), Timeout: 5 * time.Second})
}

func (f *front) mustDial(user string, key ssh.Signer) *ssh.Client {
	f.t.Helper()
	c, err := f.dial(user, ssh.PublicKeys(key))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c
}

// result is what a command left.
type result struct {
	out, err string
	code     int
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\nstdout: %q\nstderr: %q", r.code, r.out, r.err)
}

// run runs a command on c; an empty one asks for a shell.
func run(t testing.TB, c *ssh.Client, command string, prepare func(*ssh.Session)) result {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out, errOut bytes.Buffer
	s.Stdout, s.Stderr = &out, &errOut
	if prepare != nil {
		prepare(s)
	}
	if command == "" {
		err = s.Shell()
	} else {
		err = s.Start(command)
	}
	if err != nil {
		t.Fatal(err)
	}
	return finish(t, s, &out, &errOut)
}

// finish waits for s, not for ever.
func finish(t testing.TB, s *ssh.Session, out, errOut *bytes.Buffer) result {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.Wait() }()
	select {
	case err := <-done:
		r := result{out.String(), errOut.String(), 0}
		var exit *ssh.ExitError
		switch {
		case errors.As(err, &exit):
			r.code = exit.ExitStatus()
		case err != nil:
			r.code = -1
		}
		return r
	case <-time.After(10 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("the session does not end:\n%s", buf[:runtime.Stack(buf, true)])
		return result{}
	}
}

// stock is the OpenSSH client with a directory of its own.
type stock struct {
	t    testing.TB
	f    *front
	dir  string
	key  string // identity file; empty for a client without keys
	more []string
}

func (f *front) stock(key ssh.Signer, raw []byte) *stock {
	f.t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			f.t.Fatal("ssh is missing")
		}
		f.t.Skip("ssh is missing")
	}
	s := &stock{t: f.t, f: f, dir: f.t.TempDir()}
	_, port, _ := net.SplitHostPort(f.addr)
	host := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(f.hostKey.PublicKey())))
	s.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%s %s\ndb1 %s\nweb1 %s\n", port, host, host, host))
	if raw != nil {
		s.key = s.write("id", string(raw))
		s.write("id.pub", string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	}
	return s
}

func (s *stock) write(name, content string) string {
	path := filepath.Join(s.dir, name)
	f, err := os.CreateTemp(s.dir, name) // clients that run may be reading it
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Close(), os.Rename(f.Name(), path)); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// configFile writes a client configuration for the bastion as host "bastion".
func (s *stock) configFile() string {
	_, port, _ := net.SplitHostPort(s.f.addr)
	common := "UserKnownHostsFile " + s.dir + "/known_hosts\nStrictHostKeyChecking yes\nGlobalKnownHostsFile /dev/null\n" +
		"IdentityAgent none\nIdentitiesOnly yes\nPasswordAuthentication no\nLogLevel INFO\nConnectTimeout 10\n"
	if s.key != "" {
		common += "IdentityFile " + s.key + "\n"
	} else {
		common += "IdentityFile none\n"
	}
	return s.write("config", "Host bastion\nHostName 127.0.0.1\nPort "+port+"\n"+strings.Join(s.more, "\n")+"\nHost *\n"+common)
}

func (s *stock) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ssh", append([]string{"-F", s.configFile()}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "SSH_AUTH_SOCK=", "SSH_ASKPASS=", "DISPLAY=")
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs ssh to its end.
func (s *stock) run(stdin string, args ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := s.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// newKeyFile returns a key and its private half as OpenSSH keeps it.
func newKeyFile(t testing.TB) (ssh.Signer, []byte) {
	t.Helper()
	priv := newPrivateKey(t)
	block, err := ssh.MarshalPrivateKey(priv, "test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s, pem.EncodeToMemory(block)
}

func mustPort(t testing.TB, addr string) int {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func readKey(t testing.TB, path string) ssh.PublicKey {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
