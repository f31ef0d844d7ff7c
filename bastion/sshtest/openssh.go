package sshtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// SSHD is the server that StartOpenSSH runs.
const SSHD = "/usr/sbin/sshd"

// Options describe a host. The zero value is a host that lets nobody in.
type Options struct {
	// HostKey is the private key of the host; a fresh ed25519 key if nil.
	HostKey any
	// HostCA, if set, signs a host certificate for HostNames, valid for
	// HostTTL (an hour if zero; negative means expired).
	HostCA    ssh.Signer
	HostNames []string
	HostTTL   time.Duration
	// UserCAs are the TrustedUserCAKeys.
	UserCAs []ssh.PublicKey
	// Principals, if not nil, are what AuthorizedPrincipalsFile lists for
	// every account. If nil the name of the account is the principal.
	Principals []string
	// AuthorizedKeys open every account without a certificate.
	AuthorizedKeys []ssh.PublicKey
	// AcceptEnv are patterns of variables that sessions may set.
	AcceptEnv []string
	// Config are more lines for sshd_config; the first of a keyword wins.
	// StartHost does not know it.
	Config []string
}

// OpenSSH is a running host of Debian's own sshd.
type OpenSSH struct {
	Addr    string        // 127.0.0.1:PORT
	Login   string        // the account that may log in: the one that runs the test
	HostKey ssh.PublicKey // the plain key
	Dir     string        // configuration and log

	t      testing.TB
	ln     net.Listener
	config string
	wg     sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	running map[*exec.Cmd]struct{} // guarded by mu
}

// StartOpenSSH runs Debian's sshd on a free port of loopback until the test
// ends. Each connection gets an sshd of its own in inetd mode (sshd -i), so no
// port has to be guessed. It skips the test when there is no sshd, unless
// SALLYPORT_TEST_REQUIRE=1.
func StartOpenSSH(t testing.TB, o Options) *OpenSSH {
	t.Helper()
	Need(t, SSHD)
	me, err := user.Current()
	if err != nil {
		t.Fatalf("current user: %v", err)
	}
	if os.Getuid() == 0 {
		// Debian's unit makes it; sshd refuses to start without it.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatalf("privilege separation directory: %v", err)
		}
	}
	h := &OpenSSH{t: t, Login: me.Username, Dir: t.TempDir(), running: map[*exec.Cmd]struct{}{}}
	h.HostKey = h.configure(o)
	h.ln, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	h.Addr = h.ln.Addr().String()
	h.wg.Add(1)
	go h.accept()
	t.Cleanup(func() {
		h.Stop()
		if t.Failed() {
			t.Logf("sshd at %s:\n%s", h.Addr, h.Log())
		}
	})
	return h
}

// Need skips the test when a program is missing, or fails it when
// SALLYPORT_TEST_REQUIRE=1. It returns the program's path.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil && os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
		t.Fatalf("%s is needed: %v", program, err)
	}
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}

// configure writes the files of the host and returns its plain host key.
func (h *OpenSSH) configure(o Options) ssh.PublicKey {
	h.t.Helper()
	signer, pemBytes := hostKey(h.t, o.HostKey)
	h.config = filepath.Join(h.Dir, "sshd_config")
	lines := append([]string{}, o.Config...)
	lines = append(lines,
		"HostKey "+h.write("host_key", 0o600, string(pemBytes)),
		"PidFile none", "UsePAM no", "StrictModes no", "PermitRootLogin yes",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"PrintMotd no", "PrintLastLog no", "UseDNS no", "LogLevel VERBOSE",
		"LoginGraceTime 20", "Subsystem sftp internal-sftp",
	)
	if o.HostCA != nil {
		cert := hostCertificate(h.t, signer.PublicKey(), o)
		lines = append(lines, "HostCertificate "+h.write("host_key-cert.pub", 0o644, string(ssh.MarshalAuthorizedKey(cert))))
	}
	if o.UserCAs != nil {
		lines = append(lines, "TrustedUserCAKeys "+h.write("user_ca.pub", 0o644, authorizedKeys(o.UserCAs)))
	}
	if o.Principals != nil {
		lines = append(lines, "AuthorizedPrincipalsFile "+h.write("principals", 0o644, strings.Join(o.Principals, "\n")+"\n"))
	}
	lines = append(lines, "AuthorizedKeysFile "+h.write("authorized_keys", 0o644, authorizedKeys(o.AuthorizedKeys)))
	if len(o.AcceptEnv) > 0 {
		lines = append(lines, "AcceptEnv "+strings.Join(o.AcceptEnv, " "))
	}
	h.write("sshd_config", 0o644, strings.Join(lines, "\n")+"\n")
	if out, err := exec.Command(SSHD, "-t", "-f", h.config).CombinedOutput(); err != nil {
		h.t.Fatalf("sshd_config: %v\n%s", err, out)
	}
	return signer.PublicKey()
}

func (h *OpenSSH) write(name string, mode os.FileMode, content string) string {
	h.t.Helper()
	path := filepath.Join(h.Dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// accept hands every connection to an sshd of its own, until Stop.
func (h *OpenSSH) accept() {
	defer h.wg.Done()
	for {
		c, err := h.ln.Accept()
		if err != nil {
			return
		}
		h.serve(c.(*net.TCPConn))
	}
}

func (h *OpenSSH) serve(c *net.TCPConn) {
	defer c.Close()
	f, err := c.File()
	if err != nil {
		return
	}
	defer f.Close()
	cmd := exec.Command(SSHD, "-i", "-f", h.config, "-E", filepath.Join(h.Dir, "log"))
	cmd.Stdin, cmd.Stdout = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	if err := cmd.Start(); err != nil {
		return
	}
	h.running[cmd] = struct{}{}
	h.wg.Add(1)
	go func() {
		defer h.wg.Done()
		h.reap(cmd)
	}()
}

// reap waits for one sshd. The group is known by its leader's pid, so the pid
// must not be free for another process while Disconnect may still use it:
// waitid leaves it in place until it is off the list.
func (h *OpenSSH) reap(cmd *exec.Cmd) {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	h.mu.Lock()
	delete(h.running, cmd)
	h.mu.Unlock()
	cmd.Wait()
}

// Stop ends the host and its connections: the address refuses from then on.
// The end of the test does it too.
func (h *OpenSSH) Stop() {
	h.mu.Lock()
	h.stopped = true
	h.mu.Unlock()
	h.ln.Close()
	h.Disconnect()
	h.wg.Wait()
}

// Disconnect kills the connections that are open, as a crash would.
func (h *OpenSSH) Disconnect() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for cmd := range h.running {
		// Ours alone: Start made the group, and its leader is not reaped
		// before mu is free.
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}

// Connections returns how many connections the host has open.
func (h *OpenSSH) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.running)
}

// Log returns what the sshds have logged (LogLevel VERBOSE).
func (h *OpenSSH) Log() string {
	b, err := os.ReadFile(filepath.Join(h.Dir, "log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(b)
}

// WaitLog waits until the log contains text, and fails the test after ten
// seconds: sshd logs the end of a connection after the client has gone.
func (h *OpenSSH) WaitLog(text string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Second)
	defer cancel()
	for !strings.Contains(h.Log(), text) {
		select {
		case <-ctx.Done():
			h.t.Fatalf("sshd never logged %q:\n%s", text, h.Log())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// KnownHosts returns a known_hosts line for the host's plain key.
func (h *OpenSSH) KnownHosts() string { return knownHosts(h.Addr, h.HostKey) }

func knownHosts(addr string, key ssh.PublicKey) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(key))
}
