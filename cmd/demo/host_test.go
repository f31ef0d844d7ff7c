package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
)

// scene is a demo host, its authorities, and a folder with a client's files.
type scene struct {
	t       *testing.T
	dir     string
	addr    string
	userCA  ssh.Signer
	other   ssh.Signer
	key     ssh.PublicKey
	options []string // of the stock client
}

func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatalf("%s is missing", program)
		}
		t.Skipf("%s is missing", program)
	}
}

func newSigner(t *testing.T) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s, priv
}

func certify(t *testing.T, ca ssh.Signer, c *ssh.Certificate) *ssh.Certificate {
	t.Helper()
	if err := c.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	return c
}

func newScene(t *testing.T) *scene {
	need(t, "ssh")
	s := &scene{t: t, dir: t.TempDir()}
	s.userCA, _ = newSigner(t)
	s.other, _ = newSigner(t)
	hostCA, _ := newSigner(t)
	hostKey, _ := newSigner(t)
	hostCert := certify(t, hostCA, &ssh.Certificate{Key: hostKey.PublicKey(), CertType: ssh.HostCert,
		ValidPrincipals: []string{"demo-host"}, ValidBefore: uint64(time.Now().Add(time.Hour).Unix())})
	signer, err := ssh.NewCertSigner(hostCert, hostKey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	h := &host{name: "demo-host", logins: []string{"demo"}, home: s.dir, userCA: s.userCA.PublicKey(), key: signer, log: slog.New(slog.DiscardHandler)}
	srv := h.server()
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })

	user, priv := newSigner(t)
	s.key = user.PublicKey()
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	s.write("id", pem.EncodeToMemory(block), 0o600)
	s.write("id.pub", ssh.MarshalAuthorizedKey(s.key), 0o644)
	s.write("known_hosts", []byte("@cert-authority demo-host "+string(ssh.MarshalAuthorizedKey(hostCA.PublicKey()))), 0o644)
	_, port, _ := net.SplitHostPort(s.addr)
	s.options = []string{"-F", "/dev/null", "-p", port, "-o", "HostKeyAlias=demo-host", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile=" + s.path("known_hosts"), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-i", s.path("id")}
	s.present(s.good())
	return s
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scene) write(name string, b []byte, mode os.FileMode) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), b, mode); err != nil {
		s.t.Fatal(err)
	}
}

// good is the certificate that the host accepts.
func (s *scene) good() *ssh.Certificate {
	return &ssh.Certificate{Key: s.key, CertType: ssh.UserCert, KeyId: "test", ValidPrincipals: []string{"demo"},
		ValidAfter: uint64(time.Now().Add(-time.Minute).Unix()), ValidBefore: uint64(time.Now().Add(time.Minute).Unix()),
		Permissions: ssh.Permissions{CriticalOptions: map[string]string{"source-address": "127.0.0.0/8"}}}
}

// present signs c and makes it the client's.
func (s *scene) present(c *ssh.Certificate) {
	s.t.Helper()
	s.write("id-cert.pub", ssh.MarshalAuthorizedKey(certify(s.t, s.userCA, c)), 0o644)
}

// ssh runs the stock client and returns standard output, standard error and the
// exit code.
func (s *scene) ssh(stdin string, args ...string) (string, string, int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", append(append([]string{}, s.options...), args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func TestHostTakesOnlyItsCertificates(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if out, errOut, code := s.ssh("", "demo@127.0.0.1", "echo in"); out != "in\n" || code != 0 {
		t.Fatalf("the right certificate: %q %q %d", out, errOut, code)
	}
	for name, change := range map[string]func(c *ssh.Certificate){
		"another login":  func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root"} },
		"no principals":  func(c *ssh.Certificate) { c.ValidPrincipals = nil },
		"expired":        func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Add(-time.Second).Unix()) },
		"for ever":       func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity },
		"a host's":       func(c *ssh.Certificate) { c.CertType = ssh.HostCert },
		"other address":  func(c *ssh.Certificate) { c.CriticalOptions["source-address"] = "192.0.2.1" },
		"unknown option": func(c *ssh.Certificate) { c.CriticalOptions["verify-required"] = "" },
	} {
		c := s.good()
		change(c)
		s.present(c)
		if out, _, code := s.ssh("", "demo@127.0.0.1", "echo in"); code != 255 || out != "" {
			t.Errorf("%s: %q %d", name, out, code)
		}
	}
	s.userCA = s.other
	s.present(s.good())
	if _, _, code := s.ssh("", "demo@127.0.0.1", "echo in"); code != 255 {
		t.Error("a certificate of another authority was accepted")
	}
	if err := os.Remove(s.path("id-cert.pub")); err != nil {
		t.Fatal(err)
	}
	if _, _, code := s.ssh("", "demo@127.0.0.1", "echo in"); code != 255 {
		t.Error("a plain key was accepted")
	}
}

