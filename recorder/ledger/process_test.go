package ledger

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// childDir names the environment variable that makes TestChild another process
// of a ledger: one that appends entries and prints each once it is told that it
// is durable.
const childDir = "SALLYPORT_TEST_LEDGER"

func TestChild(t *testing.T) {
	if os.Getenv(childDir) == "" {
		return // it is a test only as a child
	}
	s, err := note.NewSigner(os.Getenv(childDir + "_KEY"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(os.Getenv(childDir + "_PUB"))
	if err != nil {
		t.Fatal(err)
	}
	var from, count int
	if _, err := fmt.Sscan(os.Getenv(childDir+"_ENTRIES"), &from, &count); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Options{Dir: os.Getenv(childDir), Signer: s, Verifier: v, BodyKey: [32]byte{9}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := from + i; n < from+count; n += 4 {
				if err := l.Append(ctx, entry(n)); err != nil {
					t.Error(err)
					return
				}
				if n%7 == 0 {
					if _, err := l.Checkpoint(ctx); err != nil {
						t.Error(err)
					}
				}
				fmt.Printf("acked %d\n", n)
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// child is a command that runs TestChild on the world's ledger.
func (w *world) child(skey, vkey string, from, count int) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childDir+"="+w.o.Dir, childDir+"_KEY="+skey, childDir+"_PUB="+vkey, childDir+"_ENTRIES="+fmt.Sprint(from, " ", count))
	return cmd
}

// sharedWorld is one whose keys a child can have.
func sharedWorld(t *testing.T) (w *world, skey, vkey string) {
	t.Helper()
	skey, vkey, err := GenerateKey("sallyport/shared")
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t, Options{Dir: filepath.Join(t.TempDir(), "l"), Signer: s, Verifier: v, BodyKey: [32]byte{9}}}, skey, vkey
}

func TestTwoProcesses(t *testing.T) {
	w, skey, vkey := sharedWorld(t)
	l := w.open()
	fill(t, l, 0, 1)
	cmd := w.child(skey, vkey, 1000, 50)
	done := make(chan error, 1)
	go func() {
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		done <- err
	}()
	fill(t, l, 1, 100)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	fill(t, l, 100, 101)
	if s := l.Stats(); s.Size != 151 {
		t.Errorf("%+v", s)
	}
	l.Close()
	got := refs(t, w.load())
	slices.Sort(got)
	if g := w.load(); g.SignedSize() != 151 || len(slices.Compact(got)) != 151 {
		t.Errorf("%d entries, %d signed", len(got), g.SignedSize())
	}
	if h := w.read(hashesName); len(h) != 151*32 {
		t.Errorf("%d bytes of hashes", len(h))
	}
	w.open().Close()
}

// Processes are killed at random moments, and another adds entries meanwhile:
// what they printed is there, and every start finds a whole ledger.
func TestKilledProcesses(t *testing.T) {
	w, skey, vkey := sharedWorld(t)
	l := w.open()
	var acked []string
	for round := range 12 {
		cmd := w.child(skey, vkey, (round+1)*10_000, 10_000)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatal("the child said nothing")
		}
		timer := time.AfterFunc(time.Duration(rand.IntN(40_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		for more := true; more; more = lines.Scan() {
			if n, ok := strings.CutPrefix(lines.Text(), "acked "); ok {
				acked = append(acked, n)
			} else {
				t.Fatalf("the child said %q", lines.Text())
			}
		}
		_ = cmd.Wait() // it was killed
		timer.Stop()
		if round%3 == 0 { // what it left is taken in while the ledger is open
			fill(t, l, round, round+1)
			acked = append(acked, fmt.Sprint(round))
		} else { // or at a start
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = w.open()
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for e, err := range w.load().Entries(w.o.BodyKey) {
		if err != nil {
			t.Fatal(err)
		}
		there[e.Ref["i"]] = e.User != nil
	}
	for _, a := range acked {
		if !there[a] {
			t.Errorf("entry %s was acknowledged and is lost", a)
		}
	}
	if len(acked) < 24 {
		t.Errorf("only %d entries were acknowledged", len(acked))
	}
	t.Logf("%d acknowledged, %d there", len(acked), len(there))
}
