package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/policy"
)

// openSSHNode is a bastion before Debian's own sshd, with more lines of
// configuration.
func openSSHNode(t *testing.T, config ...string) (*ownNode, *sshtest.OpenSSH) {
	t.Helper()
	n := newNode(t, nodeOptions{})
	n.configure(strings.Join(config, ""))
	if err := os.Mkdir(n.path("outside"), 0o700); err != nil {
		t.Fatal(err)
	}
	host := sshtest.StartOpenSSH(t, sshtest.Options{UserCAs: []ssh.PublicKey{n.targetCA()}, AcceptEnv: []string{"LC_*"}})
	n.target(host.Addr, host.Login, host.HostKey)
	n.start()
	return n, host
}

// refused wants one clear sentence, exit code 1, and nothing of our inside.
func refused(t *testing.T, a answer, want string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(a.err, "\r", "")), "\n")
	if a.code != 1 || len(lines) != 1 || !strings.Contains(lines[0], want) || strings.Contains(a.err, "127.0.0.1") || strings.Contains(a.err, "goroutine") {
		t.Errorf("code %d, out %q, err %q; want one line with %q", a.code, a.out, a.err, want)
	}
}

func TestThroughToOpenSSH(t *testing.T) {
	n, host := openSSHNode(t)
	to := host.Login + "@t1"
	if a := n.ssh("in", to, "cat; echo err >&2; exit 9"); a != (answer{"in", "err\n", 9}) {
		t.Errorf("%+v", a)
	}
	if a := n.ssh("", to+"@bastion", "echo $0"); a.code != 0 {
		t.Errorf("%+v", a)
	}
	// The target's own log names the person (DESIGN section 7).
	host.WaitLog("sub=dora")
	// The user's certificate opens no target, although it opens the bastion.
	addr, port, _ := strings.Cut(host.Addr, ":")
	n.write("direct_hosts", host.KnownHosts())
	out, err := exec.Command("ssh", "-F", "none", "-i", n.key, "-o", "CertificateFile="+n.key+"-cert.pub", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile="+n.path("direct_hosts"), "-o", "StrictHostKeyChecking=yes", "-p", port, host.Login+"@"+addr, "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Permission denied") {
		t.Errorf("directly to the target: %v %s", err, out)
	}
}

func TestLargeCommandsEndClearly(t *testing.T) {
	n, host := openSSHNode(t)
	to := host.Login + "@t1@bastion"
	words := make([]string, 0, 40)
	for range 12 { // one argument may have 128 KiB; ssh joins them
		words = append(words, strings.Repeat("x", 80_000))
	}
	if a := n.ssh("", append([]string{to, "true"}, words[:1]...)...); a.code != 0 {
		t.Errorf("80 kB: %d %.200q", a.code, a.err)
	}
	if a := n.ssh("", append([]string{to, "true"}, words...)...); a.code == 0 || strings.Contains(a.err, "goroutine") {
		t.Errorf("1 MB: %d %.200q", a.code, a.err)
	}
	waitFor(t, "the log to name the packet", func() bool { return strings.Contains(n.log(), "packet") })
	if a := n.ssh("", to, "echo still here"); a.out != "still here\n" {
		t.Errorf("afterwards: %+v", a)
	}
}

func TestTerminalsOfEverySize(t *testing.T) {
	n, host := openSSHNode(t)
	for _, size := range []string{"0 0", "5000 5000"} {
		rows, cols, _ := strings.Cut(size, " ")
		out, err := exec.Command("script", "-qec", "stty rows "+rows+" cols "+cols+"; ssh -F "+n.path("ssh_config")+" -tt "+host.Login+"@t1@bastion 'stty size; exit'", "/dev/null").CombinedOutput()
		if err != nil || !strings.Contains(string(out), size) {
			t.Errorf("%s: %v %q", size, err, out)
		}
	}
}

func TestTargetFaults(t *testing.T) {
	n := newNode(t, nodeOptions{})
	changed := sshtest.StartOpenSSH(t, sshtest.Options{UserCAs: []ssh.PublicKey{n.targetCA()}})
	n.target(changed.Addr, changed.Login, sshtest.NewSigner(t).PublicKey())
	n.start()
	a := n.ssh("", changed.Login+"@t1@bastion", "true")
	refused(t, a, "SHA256:")
	if strings.Count(a.err, "SHA256:") != 2 {
		t.Errorf("both fingerprints belong there: %q", a.err)
	}
	waitFor(t, "the entry", func() bool { return strings.Contains(n.ledger(), `"hostkey.mismatch"`) })

	n = newNode(t, nodeOptions{})
	refusing := sshtest.StartOpenSSH(t, sshtest.Options{UserCAs: []ssh.PublicKey{sshtest.NewSigner(t).PublicKey()}})
	n.target(refusing.Addr, refusing.Login, refusing.HostKey)
	n.start()
	refused(t, n.ssh("", refusing.Login+"@t1@bastion", "true"), "refused the bastion's certificate")

	n = newNode(t, nodeOptions{})
	down := sshtest.StartOpenSSH(t, sshtest.Options{})
	n.target(down.Addr, down.Login, down.HostKey)
	down.Stop()
	n.start()
	refused(t, n.ssh("", down.Login+"@t1@bastion", "true"), "t1")
}

