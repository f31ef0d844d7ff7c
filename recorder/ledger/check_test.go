package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/policy"
)

// closed makes a ledger of n entries and closes it.
func (w *world) closed(n int) {
	w.t.Helper()
	l := w.open()
	fill(w.t, l, 0, n)
	if err := l.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) path(name string) string { return filepath.Join(w.o.Dir, name) }

func (w *world) read(name string) []byte {
	w.t.Helper()
	b, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) write(name string, data []byte) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// T35: what was changed while the node was down does not start, is not loaded,
// and the first bad entry is named.
func TestT35AlteredLedger(t *testing.T) {
	w := newWorld(t)
	w.closed(600) // more than two groups
	whole := w.read(entriesName)
	lines := strings.SplitAfter(strings.TrimSuffix(string(whole), "\n"), "\n")
	lines[len(lines)-1] += "\n"
	start := func(i int) int { return len(strings.Join(lines[:i], "")) }
	flip := func(at int) string { b := slices.Clone(whole); b[at] ^= 2; return string(b) }
	join := func(parts ...[]string) string { return strings.Join(slices.Concat(parts...), "") }
	for name, c := range map[string]struct {
		text  string
		want  error
		names string
	}{
		"the first flipped":        {flip(20), ErrAltered, "entry 0, in entries.jsonl at byte 0"},
		"one flipped":              {flip(start(300) + 40), ErrAltered, fmt.Sprintf("entry 300, in entries.jsonl at byte %d", start(300))},
		"its version":              {flip(start(300) + 5), ErrAltered, "entry 300,"},
		"its opening brace":        {flip(start(300)), ErrAltered, "entry 300,"},
		"a line end":               {flip(start(301) - 1), ErrRolledBack, "entry 300,"},
		"the last flipped":         {flip(len(whole) - 5), ErrAltered, "entry 599,"},
		"the very last line end":   {flip(len(whole) - 1), ErrRolledBack, "entry 599 and what came after it are gone"},
		"one removed":              {join(lines[:4], lines[5:]), ErrRolledBack, "entry 4,"},
		"one added in the middle":  {join(lines[:4], lines[3:]), ErrAltered, "entry 4,"},
		"the last removed":         {join(lines[:599]), ErrRolledBack, "entry 599 and what came after it are gone"},
		"two swapped":              {join(lines[:7], lines[8:9], lines[7:8], lines[9:]), ErrAltered, "entry 7,"},
		"all removed":              {"", ErrRolledBack, "entry 0 and what came after it are gone"},
		"the end cut off":          {string(whole[:len(whole)-3]), ErrRolledBack, "entry 599 and"},
		"a line longer than fits":  {join(lines[:9]) + strings.Repeat("x", 2<<20) + join(lines[9:]), ErrAltered, fmt.Sprintf("at byte %d (entry 9)", start(9))},
		"a line of nothing":        {join(lines[:9]) + "\n" + join(lines[9:]), ErrAltered, "entry 9,"},
		"zeros in the place of it": {join(lines[:9]) + strings.Repeat("\x00", len(lines[9])-1) + "\n" + join(lines[10:]), ErrAltered, "entry 9,"},
	} {
		w.write(entriesName, []byte(c.text))
		if _, err := Load(w.o.Dir, w.o.Verifier); !errors.Is(err, ErrAltered) || !strings.Contains(fmt.Sprint(err), c.names) {
			t.Errorf("%s: loaded: %v", name, err)
		}
		_, err := Open(w.o)
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.names) {
			t.Errorf("%s: opened: %v", name, err)
		}
		if !bytes.Equal(w.read(entriesName), []byte(c.text)) {
			t.Errorf("%s: the evidence was changed", name)
		}
	}
	w.write(entriesName, whole)
	w.open().Close()
}

