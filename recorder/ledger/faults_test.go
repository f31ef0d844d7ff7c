package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sallyport/policy"
)

func TestDurableOnReturn(t *testing.T) {
	w := newWorld(t)
	unsynced := map[string]bool{}
	var mu sync.Mutex
	l := w.open(func(o *Options) {
		o.Write = func(f *os.File, p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			unsynced[f.Name()] = true
			return f.Write(p)
		}
		o.Sync = func(f *os.File) error {
			mu.Lock()
			defer mu.Unlock()
			delete(unsynced, f.Name())
			return f.Sync()
		}
	})
	for i := range 5 {
		fill(t, l, i, i+1)
		mu.Lock()
		for name := range unsynced {
			if !strings.HasSuffix(name, ".tmp") { // of a checkpoint, which comes later
				t.Errorf("an entry was acknowledged before the fsync of %s", name)
			}
		}
		mu.Unlock()
	}
}

// faulty fails one of the calls that a ledger makes, counted from when it is
// armed.
type faulty struct {
	mu        sync.Mutex
	armed     bool
	n, at     int
	hit       string // which call that was
	persisted bool   // it does its work and says that it failed
	part      bool   // a write does half of its work
	err       error
}

func (f *faulty) arm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = true
}

func (f *faulty) strike(what string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed {
		return false
	}
	f.n++
	if f.n == f.at {
		f.hit = what
	}
	return f.n == f.at
}

func (f *faulty) hooks(o *Options) {
	o.Write = func(file *os.File, p []byte) (int, error) {
		if !f.strike("write " + filepath.Base(file.Name())) {
			return file.Write(p)
		}
		n := 0
		switch {
		case f.persisted:
			n, _ = file.Write(p)
		case f.part:
			n, _ = file.Write(p[:len(p)/2])
		}
		return n, f.err
	}
	o.Sync = func(file *os.File) error {
		if !f.strike("sync " + filepath.Base(file.Name())) {
			return file.Sync()
		}
		if f.persisted {
			_ = file.Sync()
		}
		return f.err
	}
	o.Rename = func(a, b string) error {
		if !f.strike("rename " + filepath.Base(b)) {
			return os.Rename(a, b)
		}
		if f.persisted {
			_ = os.Rename(a, b)
		}
		return f.err
	}
}

// Every call fails once, in three ways: not done, done although it says not,
// half done. What was acknowledged is there, the tree is that of the entries,
// and what an fsync could not do is final.
func TestEveryFault(t *testing.T) {
	hit := map[string]bool{}
	type kind struct {
		persisted, part bool
		err             error
	}
	for _, kind := range []kind{{err: syscall.EIO}, {persisted: true, err: syscall.EIO}, {part: true, err: syscall.ENOSPC}} {
		for at := 1; ; at++ {
			w := newWorld(t)
			f := &faulty{at: at, persisted: kind.persisted, part: kind.part, err: kind.err}
			l := w.open(f.hooks)
			fill(t, l, 0, 2)
			f.arm()
			acked := []string{"0", "1"}
			var failed []error
			for i := 2; i < 6; i++ {
				if err := l.Append(ctx, entry(i)); err == nil {
					acked = append(acked, fmt.Sprint(i))
				} else if failed = append(failed, err); !errors.Is(err, kind.err) || !strings.Contains(err.Error(), w.o.Dir) {
					t.Errorf("%v", err)
				}
				if i%2 == 1 {
					_, _ = l.Checkpoint(ctx)
				}
			}
			what := fmt.Sprintf("%s (call %d) %+v", f.hit, at, kind.err)
			lasting := l.Err() != nil
			l.Close()
			if f.hit == "" {
				break
			}
			hit[f.hit] = true
			if syncs := f.hit == "sync "+entriesName || strings.HasPrefix(f.hit, "sync 20") || f.hit == "sync "+bodiesDir; syncs != lasting {
				t.Errorf("%s: final: %v", what, lasting)
			}
			if !lasting && len(failed) > 1 {
				t.Errorf("%s: it was not got over: %v", what, failed)
			}
			if g, err := Load(w.o.Dir, w.o.Verifier); err != nil {
				t.Errorf("%s: before the next start: %v", what, err)
			} else if g.Root() != recompute(t, w.o.Dir, g.SignedSize()) {
				t.Errorf("%s: the tree is not that of the entries", what)
			}
			w.open().Close()
			bodies := map[string]int{}
			for e, err := range w.load().Entries(w.o.BodyKey) {
				if err != nil {
					t.Fatal(err)
				}
				if e.User != nil {
					bodies[e.Ref["i"]]++
				}
			}
			for _, a := range acked {
				if bodies[a] != 1 {
					t.Errorf("%s: entry %s was acknowledged and is there %d times: %v", what, a, bodies[a], bodies)
				}
			}
		}
	}
	want := []string{"rename checkpoint", "sync checkpoint.tmp", "sync entries.jsonl", "sync ledger", "write checkpoint.tmp", "write entries.jsonl"}
	for _, name := range want {
		if !hit[name] {
			t.Errorf("%s never failed: %v", name, hit)
		}
	}
}

