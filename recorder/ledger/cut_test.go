package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// After a crash at any byte everything that was acknowledged is there, and
// what was cut off is accounted for.
func TestCutAnywhere(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	fill(t, l, 0, 3)
	if _, err := l.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.o.Dir, entriesName)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, err := os.ReadFile(filepath.Join(w.o.Dir, checkpointName))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(ctx, entry(3), entry(4)); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for cut := len(before); cut <= len(after); cut++ {
		c := &world{t, w.o}
		c.o.Dir = filepath.Join(t.TempDir(), "ledger")
		if err := os.MkdirAll(c.o.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{entriesName: after[:cut], checkpointName: checkpoint} {
			if err := os.WriteFile(filepath.Join(c.o.Dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Open(c.o)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := l.Append(ctx, entry(99)); err != nil {
			t.Fatal(err)
		}
		l.Close()
		g := c.load()
		want := int64(strings.Count(string(after[:cut]), "\n")) + 1
		torn := 0
		for leaf, err := range g.Leaves() {
			if err != nil {
				t.Fatal(err)
			}
			if leaf.Kind == EntryTorn {
				torn++
			}
		}
		if g.Size() != want+int64(torn) || torn == 1 != (after[cut-1] != '\n') {
			t.Errorf("cut at %d: %d entries with %d torn, want %d", cut, g.Size(), torn, want)
		}
	}
}
