package sshtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	gliderlabs "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// Host is an SSH host inside the test's own process, with a real shell on a
// real PTY. Unlike sshd it needs no root and starts at once; unlike sshd it
// ignores terminal modes and rewrites line ends (what gliderlabs/ssh does), so
// tests about exact bytes use StartOpenSSH.
type Host struct {
	Addr    string
	HostKey ssh.PublicKey // the plain key

	server *gliderlabs.Server
	done   chan struct{}
	mu     sync.Mutex
	certs  []string // key ids that were accepted, guarded by mu
	live   sync.WaitGroup
	ctx    context.Context // ends the sessions
	cancel context.CancelFunc
}

// StartHost runs a Host on a free port of loopback until the test ends. It lets
// in any account name: what its credential names decides.
func StartHost(t testing.TB, o Options) *Host {
	t.Helper()
	signer, _ := hostKey(t, o.HostKey)
	h := &Host{HostKey: signer.PublicKey(), done: make(chan struct{})}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.server = &gliderlabs.Server{
		Handler:          h.session,
		PublicKeyHandler: h.authorizer(o),
		HostSigners:      []gliderlabs.Signer{signer},
		SubsystemHandlers: map[string]gliderlabs.SubsystemHandler{
			"cat": func(s gliderlabs.Session) { io.Copy(s, s) },
		},
	}
	if o.HostCA != nil {
		cert, err := ssh.NewCertSigner(hostCertificate(t, signer.PublicKey(), o), signer)
		if err != nil {
			t.Fatal(err)
		}
		h.server.HostSigners = append(h.server.HostSigners, cert)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	h.Addr = ln.Addr().String()
	go func() {
		defer close(h.done)
		h.server.Serve(ln)
	}()
	t.Cleanup(h.Stop)
	return h
}

// Stop ends the host, its connections and the shells. The end of the test does
// it too.
func (h *Host) Stop() {
	h.mu.Lock()
	h.cancel()
	h.mu.Unlock()
	h.server.Close()
	<-h.done
	h.live.Wait()
}

// KeyIDs returns the key ids of the certificates that opened connections.
func (h *Host) KeyIDs() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.certs...)
}

// KnownHosts returns a known_hosts line for the host's plain key.
func (h *Host) KnownHosts() string { return knownHosts(h.Addr, h.HostKey) }

// authorizer judges keys and certificates as sshd does with the same options.
func (h *Host) authorizer(o Options) gliderlabs.PublicKeyHandler {
	isCA := func(key ssh.PublicKey) bool { return has(o.UserCAs, key) }
	checker := ssh.CertChecker{IsUserAuthority: isCA, SupportedCriticalOptions: []string{"source-address"}}
	return func(ctx gliderlabs.Context, key gliderlabs.PublicKey) bool {
		cert, ok := key.(*ssh.Certificate)
		if !ok {
			return has(o.AuthorizedKeys, key)
		}
		if cert.CertType != ssh.UserCert || !isCA(cert.SignatureKey) || len(cert.ValidPrincipals) == 0 {
			return false
		}
		want := o.Principals
		if want == nil {
			want = []string{ctx.User()}
		}
		for _, p := range want {
			if checker.CheckCert(p, cert) == nil {
				h.mu.Lock()
				h.certs = append(h.certs, cert.KeyId)
				h.mu.Unlock()
				return true
			}
		}
		return false
	}
}

func has(keys []ssh.PublicKey, key ssh.PublicKey) bool {
	for _, k := range keys {
		if bytes.Equal(k.Marshal(), key.Marshal()) {
			return true
		}
	}
	return false
}

