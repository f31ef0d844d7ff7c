package ledger

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// overJSON is what somebody else gets of a proof.
func overJSON(t testing.TB, p Proof) (back Proof) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

// Every leaf of trees of many sizes is proven to somebody who has nothing but
// the public key.
func TestProveEveryLeaf(t *testing.T) {
	w := newWorld(t)
	l := w.open(noSync)
	for size := int64(1); size <= 40; size++ {
		fill(t, l, int(size-1), int(size))
		if _, err := l.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
		g := w.load()
		var all []int64
		for i := range size {
			all = append(all, i)
		}
		p, err := g.Prove(all...)
		if err != nil {
			t.Fatal(err)
		}
		leaves, err := CheckProof(overJSON(t, p), w.o.Verifier)
		if err != nil || int64(len(leaves)) != size {
			t.Fatalf("size %d: %v", size, err)
		}
		for i, leaf := range leaves {
			if leaf.Index != int64(i) || leaf.Ref["i"] != string(p.Leaves[i].Leaf[strings.Index(p.Leaves[i].Leaf, `"i":"`)+5:][:len(leaf.Ref["i"])]) {
				t.Errorf("%+v", leaf)
			}
		}
		for _, none := range []int64{-1, size, 1 << 50} {
			if _, err := g.Prove(none); !errors.Is(err, ErrUnsigned) {
				t.Errorf("entry %d: %v", none, err)
			}
		}
	}
}

// T35: a proof that was changed in any of its parts is none.
func TestT35AlteredProof(t *testing.T) {
	w := newWorld(t)
	w.closed(37)
	g := w.load()
	p, err := g.Prove(3, 17, 36)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Proof){
		"a leaf":              func(p *Proof) { p.Leaves[1].Leaf = strings.Replace(p.Leaves[1].Leaf, `"17"`, `"18"`, 1) },
		"white space":         func(p *Proof) { p.Leaves[1].Leaf += " " },
		"an index":            func(p *Proof) { p.Leaves[1].Index = 18 },
		"a negative index":    func(p *Proof) { p.Leaves[1].Index = -1 },
		"an index beyond":     func(p *Proof) { p.Leaves[1].Index = 37 },
		"two indexes swapped": func(p *Proof) { p.Leaves[0].Index, p.Leaves[1].Index = 17, 3 },
		"a path of another":   func(p *Proof) { p.Leaves[0].Path = p.Leaves[1].Path },
		"no path":             func(p *Proof) { p.Leaves[0].Path = nil },
		"a shorter path":      func(p *Proof) { p.Leaves[0].Path = p.Leaves[0].Path[1:] },
		"a longer path":       func(p *Proof) { p.Leaves[0].Path = append(p.Leaves[0].Path, p.Leaves[0].Path[0]) },
		"an endless path":     func(p *Proof) { p.Leaves[0].Path = make([]string, 1000) },
		"no base64":           func(p *Proof) { p.Leaves[0].Path[0] = "*" },
		"a short hash":        func(p *Proof) { p.Leaves[0].Path[0] = base64.StdEncoding.EncodeToString(make([]byte, 31)) },
		"an inner node":       func(p *Proof) { p.Leaves[0].Leaf = "\x01" + p.Leaves[0].Leaf },
	} {
		bad := overJSON(t, p)
		edit(&bad)
		if _, err := CheckProof(bad, w.o.Verifier); !errors.Is(err, ErrAltered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, edit := range map[string]func(string) string{
		"its size": func(s string) string { return strings.Replace(s, "\n37\n", "\n38\n", 1) },
		"its root": func(s string) string {
			root := g.Root()
			root[0] ^= 1
			return strings.Replace(s, g.Root().String(), root.String(), 1)
		},
	} {
		bad := overJSON(t, p)
		bad.Checkpoint = edit(bad.Checkpoint)
		if _, err := CheckProof(bad, w.o.Verifier); bad.Checkpoint == p.Checkpoint || !errors.Is(err, ErrAltered) {
			t.Errorf("the checkpoint, %s: %v", name, err)
		}
	}
	_, other := newKey(t, "sallyport/test")
	if _, err := CheckProof(p, other); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
	if _, err := CheckProof(Proof{}, w.o.Verifier); err == nil {
		t.Error("nothing is a proof")
	}
	if leaves, err := CheckProof(Proof{Checkpoint: p.Checkpoint}, w.o.Verifier); err != nil || len(leaves) != 0 {
		t.Errorf("a proof of no entry: %v", err)
	}
}
