package bastion

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/bastion/upstream"
	"sallyport/policy"
)

// real is a front before Debian's own sshd, reached over the real upstream,
// and a stock client that can also go there directly.
type real struct {
	*front
	*stock
	host  *sshtest.OpenSSH
	login string
}

func startReal(t *testing.T) *real { return startRealWith(t, nil) }

// startRealWith also changes the front's configuration, and adds lines to
// sshd's.
func startRealWith(t *testing.T, change func(*Config), sshd ...string) *real {
	t.Helper()
	key, raw := newKeyFile(t)
	ca := sshtest.NewSigner(t)
	w := newFakeWorld(t)
	w.bind(key.PublicKey(), alice)
	host := sshtest.StartOpenSSH(t, sshtest.Options{
		UserCAs: []ssh.PublicKey{ca.PublicKey()}, AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}, AcceptEnv: []string{"LANG", "LC_*"},
		Config: append(sshd, "SetEnv HOME="+t.TempDir()), // the account's own start-up files are none of our business
	})
	w.targets = []policy.Target{{Name: "db1", Address: host.Addr, Logins: []policy.Login{policy.Login(host.Login)}, HostKeys: []string{sshtest.AuthorizedKey(host.HostKey)}}}
	dialer := &upstream.Dialer{Signer: func(_ context.Context, r upstream.Request) (ssh.Signer, error) {
		return sshtest.UserCertificate(t, ca, []string{string(r.Login)}, nil), nil
	}}
	f := startFront(t, w, func(c *Config) {
		c.Connect = func(ctx context.Context, r ConnectRequest) (Upstream, error) {
			return dialer.Connect(ctx, upstream.Request{Target: r.Target, Login: r.Login, User: r.User, Connection: r.Connection})
		}
		if change != nil {
			change(c)
		}
	})
	c := f.stock(key, raw)
	_, port, _ := net.SplitHostPort(host.Addr)
	c.write("known_hosts", c.read("known_hosts")+host.KnownHosts())
	c.more = append(c.more, "Host direct", "HostName 127.0.0.1", "Port "+port, "User "+host.Login, "Host through", "User "+host.Login, "HostName db1", "ProxyJump bastion")
	return &real{f, c, host, host.Login}
}

func (s *stock) read(name string) string {
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// ways are the direct one and the two through the bastion.
func (r *real) ways() map[string]string {
	return map[string]string{"LOGIN@TARGET@bastion": r.login + "@db1@bastion", "jump": "through"}
}

// What a session shows, and how it ends, is what a direct connection gives.
func TestSameAsDirect(t *testing.T) {
	r := startReal(t)
	for _, args := range [][]string{
		{"echo out; echo err >&2; exit 42"},
		{"kill -TERM $$"},
		{"kill -9 $$"},
		{"printf 'a\\000b\\377'; exit 0"},
		{"cat | wc -c"},
		{"exec 1>&-; cat; exit 5"},
		{"-tt", "stty -a; tty >/dev/null && echo terminal; exit 3"},
		{"-o", "SetEnv LC_TEST=x LANG=C", "echo $LC_TEST $LANG"},
		{"false"},
		{"no-such-command"},
	} {
		run := func(host string) result {
			at, input := args[:len(args)-1], strings.Repeat("input\n", 1000)
			if at := strings.Join(at, " "); at == "-tt" {
				input = "" // its echo comes at any time
			}
			return r.run(input, append(append([]string{}, at...), host, args[len(args)-1])...)
		}
		want := run("direct")
		for name, host := range r.ways() {
			got := run(host)
			got.err = withoutClosed(got.err)
			if w := (result{want.out, withoutClosed(want.err), want.code}); got != w {
				t.Errorf("%s %q:\n%v\ndirectly:\n%v", name, args, got, w)
			}
		}
	}
}

// withoutClosed drops the line that names the host.
func withoutClosed(s string) string {
	var keep []string
	for _, l := range strings.SplitAfter(s, "\n") {
		if !strings.HasPrefix(l, "Connection to ") {
			keep = append(keep, l)
		}
	}
	return strings.Join(keep, "")
}

// The size of the terminal, and its changes, arrive; ctrl-C interrupts.
func TestTerminalOnOpenSSH(t *testing.T) {
	r := startReal(t)
	for name, host := range r.ways() {
		t.Run(name, func(t *testing.T) {
			term, shown, wait := r.inTerminal("-tt", host, "stty size; trap 'stty size; exit 9' INT; echo ready; while :; do sleep 0.05; done")
			expect(t, shown, "24 80\r\nready")
			if err := ptySize(term, 50, 132); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
			term.WriteString("\x03")
			expect(t, shown, "50 132")
			if code := wait(); code != 9 {
				t.Errorf("exit %d\n%s", code, shown)
			}
		})
	}
}

// T11: files arrive byte-exact through sftp and both protocols of scp.
func TestT11FilesThroughOpenSSH(t *testing.T) {
	r := startReal(t)
	sshtest.Need(t, "scp")
	data := make([]byte, 3<<20+17)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(data)
	from := filepath.Join(r.dir, "from")
	if err := os.WriteFile(from, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{"-s", "-O"} {
		for name, host := range map[string]string{"jump": "through", "name": "named"} {
			there, back := filepath.Join(t.TempDir(), "there"), filepath.Join(t.TempDir(), "back")
			for _, step := range [][]string{{from, host + ":" + there}, {host + ":" + there, back}} {
				args := append([]string{protocol, "-q", "-F", r.configFile(), "-o", "Ciphers=aes128-gcm@openssh.com"}, step...)
				if host == "named" {
					args = append([]string{"-o", "User=" + r.login + "@db1", "-o", "HostName=127.0.0.1", "-P", fmt.Sprint(mustPort(t, r.front.addr))}, args...)
				}
				cmd := exec.Command("scp", args...)
				cmd.Env = append(os.Environ(), "HOME="+r.dir, "SSH_AUTH_SOCK=")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("scp %s %s: %v\n%s\n%s", protocol, name, err, out, r.front.log)
				}
			}
			got, err := os.ReadFile(back)
			if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
				t.Errorf("scp %s %s: %d bytes came back (%v)", protocol, name, len(got), err)
			}
		}
	}
	for _, e := range r.waitEntries(policy.EntrySessionEnd, 8) {
		if e.Detail["exit_status"] != "0" {
			t.Errorf("%+v", e)
		}
	}
}

