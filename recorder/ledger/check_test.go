package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/policy"
)

// T35: what was changed while the node was down does not start.
func TestAlteredLedgersDoNotOpen(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	fill(t, l, 0, 10)
	l.Close()
	path := filepath.Join(w.o.Dir, entriesName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	flip := func(at int) string { b := slices.Clone(whole); b[at] ^= 1; return string(b) }
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"a flipped byte":     {flip(20), ErrAltered},
		"the last flipped":   {flip(len(whole) - 5), ErrAltered},
		"a line end flipped": {flip(len(lines[0]) - 1), ErrRolledBack},
		"one removed":        {strings.Join(slices.Delete(slices.Clone(lines), 4, 5), ""), ErrRolledBack},
		"the last removed":   {strings.Join(lines[:9], ""), ErrRolledBack},
		"two swapped":        {lines[1] + lines[0] + strings.Join(lines[2:], ""), ErrAltered},
		"all removed":        {"", ErrRolledBack},
		"the end cut off":    {string(whole[:len(whole)-3]), ErrRolledBack},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(w.o.Dir, w.o.Verifier); !errors.Is(err, ErrAltered) {
			t.Errorf("%s: loaded: %v", name, err)
		}
		if _, err := Open(w.o); !errors.Is(err, c.want) {
			t.Errorf("%s: opened: %v", name, err)
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	_, v := newKey(t, "sallyport/test")
	if _, err := Load(w.o.Dir, v); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
	w.open().Close()
}

// T35: the whole directory is an older copy of itself, which only somebody
// outside can know.
func TestRolledBackLedgerDoesNotOpen(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	fill(t, l, 0, 5)
	l.Close()
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(w.o.Dir)); err != nil {
		t.Fatal(err)
	}
	l = w.open()
	fill(t, l, 5, 9)
	remembered, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	w.o.Dir = old
	g := w.load() // by itself it is whole
	if err := g.Consistent(remembered); !errors.Is(err, ErrRolledBack) {
		t.Errorf("%v", err)
	}
	with := func(o *Options) { o.Remembered = [][]byte{remembered} }
	o := w.o
	with(&o)
	if _, err := Open(o); !errors.Is(err, ErrRolledBack) || !strings.Contains(err.Error(), "--accept-rollback") {
		t.Fatalf("%v", err)
	}
	// Going on is possible, and stands in the ledger.
	l = w.open(with, func(o *Options) { o.Accept = true })
	l.Close()
	found := false
	for leaf := range w.load().Leaves() {
		found = found || leaf.Kind == policy.EntryRollback && leaf.Ref["remembered_size"] == "9" && leaf.Ref["size"] == "5"
	}
	if !found {
		t.Error("the override is not in the ledger")
	}
}
