package ledger

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

const childDir = "SALLYPORT_TEST_LEDGER"

func TestChild(t *testing.T) {
	if os.Getenv(childDir) == "" {
		return // it is a test only as a child
	}
	skey := os.Getenv(childDir + "_KEY")
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(os.Getenv(childDir + "_PUB"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(Options{Dir: os.Getenv(childDir), Signer: s, Verifier: v})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1000, 1050)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTwoProcesses(t *testing.T) {
	skey, vkey, err := GenerateKey("sallyport/two")
	if err != nil {
		t.Fatal(err)
	}
	s, _ := note.NewSigner(skey)
	v, _ := note.NewVerifier(vkey)
	w := &world{t, Options{Dir: filepath.Join(t.TempDir(), "l"), Signer: s, Verifier: v}}
	l := w.open()
	fill(t, l, 0, 1)
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childDir+"="+w.o.Dir, childDir+"_KEY="+skey, childDir+"_PUB="+vkey)
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
	l.Close()
	if g := w.load(); g.Size() != 151 || g.SignedSize() != 151 {
		t.Errorf("%d entries, %d signed", g.Size(), g.SignedSize())
	}
}