// The files that a start makes fail, too, and the next start is none the worse.
func TestEveryFaultAtTheStart(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		for at := 1; ; at++ {
			w := newWorld(t)
			f := &faulty{at: at, persisted: persisted, err: syscall.EIO}
			f.arm()
			o := w.o
			f.hooks(&o)
			l, err := Open(o)
			if err == nil {
				l.Close()
			}
			if f.hit == "" {
				break
			}
			if err == nil {
				t.Errorf("%s failed unnoticed", f.hit)
			}
			w.closed(2)
			if got := w.load().Size(); got != 2 {
				t.Errorf("%s: %d entries", f.hit, got)
			}
		}
	}
}

// A disk that hangs holds up whoever waits for it, but not who asks how the
// ledger is, nor whose context ends.
func TestHangingDisk(t *testing.T) {
	w := newWorld(t)
	hang, begun := make(chan struct{}), make(chan struct{}, 100)
	armed := false
	l := w.open(func(o *Options) {
		o.Sync = func(f *os.File) error {
			if armed {
				begun <- struct{}{}
				<-hang
			}
			return nil
		}
	})
	l.commit <- struct{}{}
	armed = true
	<-l.commit
	done := make(chan error, 1)
	go func() { done <- l.Append(ctx, entry(0)) }()
	<-begun
	if err := l.Err(); err != nil {
		t.Error(err)
	}
	if s := l.Stats(); s.Size != 0 {
		t.Errorf("%+v", s)
	}
	gone := errors.New("the client went away")
	c, cancel := context.WithCancelCause(ctx)
	cancel(gone)
	if err := l.Append(c, entry(1)); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	c, cancel = context.WithCancelCause(ctx)
	waiting := make(chan error, 1)
	go func() { waiting <- l.Append(c, entry(2)) }()
	cancel(gone)
	if err := <-waiting; !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	close(hang)
	if err := <-done; err != nil {
		t.Error(err)
	}
	fill(t, l, 3, 4)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got := refs(t, w.load()); !slices.Contains(got, "0") || !slices.Contains(got, "3") {
		t.Errorf("%v", got)
	}
}

// An entry that cannot be stored harms no other.
func TestEntriesThatAreRefused(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	long := strings.Repeat("x", MaxEntry)
	for name, e := range map[string]policy.Entry{
		"a long body": {Kind: "x", Target: long},
		"a long leaf": {Kind: "x", Ref: map[string]string{"a": long}},
		"no kind":     {Target: "t"},
	} {
		if err := l.Append(ctx, entry(0), e); err == nil || len(err.Error()) > 300 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := l.Append(ctx); err != nil {
		t.Error(err)
	}
	fill(t, l, 1, 2)
	l.Close()
	if got := refs(t, w.load()); len(got) != 1 || got[0] != "1" {
		t.Errorf("%v", got)
	}
	if err := l.Append(ctx, entry(0)); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := l.Checkpoint(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

// Files that are taken away or shortened under a running ledger are noticed
// before anything is added to what nobody will find.
func TestFilesChangedWhileOpen(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	fill(t, l, 0, 3)
	away := w.path("away")
	if err := os.Rename(w.path(entriesName), away); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Append(ctx, entry(3)); !errors.Is(err, ErrAltered) || !strings.Contains(err.Error(), "put it back") {
			t.Errorf("removed: %v", err)
		}
		w.write(entriesName, nil) // replaced
	}
	if err := os.Rename(away, w.path(entriesName)); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 4, 5)
	whole := w.read(entriesName)
	if err := os.Truncate(w.path(entriesName), int64(len(whole)-10)); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(ctx, entry(5)); !errors.Is(err, ErrRolledBack) {
		t.Errorf("shortened: %v", err)
	}
	w.write(entriesName, whole)
	fill(t, l, 6, 7)
	l.Close()
	if got := fmt.Sprint(refs(t, w.load())); got != "[0 1 2 4 6]" {
		t.Error(got)
	}
}
