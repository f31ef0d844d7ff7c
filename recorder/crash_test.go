package recorder

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder/cast"
)

// crashDir names the directory in which TestCrashChild records, and
// crashIdentities gives the identities that open what it recorded.
const (
	crashDir        = "SALLYPORT_TEST_CRASH_DIR"
	crashIdentities = "SALLYPORT_TEST_CRASH_IDENTITIES"
)

// TestCrashChild is the process that TestCrash kills. It says on standard
// output what was accounted for: input that was accepted, output given out.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		return // it is a test only as a child
	}
	view, raw, _ := strings.Cut(os.Getenv(crashIdentities), " ")
	var err error
	viewIdentity, err = age.ParseX25519Identity(view)
	check(t, err)
	rawIdentity, err = age.ParseX25519Identity(raw)
	check(t, err)
	// Small segments, so that many moments of storing are hit.
	g := &rig{dir: dir, book: &book{}}
	g.start(t, Options{SegmentBytes: 40_000})
	rec, err := g.Open(context.Background(), shell())
	check(t, err)
	fmt.Println("id", rec.session.ID)
	go func() {
		for i := 0; ; i++ {
			check(t, rec.Output(policy.StreamOutput, fmt.Appendf(nil, "%d naïve \xff\x00\n", i)))
		}
	}()
	go func() {
		for i := 1; ; i++ {
			check(t, rec.Input([]byte{byte(i), byte(i >> 8)}))
			fmt.Printf("in %d\n", 2*i)
			time.Sleep(time.Millisecond)
		}
	}()
	out := 0
	for {
		p, err := rec.Next(policy.StreamOutput)
		check(t, err)
		out += len(p)
		fmt.Printf("out %d\n", out)
	}
}

// TestCrash is THREATS T15 in small: after kill -9 at any moment every byte
// that was accounted for is in a recording that Recover finds interrupted.
func TestCrash(t *testing.T) {
	for round := range 12 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
		cmd.Env = append(os.Environ(), crashDir+"="+dir, crashIdentities+"="+viewIdentity.String()+" "+rawIdentity.String())
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		kill := time.AfterFunc(time.Duration(40+13*round)*time.Millisecond, func() { cmd.Process.Kill() })
		said := map[string]string{}
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			what, value, whole := strings.Cut(lines.Text(), " ")
			if whole {
				said[what] = value
			}
		}
		cmd.Wait() // killed
		kill.Stop()
		checkCrash(t, dir, said)
	}
}

func checkCrash(t *testing.T, dir string, said map[string]string) {
	t.Helper()
	g := &rig{dir: dir, book: &book{}}
	g.start(t, Options{})
	found, err := g.Recover(context.Background())
	check(t, err)
	if said["id"] == "" {
		if len(found) > 1 {
			t.Errorf("recovered %d", len(found))
		}
		return // killed before the session began
	}
	if len(found) != 1 || string(found[0].Session.ID) != said["id"] || found[0].Summary.State != policy.RecordingInterrupted {
		t.Fatalf("recovered %+v, want session %s", found, said["id"])
	}
	all := g.frames(t, found[0].Session.ID)
	for code, name := range map[cast.Code]string{'o': "out", 'i': "in"} {
		raw, _ := joined(all, code)
		acknowledged, _ := strconv.Atoi(said[name])
		if len(raw) < acknowledged {
			t.Errorf("%s: %d bytes are in the record, %d were accounted for", name, len(raw), acknowledged)
		}
		if code == 'o' {
			var want []byte
			for i := 0; len(want) < len(raw); i++ {
				want = fmt.Appendf(want, "%d naïve \xff\x00\n", i)
			}
			if !bytes.HasPrefix(want, raw) {
				t.Error("the record differs from the output")
			}
		}
	}
	t.Logf("session %s: said in %s, out %s; %d events, %d segments", said["id"], said["in"], said["out"], len(all), found[0].Summary.Segments)
}