// A target that goes away ends its sessions; the connection to the bastion
// stays, and the next session reaches the target again.
func TestTargetDisconnects(t *testing.T) {
	r := startReal(t)
	key := newKey(t)
	r.bind(key.PublicKey(), alice)
	c := r.mustDial(r.login+"@db1", key)
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut syncBuffer
	s.Stdout, s.Stderr = &out, &errOut
	if err := s.Start("echo here; sleep 60"); err != nil {
		t.Fatal(err)
	}
	waitForText(t, &out, &errOut, "here")
	r.host.Disconnect()
	var none bytes.Buffer
	if got := finish(t, s, &none, &none); got.code == 0 {
		t.Error(got)
	}
	if got := run(t, c, "echo again", nil); got.out != "again\n" {
		t.Error(got)
	}
	r.host.Stop()
	if got := run(t, c, "echo gone", nil); got.code != 1 || !strings.HasPrefix(got.err, "sallyport: db1 cannot be reached from the bastion") {
		t.Error(got)
	}
}

// A target whose host key is another than the registered one is not spoken to.
func TestHostKeyOfTargetChanged(t *testing.T) {
	r := startReal(t)
	other := sshtest.NewSigner(t)
	r.targets[0].HostKeys = []string{sshtest.AuthorizedKey(other.PublicKey())}
	got := r.run("", r.login+"@db1@bastion", "true")
	if got.code != 1 || strings.Count(got.err, "\n") != 1 || !strings.Contains(got.err, ssh.FingerprintSHA256(r.host.HostKey)) || !strings.Contains(got.err, ssh.FingerprintSHA256(other.PublicKey())) {
		t.Error(got)
	}
}

// A first sign-in over ssh -J happens on the outer connection, once.
func TestSignInWhileJumping(t *testing.T) {
	r := startReal(t)
	key, raw := newKeyFile(t)
	r.write("id", string(raw))
	r.write("id.pub", string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	go func() { r.nextSignIn().answer <- nil }()
	if got := r.run("", "through", "echo in"); got.out != "in\n" || got.code != 0 {
		t.Fatal(got)
	}
	if n := len(r.entriesOf(policy.EntrySignIn)); n != 1 {
		t.Errorf("%d sign-ins", n)
	}
}
