package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"sallyport/policy"
)

const testDay = "2026-05-04"

func onTestDay(o *Options) {
	o.Now = func() time.Time { return time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC) }
}

func noSync(o *Options) { o.Sync = func(*os.File) error { return nil } }

// recompute returns the root of a directory's entries by means of the library
// alone.
func recompute(t testing.TB, dir string, size int64) tlog.Hash {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, entriesName))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(data), "\n")
	if int64(len(lines)-1) < size {
		t.Fatalf("the checkpoint is ahead: it covers %d entries, and there are %d", size, len(lines)-1)
	}
	var stored []tlog.Hash
	r := tlog.HashReaderFunc(func(is []int64) (hs []tlog.Hash, err error) {
		for _, i := range is {
			hs = append(hs, stored[i])
		}
		return hs, nil
	})
	for i := range size {
		add, err := tlog.StoredHashes(i, []byte(strings.TrimSuffix(lines[i], "\n")), r)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, add...)
	}
	root, err := tlog.TreeHash(size, r)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// afterCrash opens what a power failure left and holds it to everything that
// callers were told.
func afterCrash(t testing.TB, o Options, dir string, acked []string, what string) {
	t.Helper()
	o.Dir = dir
	onTestDay(&o)
	noSync(&o)
	l, err := Open(o)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := l.Append(ctx, entry(99)); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := l.Close(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	g, err := Load(dir, o.Verifier)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if g.SignedSize() != g.Size() || g.Root() != recompute(t, dir, g.Size()) {
		t.Fatalf("%s: the tree is not that of the entries", what)
	}
	found := map[string]string{}
	for e, err := range g.Entries(o.BodyKey) {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if e.User != nil {
			found[e.Ref["i"]] = e.User.Subject
		}
	}
	for _, a := range append(slices.Clone(acked), "99") {
		if found[a] != "s"+a {
			t.Fatalf("%s: entry %s was acknowledged, and it or its body is lost: %v", what, a, found)
		}
	}
}

// A power failure at any moment, with the entries cut at any byte that was not
// durable, loses nothing that was acknowledged, and leaves no checkpoint ahead
// of its entries.
func TestPowerFailureAtAnyMoment(t *testing.T) {
	w := newWorld(t)
	onTestDay(&w.o)
	if err := os.MkdirAll(w.o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := newDisk(t, w.o.Dir)
	l := w.open(d.hooks)
	for i := 0; i < 6; i += 2 {
		fill(t, l, i, i+1)
		d.ack(fmt.Sprint(i))
		if i == 2 {
			if _, err := l.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Append(ctx, entry(10+i), entry(11+i)); err != nil {
			t.Fatal(err)
		}
		d.ack(fmt.Sprint(10+i), fmt.Sprint(11+i))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	states := 0
	for i, p := range d.pictures {
		p.states(t, func(dir string, cut int) {
			states++
			afterCrash(t, w.o, dir, p.acked, fmt.Sprintf("moment %d of %d, cut at byte %d", i, len(d.pictures), cut))
		})
	}
	if states < 1000 || len(d.pictures) < 20 {
		t.Fatalf("only %d states at %d moments", states, len(d.pictures))
	}
	t.Logf("%d states at %d moments", states, len(d.pictures))
}

// A process that is killed between write and fsync leaves entries that are
// nowhere but in memory. The next start may not sign them before they are
// durable: a power failure after that would make the checkpoint a lie.
func TestStartMakesDurableWhatItSigns(t *testing.T) {
	w := newWorld(t)
	onTestDay(&w.o)
	d := newDisk(t, w.o.Dir)
	if err := os.MkdirAll(w.o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := w.open(d.hooks)
	fill(t, l, 0, 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	extra, err := l.item(entry(1))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(w.o.Dir, entriesName), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(append(extra.leaf, '\n')); err != nil {
		t.Fatal(err)
	}
	f.Close()
	d.restart()
	d.ack("0")
	if err := w.open(d.hooks).Close(); err != nil {
		t.Fatal(err)
	}
	for i, p := range d.pictures {
		p.states(t, func(dir string, cut int) {
			afterCrash(t, w.o, dir, p.acked, fmt.Sprintf("moment %d, cut at byte %d", i, cut))
		})
	}
	// The same where another process died while this one runs.
	l = w.open(d.hooks)
	f, err = os.OpenFile(filepath.Join(w.o.Dir, entriesName), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(append(extra.leaf, '\n')); err != nil {
		t.Fatal(err)
	}
	f.Close()
	d.restart()
	if _, err := l.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	for i, p := range d.pictures {
		p.states(t, func(dir string, cut int) {
			afterCrash(t, w.o, dir, p.acked, fmt.Sprintf("other process, moment %d, cut at byte %d", i, cut))
		})
	}
	l.Close()
	if got := w.load().Size(); got != 3 {
		t.Errorf("%d entries", got)
	}
}

// What a crash tore is taken away, kept in a file, and named by an entry.
func TestTornEnd(t *testing.T) {
	for name, tail := range map[string]string{
		"part of a line":         `{"v":1,"time":"2026-`,
		"zeros":                  strings.Repeat("\x00", 5000),
		"zeros and whole lines":  strings.Repeat("\x00", 50) + "\nx\n",
		"more than a line holds": strings.Repeat("\x00", MaxEntry+100_000),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l := w.open()
			fill(t, l, 0, 2)
			l.Close()
			path := filepath.Join(w.o.Dir, entriesName)
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(tail); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if g := w.load(); g.Size() != 2 {
				t.Errorf("%d entries before the start", g.Size())
			}
			l = w.open()
			fill(t, l, 2, 3)
			l.Close()
			var kinds []policy.EntryKind
			for leaf, err := range w.load().Leaves() {
				if err != nil {
					t.Fatal(err)
				}
				kinds = append(kinds, leaf.Kind)
				if leaf.Kind == EntryTorn && leaf.Ref["bytes"] != fmt.Sprint(len(tail)) {
					t.Errorf("%v", leaf.Ref)
				}
			}
			if fmt.Sprint(kinds) != "[permit permit ledger.torn permit]" {
				t.Errorf("%v", kinds)
			}
			kept, _ := filepath.Glob(filepath.Join(w.o.Dir, "torn-*"))
			if len(kept) != 1 {
				t.Fatalf("kept %v", kept)
			}
			if b, err := os.ReadFile(kept[0]); err != nil || string(b) != tail {
				t.Errorf("kept %d bytes, %v", len(b), err)
			}
		})
	}
}
