package ledger

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sallyport/policy"
)

var ctx = context.Background()

func newKey(t testing.TB, name string) (note.Signer, note.Verifier) {
	t.Helper()
	skey, vkey, err := GenerateKey(name)
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
	return s, v
}

// world is a ledger's directory and keys.
type world struct {
	t testing.TB
	o Options
}

func newWorld(t testing.TB) *world {
	s, v := newKey(t, "sallyport/test")
	return &world{t, Options{Dir: filepath.Join(t.TempDir(), "ledger"), Signer: s, Verifier: v, BodyKey: [32]byte{9}}}
}

func (w *world) open(edit ...func(*Options)) *Ledger {
	w.t.Helper()
	o := w.o
	for _, e := range edit {
		e(&o)
	}
	l, err := Open(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	return l
}

func entry(i int) policy.Entry {
	return policy.Entry{Kind: policy.EntryPermit, User: &policy.User{Issuer: "https://i", Subject: fmt.Sprint("s", i)}, Target: "target-one",
		Detail: map[string]string{"n": fmt.Sprint(i)}, Ref: map[string]string{"i": fmt.Sprint(i)}}
}

func fill(t testing.TB, l *Ledger, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := l.Append(ctx, entry(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) load() *Log {
	w.t.Helper()
	g, err := Load(w.o.Dir, w.o.Verifier)
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func refs(t testing.TB, g *Log) (all []string) {
	t.Helper()
	for leaf, err := range g.Leaves() {
		if err != nil {
			t.Fatal(err)
		}
		if leaf.Index != int64(len(all)) {
			t.Errorf("leaf %d has index %d", len(all), leaf.Index)
		}
		all = append(all, leaf.Ref["i"])
	}
	return all
}

// hashOf is the hash of a leaf's line, with or without its line feed.
func hashOf(line []byte) tlog.Hash { return tlog.RecordHash(bytes.TrimSuffix(line, []byte("\n"))) }

// signTree signs a tree with the world's key.
func (w *world) signTree(tr tree) []byte {
	w.t.Helper()
	text, err := note.Sign(&note.Note{Text: formatCheckpoint(w.o.Verifier.Name(), tlog.Tree{N: tr.size, Hash: tr.root()})}, w.o.Signer)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}