func TestHostExec(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	out, errOut, code := s.ssh("", "demo@127.0.0.1", "echo to out; echo to err >&2; exit 7")
	if out != "to out\n" || errOut != "to err\n" || code != 7 {
		t.Errorf("got %q %q %d", out, errOut, code)
	}
	if out, _, code := s.ssh("a\r\n\xff\x00b", "demo@127.0.0.1", "cat"); out != "a\r\n\xff\x00b" || code != 0 {
		t.Errorf("cat: %q %d", out, code)
	}
	if _, _, code := s.ssh("", "demo@127.0.0.1", "kill -TERM $$"); code != 255 {
		t.Errorf("the client maps an exit signal to 255, got %d", code)
	}
	start := time.Now()
	if out, _, code := s.ssh("", "demo@127.0.0.1", "sleep 30 & echo done; exit 3"); out != "done\n" || code != 3 || time.Since(start) > 10*time.Second {
		t.Errorf("with a child left behind: %q %d after %s", out, code, time.Since(start))
	}
	if out, _, code := s.ssh("", "-o", "SetEnv=LC_DEMO=x LD_PRELOAD=y", "demo@127.0.0.1", "echo $LC_DEMO$LD_PRELOAD$USER"); out != "xdemo\n" || code != 0 {
		t.Errorf("the environment: %q %d", out, code)
	}
}

func TestHostSFTP(t *testing.T) {
	t.Parallel()
	need(t, "sftp")
	if _, err := os.Stat(sftpServer); err != nil {
		need(t, sftpServer)
	}
	s := newScene(t)
	want := strings.Repeat("0123456789", 50_000)
	s.write("up", []byte(want), 0o644)
	args := append([]string{"-b", "-"}, s.options...)
	for i, a := range args {
		if a == "-p" {
			args[i] = "-P"
		}
	}
	cmd := exec.CommandContext(t.Context(), "sftp", append(args, "demo@127.0.0.1")...)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("put %s %s\nget %s %s\n", s.path("up"), s.path("there"), s.path("there"), s.path("back")))
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if got, _ := os.ReadFile(s.path("back")); string(got) != want {
		t.Errorf("%d bytes came back", len(got))
	}
}

// TestHostTerminal drives the stock client on a terminal of a given size and
// mode, resizes it, and compares what arrives.
func TestHostTerminal(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	args := append(append([]string{}, s.options...), "-tt", "demo@127.0.0.1", "sh")
	sh := exec.CommandContext(ctx, "sh", "-c", `stty intr ^X -ixon; exec "$0" "$@"`, "ssh")
	sh.Args = append(sh.Args, args...)
	sh.Env = append(os.Environ(), "TERM=xterm-256color", "PS1=$ ")
	term, err := pty.StartWithSize(sh, &pty.Winsize{Cols: 97, Rows: 31})
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	e := newExpect(term)
	wait := func(want string) {
		t.Helper()
		if err := e.wait(ctx, want); err != nil {
			t.Fatal(err)
		}
	}
	say := func(line string) { fmt.Fprint(term, line+"\r") }
	say("stty -a; stty size; echo $TERM end-$((1+1))")
	wait("end-2")
	for _, want := range []string{"intr = ^X", "-ixon", "31 97", "xterm-256color"} {
		if !strings.Contains(e.text(), want) {
			t.Errorf("no %q in %q", want, e.text())
		}
	}
	if err := pty.Setsize(term, &pty.Winsize{Cols: 120, Rows: 40}); err != nil {
		t.Fatal(err)
	}
	for range 50 { // the client sends the change when it gets the signal
		say("stty size; echo end-$((2+1))")
		wait("end-3")
		if strings.Contains(e.text(), "40 120") {
			break
		}
	}
	if !strings.Contains(e.text(), "40 120") {
		t.Error("the terminal was not resized")
	}
	say("stty raw; printf 'a\\nb' ; stty sane; echo end-$((3+1))")
	wait("a\nb")
	wait("end-4")
	say("exit 5")
	err = sh.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("ended with %v", err)
	}
}
