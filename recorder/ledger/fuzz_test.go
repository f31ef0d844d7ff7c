package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sallyport/policy"
)

// A key that nothing else uses: inputs that are kept stay signed.
const (
	fuzzSecret = "PRIVATE+KEY+sallyport/fuzz+10c8d584+AfCkftHCxik81VzAyOeZaDBth2e/RDjdk7hKDrDQKDE+"
	fuzzPublic = "sallyport/fuzz+10c8d584+AdEsEkTZJxGoTiNaY1L7bnFx5b8ctBjy7sayuw/A+nOz"
)

// fuzzWorld is a ledger of three entries, the same ones each time: the processes
// that fuzz each make it.
func fuzzWorld(f *testing.F) *world {
	f.Helper()
	s, err := note.NewSigner(fuzzSecret)
	if err != nil {
		f.Fatal(err)
	}
	v, err := note.NewVerifier(fuzzPublic)
	if err != nil {
		f.Fatal(err)
	}
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	w := &world{f, Options{Dir: filepath.Join(f.TempDir(), "ledger"), Signer: s, Verifier: v, BodyKey: [32]byte{9}, Sync: func(*os.File) error { return nil }}}
	w.at(&now)
	l := w.open()
	for i := range 3 {
		if err := l.Append(ctx, policy.Entry{Kind: policy.EntryDeny, Ref: map[string]string{"i": fmt.Sprint(i)}}); err != nil {
			f.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	return w
}

func FuzzCheckpoint(f *testing.F) {
	w := fuzzWorld(f)
	whole := w.read(checkpointName)
	f.Add(whole)
	f.Add([]byte("sallyport/fuzz\n-1\n\n\n— x y\n"))
	f.Add([]byte("sallyport/fuzz\n3\n" + strings.Repeat("A", 43) + "=\nmore\n"))
	f.Add([]byte("sallyport/fuzz\n03\n" + strings.Repeat("A", 43) + "=\n"))
	f.Add([]byte("sallyport/fuzz\n99999999999999999999\n" + strings.Repeat("A", 43) + "=\n"))
	f.Add(append([]byte("x"), whole...))
	f.Fuzz(func(t *testing.T, text []byte) {
		if tr, err := OpenCheckpoint(text, w.o.Verifier); err == nil && (tr.N != 3 || !bytes.HasPrefix(text, whole[:bytes.Index(whole, []byte("\n\n"))])) {
			t.Errorf("a forged checkpoint of %d entries", tr.N)
		}
		tr, err := parseCheckpoint(string(text), w.o.Verifier.Name())
		if err != nil {
			return
		}
		again, err := parseCheckpoint(formatCheckpoint(w.o.Verifier.Name(), tr), w.o.Verifier.Name())
		if err != nil || again != tr || tr.N < 0 {
			t.Errorf("%v is not %v: %v", again, tr, err)
		}
	})
}

func FuzzProof(f *testing.F) {
	w := fuzzWorld(f)
	genuine := map[string]bool{}
	for line := range bytes.Lines(w.read(entriesName)) {
		genuine[strings.TrimSuffix(string(line), "\n")] = true
	}
	for _, indexes := range [][]int64{{0}, {2, 1}, {}} {
		p, err := w.load().Prove(indexes...)
		if err != nil {
			f.Fatal(err)
		}
		text, err := json.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"leaves":[{"index":-1}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p Proof
		if json.Unmarshal(text, &p) != nil {
			return
		}
		leaves, err := CheckProof(p, w.o.Verifier)
		if err != nil {
			return
		}
		for i, leaf := range leaves {
			if !genuine[p.Leaves[i].Leaf] || leaf.Ref["i"] != fmt.Sprint(leaf.Index) {
				t.Errorf("a forged leaf: %+v", leaf)
			}
		}
	})
}

// Whatever entries.jsonl, hashes and the copies hold: reading them ends, and
// what it accepts is what was signed.
func FuzzEntries(f *testing.F) {
	w := fuzzWorld(f)
	whole, hashes, checkpoint := w.read(entriesName), w.read(hashesName), w.read(checkpointName)
	f.Add(whole, hashes)
	f.Add(whole[:len(whole)-1], hashes[:40])
	f.Add(bytes.Replace(whole, []byte(`"v":1`), []byte(`"v":2`), 1), hashes)
	f.Add(append(bytes.Clone(whole), "\x00\x00\n\n{\"v\":3,\"kind\":\"x\"}\n"...), []byte{})
	f.Add([]byte("\n\n\n"), []byte{})
	f.Fuzz(func(t *testing.T, entries, hashes []byte) {
		o := w.o
		o.Dir = t.TempDir()
		put := func(dir, name string, data []byte) {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put(o.Dir, entriesName, entries)
		put(o.Dir, hashesName, hashes)
		put(o.Dir, checkpointName, checkpoint)
		genuine := bytes.HasPrefix(entries, whole)
		g, err := Load(o.Dir, o.Verifier)
		if err == nil && !genuine {
			t.Error("altered entries were loaded")
		}
		if err == nil {
			n := int64(0)
			for range g.Leaves() {
				n++
			}
			if n != g.Size() {
				t.Errorf("%d leaves of %d", n, g.Size())
			}
		}
		l, openErr := Open(o)
		if (openErr == nil) != (err == nil) {
			t.Errorf("loaded: %v, opened: %v", err, openErr)
		}
		if openErr == nil {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if again, err := Load(o.Dir, o.Verifier); err != nil || again.Size() < g.Size() || again.SignedSize() != again.Size() {
				t.Errorf("after the start: %v", err)
			}
		}
		copies := t.TempDir()
		put(copies, chunkName(0, 2), entries)
		put(copies, chunkName(1, 3), entries[min(len(entries), bytes.IndexByte(entries, '\n')+1):])
		put(copies, copiedCheckpoint(3), checkpoint)
		if _, err := Load(copies, o.Verifier); err == nil && !genuine {
			t.Error("altered copies were loaded")
		} else if err != nil && genuine {
			t.Errorf("genuine copies: %v", err)
		}
	})
}

func FuzzBody(f *testing.F) {
	key := [32]byte{9}
	plain := []byte(`{"salt":"00","user":{"issuer":"https://i","subject":"s"},"detail":{"a":"b"}}`)
	sum := sha256.Sum256(plain)
	digest := hex.EncodeToString(sum[:])
	aead, err := bodyCipher(key)
	if err != nil {
		f.Fatal(err)
	}
	nonce := make([]byte, aead.NonceSize()) // always the same, as the input is to be
	line := digest + " " + base64.StdEncoding.EncodeToString(aead.Seal(nonce, nonce, plain, []byte(digest)))
	if _, b, err := openBody([]byte(line), key); err != nil || b.User.Subject != "s" {
		f.Fatalf("%+v %v", b, err)
	}
	f.Add([]byte(line + "\n"))
	f.Add([]byte(line[:100]))
	f.Add([]byte(strings.Repeat("0", 64) + " AAAA\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if found, _, err := openBody(line, key); err == nil && found != digest {
			t.Errorf("a forged body %s", found)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add(chunkName(0, 5))
	f.Add(copiedCheckpoint(7))
	f.Add("entries-+000000000000001-0000000000000002.jsonl")
	f.Fuzz(func(t *testing.T, name string) {
		if from, to, ok := chunkRange(name); ok && (name != chunkName(from, to) || from < 0 || from >= to) {
			t.Errorf("%q: %d to %d", name, from, to)
		}
		if checkpointOf(name) && strings.ContainsAny(name, "/\\+") {
			t.Errorf("%q is a checkpoint's", name)
		}
	})
}
