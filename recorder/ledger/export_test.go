package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/policy"
)

// archive takes copies as a store does that creates each object once.
type archive struct {
	t     *testing.T
	dir   string
	files map[string][]byte
}

func newArchive(t *testing.T) *archive { return &archive{t, t.TempDir(), map[string][]byte{}} }

func (a *archive) put(name string, data []byte) error {
	if old, ok := a.files[name]; ok && !bytes.Equal(old, data) {
		return fmt.Errorf("%s is there with other content", name)
	}
	a.files[name] = bytes.Clone(data)
	return os.WriteFile(filepath.Join(a.dir, name), data, 0o600)
}

func (a *archive) export(l *Ledger, from int64) int64 {
	a.t.Helper()
	next, err := l.Export(ctx, from, a.put)
	if err != nil {
		a.t.Fatal(err)
	}
	return next
}

// A directory of copies alone is loaded and gives the same proofs; nothing in
// it names anybody.
func TestExportedCopiesLoad(t *testing.T) {
	w := newWorld(t)
	l := w.open(noSync)
	a := newArchive(t)
	var next int64
	for i := range 4 {
		fill(t, l, i*150, i*150+150) // chunks that end within groups
		if next = a.export(l, next); next != int64(i*150+150) {
			t.Fatal(next)
		}
		if again := a.export(l, next); again != next {
			t.Errorf("%d", again)
		}
	}
	g, err := Load(a.dir, w.o.Verifier)
	if err != nil || g.Size() != 600 || g.SignedSize() != 600 || g.Root() != w.load().Root() {
		t.Fatalf("%+v %v", g, err)
	}
	if len(a.files) != 8 || len(refs(t, g)) != 600 {
		t.Errorf("%d files", len(a.files))
	}
	p, err := g.Prove(0, 149, 150, 260, 599)
	if err != nil {
		t.Fatal(err)
	}
	leaves, err := CheckProof(p, w.o.Verifier)
	if err != nil || len(leaves) != 5 || leaves[3].Ref["i"] != "260" {
		t.Errorf("%v %v", leaves, err)
	}
	for name, data := range a.files {
		if bytes.Contains(data, []byte("target-one")) || bytes.Contains(data, []byte("https://i")) {
			t.Errorf("%s names somebody", name)
		}
	}
	for e, err := range g.Entries(w.o.BodyKey) {
		if err != nil || e.User != nil {
			t.Fatalf("%+v %v", e, err)
		}
	}
}

// T35: copies that are missing, changed, cut off or of a wrong name.
func TestT35AlteredCopies(t *testing.T) {
	w := newWorld(t)
	l := w.open(noSync)
	a := newArchive(t)
	next := int64(0)
	for i := range 6 {
		fill(t, l, i*5, i*5+5)
		next = a.export(l, next)
	}
	chunk := chunkName(10, 15)
	good := a.files[chunk]
	check := func(name, says string) {
		t.Helper()
		if _, err := Load(a.dir, w.o.Verifier); !errors.Is(err, ErrAltered) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(a.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(name string) {
		t.Helper()
		if err := os.Remove(filepath.Join(a.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	flipped := bytes.Clone(good)
	flipped[30] ^= 1
	write(chunk, flipped)
	check("flipped", "one of 10 to 14, in "+chunk)
	write(chunk, good[:len(good)-2])
	check("cut off", chunk+" ends at entry 14, and its name says 15")
	write(chunk, append(bytes.Clone(good), good...)) // what its name does not say is not in it
	if _, err := Load(a.dir, w.o.Verifier); err != nil {
		t.Errorf("a longer chunk: %v", err)
	}
	remove(chunk)
	check("missing", "entries 10 to 14 are missing before "+chunkName(15, 20))
	write(chunk, good)
	last := chunkName(25, 30)
	remove(last)
	check("the last missing", "covers 30 entries, and there are 25")
	remove("checkpoint-" + fmt.Sprintf("%016d", 30)) // it is an older copy then
	g, err := Load(a.dir, w.o.Verifier)
	if err != nil || g.Size() != 25 {
		t.Fatal(err)
	}
	remembered, _ := l.Latest()
	if err := g.Consistent(remembered); !errors.Is(err, ErrRolledBack) {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"entries-0000000000000025-0000000000000020.jsonl", "entries-25-30.jsonl", "checkpoint-99", "checkpoint-000000000000003x", "checkpoint-0000000000000031.tmp"} {
		write(name, a.files[last])
	}
	if g, err := Load(a.dir, w.o.Verifier); err != nil || g.Size() != 25 {
		t.Errorf("files of other names: %v", err)
	}
}

// An export that did not come to its end is done again, in other chunks; they
// overlap, and are no alteration.
func TestExportGoesOnAfterFaults(t *testing.T) {
	w := newWorld(t)
	l := w.open(noSync)
	a := newArchive(t)
	fill(t, l, 0, 5)
	next := a.export(l, 0)
	fill(t, l, 5, 9)
	gone := errors.New("the archive is gone")
	puts := 0
	again, err := l.Export(ctx, next, func(name string, data []byte) error {
		if puts++; puts > 1 {
			return gone
		}
		return a.put(name, data)
	})
	if !errors.Is(err, gone) || again != next {
		t.Fatalf("%d %v", again, err)
	}
	fill(t, l, 9, 12)
	if next = a.export(l, next); next != 12 {
		t.Fatal(next)
	}
	fill(t, l, 12, 13)
	a.export(l, next)
	if g, err := Load(a.dir, w.o.Verifier); err != nil || g.Size() != 13 || len(refs(t, g)) != 13 {
		t.Errorf("%v", err)
	}
	for _, from := range []int64{-1, 14} {
		if _, err := l.Export(ctx, from, a.put); err == nil {
			t.Errorf("copied from %d on", from)
		}
	}
}

// A long ledger is copied in several chunks.
func TestExportChunks(t *testing.T) {
	w := newWorld(t)
	l := w.open(noSync)
	big := strings.Repeat("x", 900_000)
	for i := range 40 {
		if err := l.Append(ctx, policy.Entry{Kind: "x", Ref: map[string]string{"i": fmt.Sprint(i), "big": big}}); err != nil {
			t.Fatal(err)
		}
	}
	a := newArchive(t)
	a.export(l, 0)
	for name, data := range a.files {
		if len(data) > maxChunk+MaxEntry {
			t.Errorf("%s has %d bytes", name, len(data))
		}
	}
	if g, err := Load(a.dir, w.o.Verifier); err != nil || g.Size() != 40 || len(a.files) != 4 {
		t.Errorf("%v, %d files", err, len(a.files))
	}
}
