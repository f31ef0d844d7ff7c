package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
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
// directly, and compares every cell, attributes included.
func TestVimLooksAsIfConnectedDirectly(t *testing.T) {
	sshtest.Need(t, "vim")
	n := newNode(t, nodeOptions{})
	own := sshtest.NewKey(t)
	direct := sshtest.WriteKey(t, n.dir, "direct", own)
	signer, err := ssh.NewSignerFromKey(own)
	if err != nil {
		t.Fatal(err)
	}
	host := sshtest.StartOpenSSH(t, sshtest.Options{UserCAs: []ssh.PublicKey{n.targetCA()}, AuthorizedKeys: []ssh.PublicKey{signer.PublicKey()}})
	n.target(host.Addr, host.Login, host.HostKey)
	n.start()
	addr, port, _ := strings.Cut(host.Addr, ":")
	n.write("direct_hosts", host.KnownHosts())
	ways := map[string]string{
		"bastion": fmt.Sprintf("ssh -q -F %s -t %s@t1@bastion", n.path("ssh_config"), host.Login),
		"jump":    fmt.Sprintf("ssh -q -F %s -t %s@t1", n.path("ssh_config"), host.Login),
		"direct":  fmt.Sprintf("ssh -q -F none -i %s -o IdentitiesOnly=yes -o IdentityAgent=none -o UserKnownHostsFile=%s -p %s -t %s@%s", direct, n.path("direct_hosts"), port, host.Login, addr),
	}
	text := n.path("text")
	n.write("text", "#include <stdio.h>\n/* caf\u00e9 \u6f22\u5b57 */\nint main(void)\n{\n\tputs(\"hi\");\n}\n"+strings.Repeat("line of text\n", 80))
	m := newTmux(t)
	steps := map[string][3]string{}
	for name, ssh := range ways {
		m.open(name, ssh+fmt.Sprintf(" \"stty -a; vim -u NONE -i NONE -N -c 'set encoding=utf-8' -c 'syntax on' -c 'set filetype=c number hlsearch' %s; echo exit \\$?\"", text))
		first := m.wait(name, "stdio.h")
		m.do("send-keys", "-t", name, "/text", "Enter", "5dd", "Go", "added\ttext", "Escape", "gg", "Rreplaced", "Escape", ":vsplit", "Enter", "Lx")
		second := m.wait(name, "replaced")
		m.do("resize-window", "-t", name, "-x", "70", "-y", "20")
		m.wait(name, " 18 ") // the last line but one of the smaller window
		m.do("send-keys", "-t", name, ":q!", "Enter")
		third := m.waitWithout(name, "replaced", "\x1b[7m|")
		steps[name] = [3]string{first, second, third}
		m.do("send-keys", "-t", name, ":q!", "Enter")
		if end := m.wait(name, "exit 0"); !strings.Contains(end, "echoctl") {
			t.Errorf("%s: no stty: %s", name, end)
		}
	}
	for _, name := range []string{"bastion", "jump"} {
		for i := range steps[name] {
			if steps[name][i] != steps["direct"][i] {
				t.Errorf("%s, look %d:\n%s\ndirect:\n%s", name, i+1, steps[name][i], steps["direct"][i])
			}
		}
	}
}
