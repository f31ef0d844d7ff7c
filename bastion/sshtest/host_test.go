package sshtest_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
)

// dial logs in to addr and returns the client, or the error.
func dial(t *testing.T, addr, login string, key ssh.Signer) (*ssh.Client, error) {
	t.Helper()
	c, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User: login, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 10 * time.Second,
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// host is what both kinds have in common.
type host struct {
	addr, login string
	stop        func()
}

func eachHost(t *testing.T, o sshtest.Options, f func(*testing.T, host)) {
	t.Run("sshd", func(t *testing.T) {
		h := sshtest.StartOpenSSH(t, o)
		f(t, host{h.Addr, h.Login, h.Stop})
	})
	t.Run("in process", func(t *testing.T) {
		h := sshtest.StartHost(t, o)
		f(t, host{h.Addr, "someone", h.Stop})
	})
}

func TestCertificatesOpenHosts(t *testing.T) {
	ca, other := sshtest.NewSigner(t), sshtest.NewSigner(t)
	key := sshtest.NewSigner(t)
	o := sshtest.Options{
		UserCAs:        []ssh.PublicKey{ca.PublicKey()},
		Principals:     []string{"dba"},
		AuthorizedKeys: []ssh.PublicKey{key.PublicKey()},
	}
	eachHost(t, o, func(t *testing.T, h host) {
		for _, c := range []struct {
			name string
			key  ssh.Signer
			ok   bool
		}{
			{"right", sshtest.UserCertificate(t, ca, []string{"dba"}, nil), true},
			{"plain key", key, true},
			{"wrong principal", sshtest.UserCertificate(t, ca, []string{"root"}, nil), false},
			{"no principal", sshtest.UserCertificate(t, ca, nil, nil), false},
			{"wrong CA", sshtest.UserCertificate(t, other, []string{"dba"}, nil), false},
			{"unknown key", sshtest.NewSigner(t), false},
			{"expired", sshtest.UserCertificate(t, ca, []string{"dba"}, func(c *ssh.Certificate) { c.ValidBefore = c.ValidAfter + 1 }), false},
		} {
			if _, err := dial(t, h.addr, h.login, c.key); (err == nil) != c.ok {
				t.Errorf("%s: err = %v, want success %v", c.name, err, c.ok)
			}
		}
	})
}

func TestHostsRunCommands(t *testing.T) {
	key := sshtest.NewSigner(t)
	o := sshtest.Options{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}, AcceptEnv: []string{"LC_*"}}
	eachHost(t, o, func(t *testing.T, h host) {
		c, err := dial(t, h.addr, h.login, key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		s.Stdin, s.Stdout, s.Stderr = strings.NewReader("in"), &out, &errs
		s.Setenv("LC_SALLYPORT", "env")
		err = s.Run(`cat; echo " $LC_SALLYPORT"; echo err >&2; exit 7`)
		var exit *ssh.ExitError
		if !errors.As(err, &exit) || exit.ExitStatus() != 7 {
			t.Errorf("exit: %v, want status 7", err)
		}
		if out.String() != "in env\n" || errs.String() != "err\n" {
			t.Errorf("stdout %q, stderr %q", &out, &errs)
		}
		s, err = c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(`kill -TERM $$`); !errors.As(err, &exit) || exit.Signal() != "TERM" {
			t.Errorf("exit: %v, want signal TERM", err)
		}
	})
}

func TestHostsHaveTerminals(t *testing.T) {
	key := sshtest.NewSigner(t)
	o := sshtest.Options{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}}
	eachHost(t, o, func(t *testing.T, h host) {
		c, err := dial(t, h.addr, h.login, key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RequestPty("xterm", 31, 97, nil); err != nil {
			t.Fatal(err)
		}
		out, err := s.Output("stty size; tty; echo $TERM")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), "31 97") || !strings.Contains(string(out), "/dev/pts/") || !strings.Contains(string(out), "xterm") {
			t.Errorf("output %q", out)
		}
	})
}

func TestStopEndsSessions(t *testing.T) {
	key := sshtest.NewSigner(t)
	o := sshtest.Options{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}}
	eachHost(t, o, func(t *testing.T, h host) {
		c, err := dial(t, h.addr, h.login, key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start("exec cat"); err != nil {
			t.Fatal(err)
		}
		h.stop()
		if err := s.Wait(); err == nil {
			t.Error("the session outlived its host")
		}
		if c, err := net.DialTimeout("tcp", h.addr, time.Second); err == nil {
			c.Close()
			t.Error("the address still accepts")
		}
	})
}

func TestHostCertificateSatisfiesStockClient(t *testing.T) {
	sshtest.Need(t, "ssh")
	ca, key := sshtest.NewSigner(t), sshtest.NewKey(t)
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	o := sshtest.Options{HostCA: ca, HostNames: []string{"db1"}, AuthorizedKeys: []ssh.PublicKey{signer.PublicKey()}}
	eachHost(t, o, func(t *testing.T, h host) {
		dir := t.TempDir()
		known := filepath.Join(dir, "known_hosts")
		line := "@cert-authority db1 " + sshtest.AuthorizedKey(ca.PublicKey()) + "\n"
		if err := os.WriteFile(known, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		id := sshtest.WriteKey(t, dir, "id", key)
		_, port, _ := net.SplitHostPort(h.addr)
		out, err := exec.Command("ssh", "-F", "none", "-i", id, "-p", port, "-l", h.login,
			"-o", "UserKnownHostsFile="+known, "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes",
			"-o", "HostKeyAlias=db1", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
			"127.0.0.1", "echo hello").CombinedOutput()
		if err != nil || string(out) != "hello\n" {
			t.Errorf("ssh: %v, output %q", err, out)
		}
	})
}