// ledger is what the ledger holds, as the product's own verb shows it.
func (n *ownNode) ledger() string {
	n.t.Helper()
	out, err := exec.Command(binary(n.t, "sallyport"), "ledger", "show", "--data", n.data, "--limit", "0", "--json").CombinedOutput()
	if err != nil {
		n.t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// entries are those of one kind.
func (n *ownNode) entries(kind string) string {
	n.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(n.ledger()) {
		if strings.Contains(line, `"kind":"`+kind+`"`) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// A new policy is taken on SIGHUP; a bad one is named and stays out.
func TestReload(t *testing.T) {
	n, host := openSSHNode(t)
	to := host.Login + "@t1@bastion"
	n.write("policy.cedar", "permit(")
	if err := n.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the refusal in the log", func() bool { return strings.Contains(n.log(), "the old one stays") })
	if !strings.Contains(n.log(), "policy.cedar:1:") {
		t.Errorf("no place in the log:\n%s", n.log())
	}
	if a := n.ssh("", to, "true"); a.code != 0 {
		t.Errorf("after a bad policy: %+v", a)
	}
	n.write("policy.cedar", `permit(principal, action == Action::"signIn", resource);`)
	if err := n.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the new policy", func() bool { return strings.Contains(n.log(), "the new policy is in force") })
	refused(t, n.ssh("", to, "true"), "that you may use")
}

// kill -9 in the middle of a session: what was shown is in a recording that
// says it is interrupted (T15).
func TestKillLeavesAnInterruptedRecording(t *testing.T) {
	n, host := openSSHNode(t)
	shown := n.path("shown")
	cmd := exec.Command("sh", "-c", "exec ssh -F "+n.path("ssh_config")+" "+host.Login+"@t1@bastion 'echo before-the-kill; sleep 60' >"+shown)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the output", func() bool { b, _ := os.ReadFile(shown); return strings.Contains(string(b), "before-the-kill") })
	n.end(syscall.SIGKILL)
	_ = cmd.Wait()
	n.start()
	var list []policy.Recording
	if err := json.Unmarshal([]byte(n.recordings("interrupted")), &list); err != nil || len(list) != 1 || !strings.Contains(list[0].Session.Command, "before-the-kill") {
		t.Fatalf("interrupted recordings: %v %+v", err, list)
	}
	id := string(list[0].Session.ID)
	out, err := exec.Command(binary(t, "sallyport"), "export", "--dir", n.data, "--format", "raw", id).Output()
	if err != nil || string(out) != "before-the-kill\n" {
		t.Errorf("what was shown is not in the record: %v %q", err, out)
	}
	for _, kind := range []string{"recording.start", "recording.end", "session.end"} {
		if strings.Count(n.entries(kind), id) != 1 {
			t.Errorf("%s of %s: %s", kind, id, n.entries(kind))
		}
	}
}

// SIGTERM tells the user, seals the recording and ends.
func TestStopTellsUsersAndSeals(t *testing.T) {
	n, host := openSSHNode(t)
	shown := n.path("shown")
	cmd := exec.Command("sh", "-c", "exec ssh -F "+n.path("ssh_config")+" "+host.Login+"@t1@bastion 'echo up; sleep 60' >"+shown+" 2>&1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the output", func() bool { b, _ := os.ReadFile(shown); return strings.Contains(string(b), "up") })
	begun := time.Now()
	n.end(syscall.SIGTERM)
	_ = cmd.Wait()
	if d := time.Since(begun); d > 8*time.Second {
		t.Errorf("it took %s", d)
	}
	if b, _ := os.ReadFile(shown); !strings.Contains(string(b), "sallyport:") {
		t.Errorf("the user read %q", b)
	}
	if list := n.recordings("complete"); !strings.Contains(list, "echo up") {
		t.Errorf("complete recordings: %s", list)
	}
}

func TestSecondNodeOnTheSameDataIsRefused(t *testing.T) {
	n, _ := openSSHNode(t)
	out, err := exec.Command(binary(t, "sallyport"), "serve", "--config", n.path("sallyport.yaml")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another bastion runs on") {
		t.Errorf("%v %s", err, out)
	}
}
