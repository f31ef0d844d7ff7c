package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/replay"
)

// Progress goes to a terminal, after two seconds, and is gone before the next
// line.
func TestVerifyShowsProgress(t *testing.T) {
	var out, errOut bytes.Buffer
	r := newVerifyReport(&out, &errOut, true)
	for range 3 {
		if err := r.add(replay.Verdict{ID: "06h0gx8ezqsxbady6552thj49r", Result: replay.Valid}); err != nil {
			t.Fatal(err)
		}
	}
	r.tick(r.begun.Add(time.Hour))
	if errOut.Len() > 0 {
		t.Errorf("what is no terminal is told %q", errOut.String())
	}
	r.progress = true
	r.tick(r.begun.Add(time.Second))
	if errOut.Len() > 0 {
		t.Errorf("after a second: %q", errOut.String())
	}
	r.tick(r.begun.Add(3 * time.Second))
	r.tick(r.begun.Add(3*time.Second + 100*time.Millisecond)) // too soon
	r.clear()
	if want := "\rverified 3 recordings in 3s…\x1b[K\r\x1b[K"; errOut.String() != want {
		t.Errorf("%q, want %q", errOut.String(), want)
	}
}

// A ledger that is broken is no answer "fine", also where no recording is left.
func TestVerifyOfNothingWithABrokenLedger(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		r := newVerifyReport(&out, &out, asJSON)
		r.ledger(replay.VerifyOptions{LogErr: errors.New("the ledger was altered: entry 7")})
		if err := r.finish(nil); !errors.Is(err, errAnswerIsNo) || !strings.Contains(out.String(), "entry 7") {
			t.Errorf("%v\n%s", err, out.String())
		}
	}
}

// verify is the product's verb.
func (n *ownNode) verify(args ...string) answer {
	n.t.Helper()
	return n.run(append([]string{"verify"}, args...)...)
}

// What a crash interrupted verifies, and so does a copy of the archive alone,
// which has its own copy of the ledger from the moment the bastion has stopped.
func TestVerifyAfterACrashAndOfACopy(t *testing.T) {
	n, host := openSSHNode(t)
	n.session(host.Login, "echo whole")
	running := exec.Command("ssh", "-F", n.path("ssh_config"), host.Login+"@t1@bastion", "echo begun; sleep 60")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the session", func() bool { return strings.Contains(n.recordings("open"), "sleep 60") })
	if a := n.verify("--dir", n.data); a.code != 0 || !strings.Contains(a.out, "2 recordings: 1 valid, 1 running\n") {
		t.Errorf("while it runs: %+v", a)
	}
	n.end(syscall.SIGKILL)
	_ = running.Wait()
	n.start()
	if a := n.verify("--dir", n.data); a.code != 0 || !strings.Contains(a.out, "2 recordings: 1 valid, 1 interrupted\n") {
		t.Errorf("after the crash: %+v", a)
	}
	n.end(syscall.SIGTERM)
	key, copied := n.path("ledger.pub"), n.path("copy")
	n.write("ledger.pub", n.run("ledger", "key", "--data", n.data).out)
	n.write("kept", n.run("ledger", "checkpoint", "--data", n.data).out)
	copyDir(t, filepath.Join(n.data, "archive"), copied)
	a := n.verify("--archive", copied, "--ledger-key", key, "--checkpoint", n.path("kept"), "--raw-identity", filepath.Join(n.data, "keys", "raw.agekey"))
	if a.code != 0 || !strings.Contains(a.out, "2 recordings: 1 valid, 1 interrupted\n") || !strings.Contains(a.out, "roll-back checked") || strings.Contains(a.out, "content not") {
		t.Errorf("a copy: %+v", a)
	}
}

func TestVerdictsFitAScreen(t *testing.T) {
	head := fmt.Sprintf("%-26s  %-11s  ", "06h0gx8ezqsxbady6552thj49r", replay.Altered)
	long := "segment 3: the frame at byte 4096 was changed, and " + strings.Repeat("more of it ", 20) + strings.Repeat("x", 100)
	if got := verdictLine(head, long, false); got != strings.TrimRight(head+long, " ") {
		t.Errorf("elsewhere: %q", got)
	}
	if got := verdictLine(head, "", true); got != "06h0gx8ezqsxbady6552thj49r  altered" {
		t.Errorf("without a detail: %q", got)
	}
	got := verdictLine(head, long, true)
	for line := range strings.Lines(got) {
		if n := len(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Join(strings.Fields(got), "") != strings.Join(strings.Fields(head+long), "") {
		t.Errorf("something was lost: %q", got)
	}
}

// An older ledger passes by itself, and not against what was kept.
func TestVerifyFindsARollBack(t *testing.T) {
	n, host := openSSHNode(t)
	n.session(host.Login, "echo one")
	n.end(syscall.SIGTERM)
	older := t.TempDir()
	copyDir(t, n.data, older)
	n.start()
	n.session(host.Login, "echo two")
	n.end(syscall.SIGTERM)
	n.write("kept", n.run("ledger", "checkpoint", "--data", n.data).out)
	if err := os.Remove(filepath.Join(older, "paths.json")); err != nil {
		t.Fatal(err)
	}
	if a := n.verify("--dir", older); a.code != 0 || !strings.Contains(a.out, "roll-back not checked") || strings.Contains(a.out, "roll-back checked") {
		t.Errorf("by itself: %+v", a)
	}
	a := n.verify("--dir", older, "--checkpoint", n.path("kept"), "--json")
	var found verifyJSON
	if err := json.Unmarshal([]byte(a.out), &found); err != nil || a.code != 1 || found.OK || len(found.Recordings) != 1 || found.Recordings[0].Result != replay.RolledBack {
		t.Errorf("%v %+v", err, a)
	}
	if a := n.verify("--dir", n.data, "--checkpoint", n.path("kept")); a.code != 0 {
		t.Errorf("the newer one: %+v", a)
	}
	if fmt.Sprint(found.Counts[replay.RolledBack]) != "1" {
		t.Errorf("counts: %v", found.Counts)
	}
}
