package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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
		own.add(leaf)
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

func TestDurableOnReturn(t *testing.T) {
	w := newWorld(t)
	unsynced := false
	var mu sync.Mutex
	l := w.open(func(o *Options) {
		o.Write = func(f *os.File, p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			unsynced = unsynced || filepath.Base(f.Name()) == entriesName
			return f.Write(p)
		}
		o.Sync = func(f *os.File) error {
			mu.Lock()
			defer mu.Unlock()
			if filepath.Base(f.Name()) == entriesName {
				unsynced = false
			}
			return f.Sync()
		}
	})
	for i := range 5 {
		fill(t, l, i, i+1)
		mu.Lock()
		if unsynced {
			t.Error("an entry was acknowledged before its fsync")
		}
		mu.Unlock()
	}
}

// Each fault is injected twice: not persisted, and persisted although it said
// that it failed.
func TestFaults(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		for at := range 8 {
			w := newWorld(t)
			n, on := 0, false
			var mu sync.Mutex
			fault := func(do func() error) error {
				mu.Lock()
				defer mu.Unlock()
				if on {
					if n++; n == at+1 {
						if persisted {
							_ = do()
						}
						return syscall.EIO
					}
				}
				return do()
			}
			l := w.open(func(o *Options) {
				o.Write = func(f *os.File, p []byte) (w int, err error) {
					err = fault(func() error { w, err = f.Write(p); return err })
					return w, err
				}
				o.Sync = func(f *os.File) error { return fault(f.Sync) }
				o.Rename = func(a, b string) error { return fault(func() error { return os.Rename(a, b) }) }
			})
			fill(t, l, 0, 2)
			mu.Lock()
			on = true
			mu.Unlock()
			acked := []string{"0", "1"}
			for i := 2; i < 5; i++ {
				if l.Append(ctx, entry(i)) == nil {
					acked = append(acked, fmt.Sprint(i))
				}
				_, _ = l.Checkpoint(ctx)
			}
			l.Close()
			l = w.open()
			l.Close()
			got := refs(t, w.load())
			for _, a := range acked {
				if !slices.Contains(got, a) {
					t.Errorf("fault %d, persisted %v: entry %s was acknowledged and is lost: %v", at, persisted, a, got)
				}
			}
		}
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

func TestErasedBodies(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	l := w.open(func(o *Options) { o.Now = func() time.Time { return now } })
	fill(t, l, 0, 2)
	now = now.AddDate(0, 0, 3)
	fill(t, l, 2, 4)
	l.Close()
	n, err := EraseBodies(w.o.Dir, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	if err != nil || n != 1 {
		t.Fatalf("%d %v", n, err)
	}
	var who []string
	for e, err := range w.load().Entries(w.o.BodyKey) {
		if err != nil {
			t.Fatal(err)
		}
		if e.User != nil {
			who = append(who, e.User.Subject)
		}
	}
	if fmt.Sprint(who) != "[s2 s3]" {
		t.Errorf("%v", who)
	}
	w.open().Close()
}

func TestExportedChunksLoad(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	dir := t.TempDir()
	put := func(name string, data []byte) error { return os.WriteFile(filepath.Join(dir, name), data, 0o600) }
	var next int64
	var err error
	for i := range 4 {
		fill(t, l, i*5, i*5+5)
		if next, err = l.Export(ctx, next, put); err != nil || next != int64(i*5+5) {
			t.Fatalf("%d %v", next, err)
		}
	}
	if again, err := l.Export(ctx, next, put); err != nil || again != next {
		t.Errorf("%d %v", again, err)
	}
	g, err := Load(dir, w.o.Verifier)
	if err != nil || g.Size() != 20 || g.SignedSize() != 20 {
		t.Fatalf("%+v %v", g, err)
	}
	chunks, _ := filepath.Glob(filepath.Join(dir, chunkPrefix+"*"))
	if err := os.Remove(chunks[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, w.o.Verifier); !errors.Is(err, ErrAltered) {
		t.Errorf("a missing chunk: %v", err)
	}
}

func TestHostileFiles(t *testing.T) {
	w := newWorld(t)
	w.open().Close()
	path := filepath.Join(w.o.Dir, entriesName)
	for name, text := range map[string]string{
		"a line of 3 MiB": strings.Repeat("x", 3<<20) + "\n",
		"newer":           `{"v":2,"kind":"x"}` + "\n",
		"no JSON":         "x\n\x00\n\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := Load(w.o.Dir, w.o.Verifier)
		if err == nil {
			for _, leafErr := range g.Leaves() {
				if leafErr == nil || !strings.Contains(leafErr.Error(), "entry ") {
					t.Errorf("%s: %v", name, leafErr)
				}
			}
		} else if !strings.Contains(err.Error(), "byte 0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyFiles(t *testing.T) {
	skey, vkey, err := GenerateKey("sallyport/k")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if _, err := ReadSigner(write("s", skey+"\n", 0o600)); err != nil {
		t.Error(err)
	}
	if _, err := ReadVerifier(write("v", vkey+"\n", 0o644)); err != nil {
		t.Error(err)
	}
	for _, p := range []string{write("open", skey, 0o644), write("bad", "x", 0o600), write("long", strings.Repeat("x", 1<<20), 0o600), dir, dir + "/none"} {
		if _, err := ReadSigner(p); err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := ReadVerifier(write("s2", skey, 0o600)); err == nil || strings.Contains(err.Error(), skey) {
		t.Errorf("a signing key as a public one: %v", err)
	}
	for _, bad := range []string{"", "a b", "a+b", "a\nb"} {
		if _, _, err := GenerateKey(bad); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}

func FuzzCheckpointAndProof(f *testing.F) {
	w := newWorld(f)
	l := w.open()
	fill(f, l, 0, 3)
	cp, err := l.Checkpoint(ctx)
	if err != nil {
		f.Fatal(err)
	}
	p, err := w.load().Prove(1)
	if err != nil {
		f.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cp, text)
	f.Add([]byte("x\n-1\n\n\n— x y\n"), []byte(`{"leaves":[{"index":-1}]}`))
	f.Fuzz(func(t *testing.T, checkpoint, proof []byte) {
		tr, err := OpenCheckpoint(checkpoint, w.o.Verifier)
		if err == nil && tr.N != 3 && tr.N != 0 {
			t.Errorf("a forged checkpoint of %d entries", tr.N)
		}
		var q Proof
		if json.Unmarshal(proof, &q) == nil {
			if leaves, err := CheckProof(q, w.o.Verifier); err == nil {
				for i, leaf := range leaves {
					if q.Leaves[i].Leaf != p.Leaves[0].Leaf {
						t.Errorf("a forged leaf: %+v", leaf)
					}
				}
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			l := newWorld(b).open()
			b.ResetTimer()
			var wg sync.WaitGroup
			for g := range callers {
				wg.Go(func() {
					for i := g; i < b.N; i += callers {
						if err := l.Append(ctx, entry(i)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	w := newWorld(b)
	l := w.open()
	const n = 100_000
	var all []policy.Entry
	for i := range n {
		all = append(all, policy.Entry{Kind: policy.EntryPermit, Ref: map[string]string{"i": fmt.Sprint(i)}})
	}
	if err := l.Append(ctx, all...); err != nil {
		b.Fatal(err)
	}
	l.Close()
	b.ResetTimer()
	for range b.N {
		w.load()
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "entries/s")
}
