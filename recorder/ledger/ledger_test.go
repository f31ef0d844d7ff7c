package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

func TestAppendLoadAndProve(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	fill(t, l, 0, 37)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	g := w.load()
	if g.Size() != 37 || g.SignedSize() != 37 || len(refs(t, g)) != 37 {
		t.Fatalf("%d entries, %d signed", g.Size(), g.SignedSize())
	}
	n := 0
	for e, err := range g.Entries(w.o.BodyKey) {
		if err != nil || e.User.Subject != fmt.Sprint("s", n) || e.Target != "target-one" || e.Detail["n"] != fmt.Sprint(n) {
			t.Fatalf("entry %d: %+v %v", n, e, err)
		}
		n++
	}
	for e := range g.Entries([32]byte{1}) {
		if e.User != nil || e.Detail != nil {
			t.Fatal("a body opened with another key")
		}
	}
	// Nothing personal stands in the tree.
	if b, _ := os.ReadFile(filepath.Join(w.o.Dir, entriesName)); strings.Contains(string(b), "target-one") || strings.Contains(string(b), "https://i") {
		t.Error("a leaf names somebody")
	}
	p, err := g.Prove(0, 17, 36)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Proof
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	leaves, err := CheckProof(back, w.o.Verifier)
	if err != nil || len(leaves) != 3 || leaves[1].Ref["i"] != "17" {
		t.Errorf("%v %v", leaves, err)
	}
	back.Leaves[1].Leaf = strings.Replace(back.Leaves[1].Leaf, `"17"`, `"18"`, 1)
	if _, err := CheckProof(back, w.o.Verifier); !errors.Is(err, ErrAltered) {
		t.Errorf("an altered leaf: %v", err)
	}
	_, other := newKey(t, "sallyport/test")
	if _, err := CheckProof(p, other); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
}

// The tree is that of RFC 6962, as the library computes it.
func TestTree(t *testing.T) {
	var own tree
	var stored []tlog.Hash
	r := tlog.HashReaderFunc(func(is []int64) (hs []tlog.Hash, err error) {
		for _, i := range is {
			hs = append(hs, stored[i])
		}
		return hs, nil
	})
	for i := range int64(130) {
		want, err := tlog.TreeHash(i, r)
		if err != nil || own.root() != want || own.size != i {
			t.Fatalf("size %d: %v, want %v, %v", i, own.root(), want, err)
		}
		leaf := fmt.Appendf(nil, "leaf %d", i)
		own.add(tlog.RecordHash(leaf))
		add, err := tlog.StoredHashes(i, leaf, r)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, add...)
	}
}

func TestCheckpointFollowsByItself(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	_, news := l.Latest()
	fill(t, l, 0, 3)
	select {
	case <-news:
	case <-time.After(20 * time.Second):
		t.Fatal("no checkpoint came")
	}
	latest, _ := l.Latest()
	if tr, err := OpenCheckpoint(latest, w.o.Verifier); err != nil || tr.N != 3 {
		t.Errorf("%v %v", tr, err)
	}
	if s := l.Stats(); s.Size != 3 || s.Unsigned != 0 {
		t.Errorf("%+v", s)
	}
}

func TestGroupCommit(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for i := range 10 {
				if err := l.Append(ctx, entry(g*10+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	l.Close()
	got := refs(t, w.load())
	slices.Sort(got)
	if len(slices.Compact(got)) != 200 {
		t.Errorf("%d entries", len(got))
	}
	if err := l.Append(ctx, entry(0)); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}
