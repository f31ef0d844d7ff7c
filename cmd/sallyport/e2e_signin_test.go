package main

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// stranger makes dora's configuration one of a key that nobody signed in with.
func (n *ownNode) stranger() {
	n.t.Helper()
	for _, f := range []string{"id", "id.pub", "id-cert.pub"} {
		_ = os.Remove(n.path(f))
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", n.path("id")).CombinedOutput(); err != nil {
		n.t.Fatalf("%v %s", err, out)
	}
	n.key = n.path("id")
	b, err := os.ReadFile(n.path("ssh_config"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.write("ssh_config", strings.ReplaceAll(string(b), "BatchMode yes", "BatchMode no"))
}

// A sign-in that cannot work is one sentence, exit code 1 and the end, before
// anybody is sent to a browser.
func TestSignInFaults(t *testing.T) {
	d := startDemo(t)
	for _, tc := range []struct {
		name string
		o    nodeOptions
		want string
	}{
		{"unreachable issuer", nodeOptions{issuer: "http://127.0.0.1:1"}, "identity provider"},
		{"wrong client", nodeOptions{issuer: d.Issuer, clientID: "somebody-else"}, "client"},
		{"no issuer there", nodeOptions{issuer: d.WebURL}, "identity provider"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNode(t, tc.o)
			n.start()
			n.stranger()
			a := n.ssh("", "bastion")
			text := strings.TrimSpace(strings.ReplaceAll(a.err, "\r", ""))
			last := text[strings.LastIndex(text, "\n")+1:]
			if a.code != 1 || !strings.Contains(last, tc.want) || strings.Contains(a.err, "127.0.0.1:1/") || strings.Contains(a.err, "open\n") {
				t.Errorf("code %d: %q", a.code, a.err)
			}
			out, err := exec.Command(binary(t, "sallyport"), "login", "--ssh-dir", t.TempDir(), "--key", n.key, "--ca-fingerprint", n.caFingerprint(), n.addr).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tc.want) {
				t.Errorf("sallyport login: %v %s", err, out)
			}
			if code := err.(*exec.ExitError).ExitCode(); code != 1 {
				t.Errorf("sallyport login: exit %d", code)
			}
		})
	}
}

func (n *ownNode) caFingerprint() string {
	n.t.Helper()
	b, err := os.ReadFile(n.path("known_hosts"))
	if err != nil {
		n.t.Fatal(err)
	}
	fields := strings.Fields(string(b))
	n.write("host_ca.pub", strings.Join(fields[2:4], " ")+"\n")
	out, err := exec.Command("ssh-keygen", "-l", "-f", n.path("host_ca.pub")).Output()
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.Fields(string(out))[1]
}

// A client that goes away while it signs in leaves nothing behind, and the next
// one is served.
func TestClientVanishesDuringSignIn(t *testing.T) {
	d := startDemo(t)
	n := newNode(t, nodeOptions{issuer: d.Issuer})
	n.start()
	n.stranger()
	prompt, err := os.Create(n.path("prompt"))
	if err != nil {
		t.Fatal(err)
	}
	defer prompt.Close()
	cmd := exec.Command("ssh", "-F", n.path("ssh_config"), "bastion", "status")
	cmd.Stderr = prompt
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text, err := waitPrompt(prompt.Name())
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	waitFor(t, "the entry of a failed sign-in", func() bool { return strings.Contains(n.ledger(), `"signin.failed"`) })
	// The approval comes too late: it signs nobody in.
	_ = approve(text, "alice", "")
	for range 3 {
		c, err := net.DialTimeout("tcp", n.addr, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	b, err := os.ReadFile(n.path("ssh_config"))
	if err != nil {
		t.Fatal(err)
	}
	n.write("ssh_config", strings.ReplaceAll(string(b), "BatchMode no", "BatchMode yes"))
	if a := n.ssh("", "bastion", "status"); a.code != 255 || !strings.Contains(a.err, "not signed in") {
		t.Errorf("%+v", a)
	}
}