// T35: without the file of hashes, or with one that somebody has changed too,
// the first bad entry cannot be told; that something is bad still can.
func TestT35HashesProveNothing(t *testing.T) {
	w := newWorld(t)
	w.closed(20)
	whole, hashes, signed := w.read(entriesName), w.read(hashesName), w.read(checkpointName)
	if len(hashes) != 20*32 {
		t.Fatalf("%d bytes of hashes", len(hashes))
	}
	bad := slices.Clone(whole)
	bad[30] ^= 1
	w.write(entriesName, bad)
	changed := slices.Clone(hashes)
	changed[0] ^= 1
	for name, h := range map[string][]byte{"changed": changed, "cut off": hashes[:70], "empty": {}} {
		w.write(hashesName, h)
		if _, err := Open(w.o); !errors.Is(err, ErrAltered) || strings.Contains(err.Error(), "the first that is not") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Beside a good ledger it is made anew.
	w.write(entriesName, whole)
	for name, h := range map[string][]byte{"changed": changed, "cut off": hashes[:70], "empty": {}, "too long": append(slices.Clone(hashes), make([]byte, 999)...)} {
		w.write(hashesName, h)
		l := w.open()
		fill(t, l, 20, 21)
		l.Close()
		if got := w.read(hashesName); len(got) != 21*32 || !bytes.Equal(got[:20*32], hashes) {
			t.Errorf("%s: %d bytes", name, len(got))
		}
		w.write(entriesName, whole)
		w.write(checkpointName, signed)
	}
}

// T35: somebody who cannot sign takes the checkpoint away, so that a changed
// ledger would be signed as it is.
func TestT35CheckpointRemoved(t *testing.T) {
	w := newWorld(t)
	w.closed(3)
	if err := os.Remove(w.path(checkpointName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(w.o.Dir, w.o.Verifier); !errors.Is(err, ErrUnsigned) {
		t.Errorf("%v", err)
	}
	if _, err := Open(w.o); !errors.Is(err, ErrUnsigned) || !strings.Contains(err.Error(), "--accept-rollback") {
		t.Errorf("%v", err)
	}
	w.open(func(o *Options) { o.Accept = true }).Close()
	if got := w.kinds(); fmt.Sprint(got) != "[permit permit permit ledger.override]" {
		t.Errorf("%v", got)
	}
	w.open().Close()
}

func (w *world) kinds() (kinds []policy.EntryKind) {
	w.t.Helper()
	for leaf, err := range w.load().Leaves() {
		if err != nil {
			w.t.Fatal(err)
		}
		kinds = append(kinds, leaf.Kind)
	}
	return kinds
}

// T35: the whole directory is an older copy of itself, which only somebody
// outside can know.
func TestT35RolledBackLedger(t *testing.T) {
	w := newWorld(t)
	w.closed(5)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(w.o.Dir)); err != nil {
		t.Fatal(err)
	}
	l := w.open()
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
	with := func(o *Options) { o.Remembered = [][]byte{g.Checkpoint(), remembered} }
	o := w.o
	with(&o)
	for range 2 {
		_, err := Open(o)
		if !errors.Is(err, ErrRolledBack) {
			t.Fatalf("%v", err)
		}
		for _, part := range []string{"covers 9 entries", "there are 5", "put the missing ones back", "--accept-rollback"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q is not in: %v", part, err)
			}
		}
	}
	// Going on is possible, and stands in the ledger.
	l = w.open(with, func(o *Options) { o.Accept = true })
	l.Close()
	var last Leaf
	for leaf := range w.load().Leaves() {
		last = leaf
	}
	if last.Index != 5 || last.Kind != policy.EntryRollback || last.Ref["remembered_size"] != "9" || last.Ref["size"] != "5" || last.Ref["root"] != g.Root().String() {
		t.Errorf("%+v", last)
	}
	// It goes on another way: what is remembered stays against it, also once
	// it is longer.
	l = w.open()
	fill(t, l, 20, 26)
	l.Close()
	if err := w.load().Consistent(remembered); !errors.Is(err, ErrAltered) {
		t.Errorf("%v", err)
	}
	if _, err := Open(o); !errors.Is(err, ErrAltered) {
		t.Errorf("%v", err)
	}
}

// T35: an empty directory in the place of a ledger that somebody remembers.
func TestT35LedgerMadeAnew(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	fill(t, l, 0, 2)
	remembered, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	w.o.Dir = filepath.Join(t.TempDir(), "new")
	w.o.Remembered = [][]byte{remembered}
	if _, err := Open(w.o); !errors.Is(err, ErrRolledBack) {
		t.Fatalf("%v", err)
	}
	if _, err := Open(w.o); !errors.Is(err, ErrRolledBack) { // the first try left nothing that helps
		t.Fatalf("%v", err)
	}
	w.o.Accept = true
	w.open().Close()
	if got := w.kinds(); fmt.Sprint(got) != "[ledger.override]" {
		t.Errorf("%v", got)
	}
}

// T35: signed with another key than the one that is known.
func TestT35WrongKey(t *testing.T) {
	w := newWorld(t)
	w.closed(2)
	s, v := newKey(t, "sallyport/test")
	if _, err := Load(w.o.Dir, v); !errors.Is(err, ErrWrongKey) {
		t.Errorf("loaded: %v", err)
	}
	o := w.o
	o.Signer, o.Verifier, o.Accept = s, v, true // which is no roll-back
	if _, err := Open(o); !errors.Is(err, ErrWrongKey) {
		t.Errorf("opened: %v", err)
	}
	o = w.o
	o.Verifier = v
	if _, err := Open(o); !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "do not belong together") {
		t.Errorf("two halves: %v", err)
	}
	other := newWorld(t)
	other.closed(1)
	o = w.o
	o.Remembered = [][]byte{other.read(checkpointName)}
	if _, err := Open(o); !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "remembered") {
		t.Errorf("another node's checkpoint: %v", err)
	}
	if got := w.kinds(); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// Entries of a later version are neither added to nor taken for altered.
func TestLaterVersion(t *testing.T) {
	w := newWorld(t)
	w.closed(2)
	lines := append(w.read(entriesName), []byte(`{"v":2,"time":"2030-01-01T00:00:00Z","kind":"x"}`+"\n")...)
	at := fmt.Sprintf("at byte %d (entry 2)", bytes.LastIndex(lines, []byte(`{"v":2`)))
	w.write(entriesName, lines)
	for name, signed := range map[string]bool{"not signed": false, "signed": true} {
		if signed {
			var tr tree
			for line := range bytes.Lines(lines) {
				tr.add(hashOf(line))
			}
			w.write(checkpointName, w.signTree(tr))
		}
		for range 2 {
			if _, err := Open(w.o); err == nil || !strings.Contains(err.Error(), at) || !strings.Contains(err.Error(), "use the version that wrote it") || errors.Is(err, ErrAltered) {
				t.Errorf("%s: opened: %v", name, err)
			}
			if _, err := Load(w.o.Dir, w.o.Verifier); err == nil || !strings.Contains(err.Error(), at) || errors.Is(err, ErrAltered) {
				t.Errorf("%s: loaded: %v", name, err)
			}
		}
		if !bytes.Equal(w.read(entriesName), lines) {
			t.Errorf("%s: the entries were changed", name)
		}
	}
}
