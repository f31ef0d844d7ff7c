package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"sallyport/policy"
)

// A tree that is kept in groups gives the hashes that the library keeps, at
// sizes around their bounds.
func TestGroupsAreTheTree(t *testing.T) {
	for _, size := range []int64{0, 1, 2, 255, 256, 257, 511, 512, 513, 1000} {
		w := newWorld(t)
		l := w.open(noSync)
		for i := int64(0); i < size; {
			var some []policy.Entry
			for ; i < size && len(some) < 300; i++ {
				some = append(some, policy.Entry{Kind: "x", Ref: map[string]string{"i": fmt.Sprint(i)}})
			}
			if err := l.Append(ctx, some...); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
		g := w.load()
		if g.Size() != size || g.Root() != recompute(t, w.o.Dir, size) {
			t.Fatalf("size %d", size)
		}
		var stored []tlog.Hash
		r := tlog.HashReaderFunc(func(is []int64) (hs []tlog.Hash, err error) {
			for _, i := range is {
				hs = append(hs, stored[i])
			}
			return hs, nil
		})
		for i, line := range bytes.SplitAfter(w.read(entriesName), []byte("\n"))[:size] {
			add, err := tlog.StoredHashes(int64(i), bytes.TrimSuffix(line, []byte("\n")), r)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, add...)
		}
		if n := tlog.StoredHashCount(size); n != int64(len(stored)) {
			t.Fatal(n)
		}
		for i := range stored {
			got, err := g.reader().ReadHashes([]int64{int64(i)})
			if err != nil || got[0] != stored[i] {
				t.Fatalf("size %d, hash %d: %v %v", size, i, got, err)
			}
		}
		for _, beyond := range []int64{-1, int64(len(stored)), int64(len(stored)) + 1000, 1 << 40} {
			if _, err := g.reader().ReadHashes([]int64{beyond}); err == nil {
				t.Errorf("size %d: there is a hash %d", size, beyond)
			}
		}
	}
}

// What is added after a Log was loaded is not in it.
func TestLogStaysAsItWas(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	fill(t, l, 0, 3)
	if _, err := l.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 3, 4) // nobody has signed it yet
	g := w.load()
	fill(t, l, 4, 9)
	if got := fmt.Sprint(refs(t, g)); got != "[0 1 2 3]" || g.Size() != 4 || g.SignedSize() > 4 {
		t.Errorf("%s, size %d, %d signed", got, g.Size(), g.SignedSize())
	}
	n := 0
	for _, err := range g.Entries(w.o.BodyKey) {
		if n++; err != nil {
			t.Error(err)
		}
	}
	if n != 4 {
		t.Errorf("%d entries", n)
	}
	newer, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Consistent(newer); !errors.Is(err, ErrRolledBack) {
		t.Errorf("%v", err)
	}
	if err := w.load().Consistent(newer); err != nil {
		t.Errorf("%v", err)
	}
}

// Files that change while a Log reads them are noticed.
func TestAlteredWhileRead(t *testing.T) {
	w := newWorld(t)
	w.closed(300)
	g := w.load()
	whole := w.read(entriesName)
	bad := bytes.Clone(whole)
	bad[40] ^= 1
	w.write(entriesName, bad)
	if _, err := g.Prove(5); !errors.Is(err, ErrAltered) { // its path needs the others of the group
		t.Errorf("%v", err)
	}
	w.write(entriesName, whole[:len(whole)/2])
	var last error
	for _, last = range g.Leaves() {
	}
	if !errors.Is(last, ErrAltered) {
		t.Errorf("%v", last)
	}
}

// Several goroutines may use one Log, and one Ledger.
func TestConcurrentUse(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	fill(t, l, 0, 3)
	if _, err := l.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	g := w.load()
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 10 {
				p, err := g.Prove(rand.Int64N(3))
				if err == nil {
					_, err = CheckProof(p, w.o.Verifier)
				}
				err = errors.Join(err, l.Append(ctx, entry(n*100+i)), l.Err())
				if i%3 == 0 {
					_, cpErr := l.Checkpoint(ctx)
					_, loadErr := Load(w.o.Dir, w.o.Verifier)
					err = errors.Join(err, cpErr, loadErr)
				}
				_, _ = l.Stats(), g.Size()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestStatsAfterStart(t *testing.T) {
	w := newWorld(t)
	w.closed(3)
	l := w.open()
	if s := l.Stats(); s.Size != 3 || s.Unsigned != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := Load(filepath.Join(w.o.Dir, "none"), w.o.Verifier); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// bigDir makes a signed ledger of n small leaves without going through Append.
func bigDir(t testing.TB, n int) *world {
	t.Helper()
	w := newWorld(t)
	if err := os.MkdirAll(w.o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	var tr tree
	for i := range n {
		from := b.Len()
		fmt.Fprintf(&b, `{"v":1,"time":"2026-01-02T03:04:05.%09dZ","kind":"recording.segment","session":"01jabcdefghjkmnpqrstvwxyz0","ref":{"segment":"%d","sha256":"%064d","size":"%d"}}`, i%1e9, i, i, i)
		tr.add(tlog.RecordHash(b.Bytes()[from:]))
		b.WriteByte('\n')
	}
	w.write(entriesName, b.Bytes())
	w.write(checkpointName, w.signTree(tr))
	return w
}

// A long ledger is loaded and proven in little memory.
func TestLongLedgerNeedsLittleMemory(t *testing.T) {
	const n = 200_000
	w := bigDir(t, n)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	g := w.load()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 1<<20 {
		t.Errorf("%d bytes for %d leaves", held, n)
	}
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 16<<20 {
		t.Errorf("%d bytes went through the heap", taken)
	}
	p, err := g.Prove(0, 123_456, n-1)
	if err != nil {
		t.Fatal(err)
	}
	if leaves, err := CheckProof(p, w.o.Verifier); err != nil || len(leaves) != 3 || leaves[1].Ref["segment"] != "123456" {
		t.Errorf("%v %v", leaves, err)
	}
	runtime.KeepAlive(g)
}

// The time that the oldest entry is without a checkpoint is measured.
func TestUnsignedTimeIsMeasured(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := w.open(func(o *Options) { o.Now = func() time.Time { return now } })
	fill(t, l, 0, 1)
	l.commit <- struct{}{} // nothing is signed meanwhile
	if l.signed == 0 {
		now = now.Add(3 * time.Second)
		if s := l.Stats(); s.Unsigned != 3*time.Second {
			t.Errorf("%+v", s)
		}
	}
	<-l.commit
	if _, err := l.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Unsigned != 0 {
		t.Errorf("%+v", s)
	}
}
