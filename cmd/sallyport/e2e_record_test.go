package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder/catalog"
)

// configure puts lines before the rest of the configuration.
func (n *ownNode) configure(lines string) {
	n.t.Helper()
	text, err := os.ReadFile(n.path("sallyport.yaml"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.write("sallyport.yaml", lines+string(text))
}

// run runs the product on this machine.
func (n *ownNode) run(args ...string) answer {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(n.t, "sallyport"), args...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run()
	return answer{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// session runs a command on the target and returns the id of its recording.
func (n *ownNode) session(login, command string) string {
	n.t.Helper()
	if a := n.ssh("", login+"@t1@bastion", command); a.code != 0 {
		n.t.Fatalf("%+v", a)
	}
	var list []policy.Recording
	waitFor(n.t, "the recording", func() bool {
		list = nil
		return json.Unmarshal([]byte(n.recordings("complete")), &list) == nil && len(list) > 0 && list[0].Session.Command == command
	})
	return string(list[0].Session.ID)
}

// A ledger that was rolled back does not start, unless somebody says so, which
// becomes an entry; and the place outside goes on to remember.
func TestRolledBackLedgerDoesNotStart(t *testing.T) {
	n, host := openSSHNode(t, "ledger: {checkpoints: [{file: outside/checkpoint}]}\n")
	n.end(syscall.SIGTERM)
	before := t.TempDir()
	copyDir(t, filepath.Join(n.data, "ledger"), before)
	n.start()
	n.session(host.Login, "echo later")
	n.end(syscall.SIGTERM)
	if b, err := os.ReadFile(n.path("outside/checkpoint")); err != nil || !strings.HasPrefix(string(b), "bastion\n") {
		t.Fatalf("the place outside has %q (%v)", b, err)
	}
	if err := os.RemoveAll(filepath.Join(n.data, "ledger")); err != nil {
		t.Fatal(err)
	}
	copyDir(t, before, filepath.Join(n.data, "ledger"))

	for range 2 {
		a := n.run("serve", "--config", n.path("sallyport.yaml"))
		if a.code != 1 || !strings.Contains(a.err, "rolled back") || !strings.Contains(a.err, "--accept-rollback") || strings.Count(a.err, "\n") != 1 {
			t.Fatalf("%+v", a)
		}
	}
	n.start("--accept-rollback")
	if e := n.entries("ledger.override"); strings.Count(e, "\n") == 0 {
		t.Errorf("no entry says so:\n%s", n.ledger())
	}
	n.end(syscall.SIGTERM)
	if a := n.run("serve", "--config", n.path("sallyport.yaml")); a.code != 1 || !strings.Contains(a.err, "rolled back") {
		t.Errorf("the place outside has forgotten: %+v", a)
	}
	// Moved away as evidence, it no longer speaks.
	if err := os.Rename(n.path("outside/checkpoint"), n.path("outside/evidence")); err != nil {
		t.Fatal(err)
	}
	n.start()
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	// CopyFS makes files that others may read, which keys must not be.
	err := filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			err = os.Chmod(path, 0o600)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// In a hardened installation the server cannot open what was hidden and typed;
// the auditor's own binary can, from the data and from a copy of the archive.
func TestHardenedServerCannotOpenRaw(t *testing.T) {
	auditor, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	n, host := openSSHNode(t, "recordings: {archive: elsewhere, raw_recipients: ["+auditor.Recipient().String()+"]}\n")
	n.write("auditor.agekey", auditor.String()+"\n")
	if _, err := os.Stat(filepath.Join(n.data, "keys", "raw.agekey")); !os.IsNotExist(err) {
		t.Errorf("a raw key was made: %v", err)
	}
	if a := n.ssh("typed-words\n", host.Login+"@t1@bastion", "cat >/dev/null; echo shown"); a.out != "shown\n" {
		t.Fatalf("%+v", a)
	}
	id := n.session(host.Login, "echo another")
	elsewhere := n.path("elsewhere")
	at := []string{"--dir", n.data}
	if a := n.run(append([]string{"export", id, "--format", "raw"}, at...)...); a.out != "another\n" {
		t.Errorf("the view: %+v", a)
	}
	a := n.run(append([]string{"export", id, "--raw"}, at...)...)
	if a.code != 1 || a.out != "" || !strings.Contains(a.err, "sealed") || !strings.Contains(a.err, "--identity") {
		t.Errorf("raw without the identity: %+v", a)
	}
	var list []policy.Recording
	if err := json.Unmarshal([]byte(n.run("ls", "--dir", n.data, "--json").out), &list); err != nil || len(list) != 2 {
		t.Fatalf("%v %+v", err, list)
	}
	first := string(list[1].Session.ID)
	for _, from := range [][]string{at, {"--archive", elsewhere}} {
		args := append([]string{"export", first, "--raw", "--identity", n.path("auditor.agekey")}, from...)
		if a := n.run(args...); a.code != 0 || !strings.Contains(a.out, "typed-words") {
			t.Errorf("%q: %+v", args, a)
		}
		args = append([]string{"play", first, "--raw", "--speed", "1000", "--identity", n.path("auditor.agekey")}, from...)
		if a := n.run(args...); a.code != 0 || !strings.Contains(a.out, "shown") {
			t.Errorf("%q: %+v", args, a)
		}
	}
	if a := n.run("ls", "--archive", elsewhere, "--identity", n.path("auditor.agekey"), "--json"); !strings.Contains(a.out, id) || !strings.Contains(a.out, "dora@example.com") {
		t.Errorf("ls of a copy: %+v", a)
	}
	if a := n.run("ls", "--archive", elsewhere); a.code != 2 || !strings.Contains(a.err, "--identity") {
		t.Errorf("a copy without an identity: %+v", a)
	}
}

// The index is what the ledger and the archive say, to the last byte; the state
// beside it stays.
func TestRebuildMakesTheSameIndex(t *testing.T) {
	n, host := openSSHNode(t)
	n.session(host.Login, "echo one")
	gone := n.session(host.Login, "echo two")
	n.session(host.Login, "exit 0; echo three")
	if a := n.run("delete", "--dir", n.data, gone, "--reason", "test"); a.code != 0 {
		t.Fatalf("%+v", a)
	}
	// One that a crash interrupts.
	running := exec.Command("ssh", "-F", n.path("ssh_config"), host.Login+"@t1@bastion", "echo interrupted; sleep 60")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the fourth", func() bool { return strings.Contains(n.recordings("open"), "sleep 60") })
	n.end(syscall.SIGKILL)
	_ = running.Wait()
	n.start()
	n.end(syscall.SIGTERM)
	before, users := n.index()
	if a := n.run("ledger", "rebuild", "--data", n.data); a.code != 0 || !strings.HasSuffix(a.out, "has 4 recordings.\n") || a.err != "" {
		t.Fatalf("%+v", a)
	}
	after, usersAfter := n.index()
	if len(before) != 4 || !slices.Equal(before, after) {
		t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if users != usersAfter {
		t.Errorf("the state changed: %s, %s", users, usersAfter)
	}
}

// index is the catalog's index as it is stored, and some of the state.
func (n *ownNode) index() (rows []string, user string) {
	n.t.Helper()
	ctx := context.Background()
	cat, err := catalog.Open(ctx, dataDir(n.data).catalog())
	if err != nil {
		n.t.Fatal(err)
	}
	defer cat.Close()
	if rows, err = cat.Rows(ctx); err != nil {
		n.t.Fatal(err)
	}
	u, err := cat.User(ctx, dora.Principal())
	if err != nil {
		n.t.Fatal(err)
	}
	return rows, u.String()
}

// What has been kept for long enough is deleted, what is held is not.
func TestRetentionAndHold(t *testing.T) {
	n, host := openSSHNode(t, "recordings: {retention: 1s}\n")
	n.write("policy.cedar", nodePolicy+"permit(principal, action == Action::\"administer\", resource);\n")
	if err := n.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the policy", func() bool { return strings.Contains(n.log(), "the new policy is in force") })
	kept, gone := n.session(host.Login, "echo kept"), n.session(host.Login, "echo gone")
	if a := n.ssh("", "bastion", "hold "+kept+" --reason 'case 17'"); a.code != 0 || a.out != kept+" is held.\n" {
		t.Fatalf("%+v", a)
	}
	refused(t, n.ssh("", "bastion", "delete "+kept+" --reason x"), "held")
	time.Sleep(1100 * time.Millisecond)
	n.end(syscall.SIGTERM)
	n.start()
	waitFor(t, "the deletion", func() bool { return strings.Contains(n.entries("recording.shred"), gone) })
	if strings.Contains(n.entries("recording.shred"), kept) {
		t.Error("what is held was deleted")
	}
	if e := n.entries("hold"); !strings.Contains(e, kept) || !strings.Contains(e, "case 17") || !strings.Contains(e, "dora@example.com") {
		t.Errorf("the hold's entry: %s", e)
	}
}

// What changes in the configuration while the bastion runs is an entry.
func TestReloadOfTargetsIsAnEntry(t *testing.T) {
	n, _ := openSSHNode(t)
	start := n.entries("config.load")
	for range 2 { // the second finds nothing new
		if err := n.process.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the reload", func() bool { return strings.Contains(n.log(), "targets loaded") })
	text, err := os.ReadFile(n.path("sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	n.write("sallyport.yaml", string(text)+"# another\n")
	if err := n.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the entry", func() bool { return strings.Count(n.entries("config.load"), "\n") == 2 })
	if strings.Count(start, `"config":"`) != 1 || strings.Count(start, "\n") != 1 {
		t.Errorf("at the start: %s", start)
	}
}