// session runs one shell or command.
func (h *Host) session(s gliderlabs.Session) {
	h.mu.Lock() // so that no session begins once Stop waits
	if h.ctx.Err() != nil {
		h.mu.Unlock()
		return
	}
	h.live.Add(1)
	h.mu.Unlock()
	defer h.live.Done()
	cmd := exec.CommandContext(h.ctx, "/bin/sh", "-i")
	if line := s.RawCommand(); line != "" {
		cmd = exec.CommandContext(h.ctx, "/bin/sh", "-c", line)
	}
	cmd.Env = append(os.Environ(), s.Environ()...)
	cmd.Env = append(cmd.Env, "PS1=$ ", "USER="+s.User())
	var err error
	if p, sizes, ok := s.Pty(); ok {
		cmd.Env = append(cmd.Env, "TERM="+p.Term)
		err = onTerminal(s, cmd, p.Window, sizes)
	} else {
		err = onPipes(s, cmd)
	}
	exitAs(s, err)
}

func onTerminal(s gliderlabs.Session, cmd *exec.Cmd, size gliderlabs.Window, sizes <-chan gliderlabs.Window) error {
	f, err := pty.StartWithSize(cmd, winsize(size))
	if err != nil {
		return err
	}
	var mu sync.Mutex // held while f is resized or closed
	over := false
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		f.Close()
	}()
	defer relaySignals(s, cmd)()
	go func() { // ends when the channel is closed
		for w := range sizes {
			mu.Lock()
			if !over {
				pty.Setsize(f, winsize(w))
			}
			mu.Unlock()
		}
		cmd.Process.Signal(syscall.SIGHUP)
	}()
	go func() { // ends with the client's EOF or the channel
		io.Copy(f, s)
		f.Write([]byte{4})
	}()
	io.Copy(s, f) // EIO once the last process has closed the terminal
	return cmd.Wait()
}

func winsize(w gliderlabs.Window) *pty.Winsize {
	return &pty.Winsize{Cols: uint16(w.Width), Rows: uint16(w.Height)}
}

func onPipes(s gliderlabs.Session, cmd *exec.Cmd) error {
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = s, s.Stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	defer relaySignals(s, cmd)()
	go func() { // ends with the client's EOF or the channel
		io.Copy(in, s)
		in.Close()
	}()
	return cmd.Wait()
}

// relaySignals passes the client's signals on until the returned stop.
func relaySignals(s gliderlabs.Session, cmd *exec.Cmd) (stop func()) {
	signals := make(chan gliderlabs.Signal, 16)
	quit := make(chan struct{})
	s.Signals(signals)
	go func() {
		for {
			select {
			case sig := <-signals:
				if n, ok := signalNumbers[sig]; ok {
					cmd.Process.Signal(n)
				}
			case <-quit:
				return
			}
		}
	}()
	return func() { s.Signals(nil); close(quit) }
}

var signalNumbers = map[gliderlabs.Signal]syscall.Signal{
	gliderlabs.SIGABRT: syscall.SIGABRT, gliderlabs.SIGALRM: syscall.SIGALRM,
	gliderlabs.SIGHUP: syscall.SIGHUP, gliderlabs.SIGINT: syscall.SIGINT,
	gliderlabs.SIGKILL: syscall.SIGKILL, gliderlabs.SIGQUIT: syscall.SIGQUIT,
	gliderlabs.SIGTERM: syscall.SIGTERM, gliderlabs.SIGUSR1: syscall.SIGUSR1,
	gliderlabs.SIGUSR2: syscall.SIGUSR2,
}

// exitAs reports how the command ended (RFC 4254, section 6.10).
func exitAs(s gliderlabs.Session, err error) {
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		code := 0
		if err != nil {
			code = 127
		}
		s.Exit(code)
		return
	}
	status, _ := failed.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		s.Exit(failed.ExitCode())
		return
	}
	name := "KILL"
	for sig, n := range signalNumbers {
		if n == status.Signal() {
			name = string(sig)
		}
	}
	s.SendRequest("exit-signal", false, ssh.Marshal(struct {
		Signal     string
		CoreDumped bool
		Message    string
		Language   string
	}{name, status.CoreDump(), "", ""}))
	s.Close()
}
