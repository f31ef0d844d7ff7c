package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/certs"
	"sallyport/policy"
)

// tmux is a terminal of one test, on a server of its own.
type tmux struct {
	t      *testing.T
	socket string
}

func newTmux(t *testing.T) *tmux {
	t.Helper()
	sshtest.Need(t, "tmux")
	m := &tmux{t: t, socket: filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", m.socket, "kill-server").Run() })
	return m
}

func (m *tmux) do(args ...string) string {
	m.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-u", "-S", m.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("tmux %q: %v %s", args, err, out)
	}
	return string(out)
}

// open starts a command in a window of 90 by 30.
func (m *tmux) open(name, command string) {
	m.t.Helper()
	m.do("new-session", "-d", "-s", name, "-x", "90", "-y", "30", command+"; sleep 60")
}

func (m *tmux) screen(name string) string { return m.do("capture-pane", "-p", "-e", "-t", name) }

// wait returns the screen once it shows text and has stopped changing.
func (m *tmux) wait(name, text string) string {
	return m.waitWithout(name, text, "\x00")
}

// waitWithout is wait for a screen that does not show other.
func (m *tmux) waitWithout(name, text, other string) string {
	m.t.Helper()
	last := ""
	waitFor(m.t, fmt.Sprintf("%q in %s", text, name), func() bool {
		time.Sleep(150 * time.Millisecond) // two looks that far apart see the same
		now := m.screen(name)
		same := now == last && strings.Contains(now, text) && !strings.Contains(now, other)
		last = now
		return same
	})
	return last
}

// TestVimLooksAsIfConnectedDirectly drives vim and stty through the bastion and
// directly, and compares every cell, attributes included: on Debian's sshd, and
// on the demo's host.
func TestVimLooksAsIfConnectedDirectly(t *testing.T) {
	sshtest.Need(t, "vim")
	t.Run("sshd", func(t *testing.T) {
		n := newNode(t, nodeOptions{})
		own := sshtest.NewKey(t)
		key := sshtest.WriteKey(t, n.dir, "direct", own)
		signer, err := ssh.NewSignerFromKey(own)
		if err != nil {
			t.Fatal(err)
		}
		host := sshtest.StartOpenSSH(t, sshtest.Options{UserCAs: []ssh.PublicKey{n.targetCA()}, AuthorizedKeys: []ssh.PublicKey{signer.PublicKey()}})
		n.target(host.Addr, host.Login, host.HostKey)
		n.start()
		n.write("direct_hosts", host.KnownHosts())
		compareVim(t, map[string]string{
			"bastion": fmt.Sprintf("ssh -q -F %s -t %s@t1@bastion", n.path("ssh_config"), host.Login),
			"jump":    fmt.Sprintf("ssh -q -F %s -t %s@t1", n.path("ssh_config"), host.Login),
			"direct":  directly(host.Addr, host.Login, key, "UserKnownHostsFile="+n.path("direct_hosts")),
		})
	})
	t.Run("demo host", func(t *testing.T) {
		d := startDemo(t)
		alice, direct := mint(t, d)
		config := strings.ReplaceAll(d.config(t), filepath.Join(d.dir, "id_ed25519"), alice)
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		compareVim(t, map[string]string{
			"bastion": "ssh -q -F " + file + " -t demo@demo-host@demo-bastion",
			"jump":    "ssh -q -F " + file + " -t -J demo-bastion demo@demo-host",
			"direct":  directly(d.hostAddr(t), "demo", direct, "CertificateFile="+direct+"-cert.pub", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"),
		})
	})
}

func directly(addr, login, key string, options ...string) string {
	host, port, _ := strings.Cut(addr, ":")
	return fmt.Sprintf("ssh -q -F none -i %s -o IdentitiesOnly=yes -o IdentityAgent=none -o %s -p %s -t %s@%s", key, strings.Join(options, " -o "), port, login, host)
}

// mint makes, with the demo's own authorities, what a sign-in of alice would
// give her, and what the bastion shows to the demo's host: two key files with
// a certificate beside each.
func mint(t *testing.T, d demoFile) (alice, direct string) {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	cas, err := certs.LoadOrCreate(dataDir(d.DataDir).cas())
	if err != nil {
		t.Fatal(err)
	}
	issuer := &certs.Issuer{CAs: cas, Serial: certs.RandomSerial}
	user := policy.User{Issuer: d.Issuer, Subject: "alice"}
	private := sshtest.NewKey(t)
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := issuer.User(ctx, signer.PublicKey(), user, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	alice = writeCertified(t, dir, "alice", private, cert)
	// The one for a target is made with its key; x/crypto shows no private
	// half, so the target CA signs one of ours through its file.
	ca := filepath.Join(d.DataDir, "ca", "target_ca")
	direct = sshtest.WriteKey(t, dir, "direct", sshtest.NewKey(t))
	if out, err := exec.Command("sh", "-c", fmt.Sprintf("ssh-keygen -y -f %s >%s.pub && ssh-keygen -q -s %s -I direct -n demo -V +1h %s.pub", direct, direct, ca, direct)).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	return alice, direct
}

func writeCertified(t *testing.T, dir, name string, key any, cert *ssh.Certificate) string {
	t.Helper()
	file := sshtest.WriteKey(t, dir, name, key)
	if err := os.WriteFile(file+"-cert.pub", ssh.MarshalAuthorizedKey(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (d demoFile) config(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(d.SSHConfig)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (d demoFile) hostAddr(t *testing.T) string {
	t.Helper()
	cfg, err := LoadConfig(filepath.Join(d.dir, "sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Targets[0].Address
}

// compareVim runs the same vim over each way, and wants the same screens.
func compareVim(t *testing.T, ways map[string]string) {
	t.Helper()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	body := "#include <stdio.h>\n/* caf\u00e9 \u6f22\u5b57 */\nint main(void)\n{\n\tputs(\"hi\");\n}\n" + strings.Repeat("line of text\n", 80)
	if err := os.WriteFile(text, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newTmux(t)
	looks := map[string][4]string{}
	for name, ssh := range ways {
		m.open(name, ssh+fmt.Sprintf(" \"stty -a; vim -u NONE -i NONE -N -c 'set encoding=utf-8' -c 'syntax on' -c 'set filetype=c number hlsearch' %s; echo exit \\$?\"", text))
		first := m.wait(name, "stdio.h")
		m.do("send-keys", "-t", name, "/text", "Enter", "5dd", "Go", "added\ttext", "Escape", "gg", "Rreplaced", "Escape", ":vsplit", "Enter", "Lx")
		second := m.wait(name, "replaced")
		m.do("resize-window", "-t", name, "-x", "70", "-y", "20")
		m.wait(name, " 18 ") // the last line but one of the smaller window
		m.do("send-keys", "-t", name, ":q!", "Enter")
		third := m.waitWithout(name, "replaced", "\x1b[7m|")
		m.do("send-keys", "-t", name, ":q!", "Enter")
		end := m.wait(name, "exit 0")
		if !strings.Contains(end, "echoctl") {
			t.Errorf("%s: no stty: %s", name, end)
		}
		looks[name] = [4]string{first, second, third, end}
	}
	for name, got := range looks {
		for i := range got {
			if got[i] != looks["direct"][i] {
				t.Errorf("%s, look %d:\n%s\ndirect:\n%s", name, i+1, got[i], looks["direct"][i])
			}
		}
	}
}
