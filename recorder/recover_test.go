package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/cast"
	"sallyport/recorder/journal"
	"sallyport/recorder/sealed"
)

func sameFrames(a, b []Frame) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Code != b[i].Code || a[i].Text != b[i].Text || !bytes.Equal(a[i].Raw, b[i].Raw) || a[i].Undecided != b[i].Undecided ||
			!bytes.Equal(a[i].View(), b[i].View()) {
			return false
		}
	}
	return true
}

// recovered restarts the rig and recovers.
func (g *rig) recovered(t testing.TB, o Options) []policy.Recording {
	t.Helper()
	g.stop()
	g.start(t, o)
	found, err := g.Recover(context.Background())
	check(t, err)
	return found
}

func TestRecover(t *testing.T) {
	g := newRecorder(t, Options{})
	ctx := context.Background()
	whole := open(t, g, shell())
	_, err := whole.Close(status(0))
	check(t, err)
	quiet, typed, flushed := open(t, g, shell()), open(t, g, shell()), open(t, g, shell())
	check(t, typed.Input([]byte("typed")))
	check(t, typed.Output(policy.StreamOutput, []byte("shown\xe6")))
	check(t, typed.Resize(90, 30))
	check(t, flushed.Output(policy.StreamOutput, []byte("one ")))
	check(t, g.Flush(ctx, flushed.session.ID))
	check(t, flushed.Output(policy.StreamOutput, []byte("two ")))
	check(t, g.Flush(ctx, flushed.session.ID))
	check(t, flushed.Output(policy.StreamOutput, []byte("three")))
	until(t, "half a character to be released", func() bool {
		typed.mu.Lock()
		defer typed.mu.Unlock()
		return len(typed.out.held) == 0
	})

	found := g.recovered(t, Options{})
	if len(found) != 3 {
		t.Fatalf("recovered %d", len(found))
	}
	byID := map[policy.SessionID]policy.Recording{}
	for _, m := range found {
		byID[m.Session.ID] = m
	}
	for i, want := range []struct {
		rec      *Recording
		text     string
		segments int
	}{
		{quiet, "", 0},
		{typed, "ityped|oshown|o\xe6|r90x30", 1},
		{flushed, "oone |otwo |othree", 3},
	} {
		id := want.rec.session.ID
		m := byID[id]
		if m.Session.ID != id || m.Summary.State != policy.RecordingInterrupted || m.Session.User.Name != "Ada" ||
			m.Summary.End.Reason != "the bastion stopped during the session" {
			t.Errorf("recovered %+v, want %s", m, id)
		}
		all, stored := g.read(t, id, bothKeys)
		var text []string
		for _, f := range all {
			text = append(text, string(f.Code)+string(f.Raw)+f.Text)
		}
		if got := strings.Join(text, "|"); got != want.text && got != strings.Replace(want.text, "|o\xe6|r90x30", "|r90x30|o\xe6", 1) {
			t.Errorf("%d: recovered %q, want %q", i, got, want.text)
		}
		checkCounts(t, all, m.Summary, stored)
		g.checkEntries(t, id, want.segments, true)
		if missing := g.missing(t, id); !strings.Contains(missing, "what came after 0:00:0") {
			t.Errorf("missing: %q", missing)
		}
	}
	if again := g.recovered(t, Options{}); len(again) != 0 {
		t.Errorf("recovered twice: %+v", again)
	}
	until(t, "the journal to be released", func() bool { return g.Stats().Journal.Files <= 2 })
}

// missing returns what a manifest says in public about what it lacks.
func (g *rig) missing(t testing.TB, id policy.SessionID) string {
	t.Helper()
	data, err := readObject(context.Background(), g.o.Archive, archive.ManifestName(string(id)), sealed.MaxManifest)
	check(t, err)
	m, _, err := sealed.ParseManifest(data)
	check(t, err)
	return m.Missing
}

// TestUndecidedIsForTheRawKeyOnly crashes while a masker holds bytes back: what
// of them may be shown is not known, so nobody with the view key sees them.
func TestUndecidedIsForTheRawKeyOnly(t *testing.T) {
	o := Options{NewMasker: func(policy.Session) Masker { return &sleeper{} }}
	for _, flush := range []bool{false, true} {
		g := newRecorder(t, o)
		rec := open(t, g, shell())
		check(t, rec.Output(policy.StreamOutput, []byte("token: AKIA")))
		if flush {
			check(t, rec.Marker("a segment"))
			check(t, g.Flush(context.Background(), rec.session.ID))
		}
		check(t, rec.Output(policy.StreamOutput, []byte("SECRET")))
		found := g.recovered(t, o)
		if len(found) != 1 {
			t.Fatalf("recovered %+v", found)
		}
		all, _ := g.read(t, rec.session.ID, bothKeys)
		raw, view := joined(all, 'o')
		if string(raw) != "token: AKIASECRET" || len(view) != 0 || !all[len(all)-1].Undecided {
			t.Errorf("the record has %q, its view %q", raw, view)
		}
		watched, _ := g.read(t, rec.session.ID, viewKey)
		raw, view = joined(watched, 'o')
		if len(raw)+len(view) != 0 || watched[len(watched)-1].Code != cast.CodeGap {
			t.Errorf("a watcher reads %+v", watched)
		}
	}
}

// sleeper never decides.
type sleeper struct{ keeper }

func (s *sleeper) Deadline() (time.Time, bool) { return time.Now().Add(time.Hour), len(s.held) > 0 }

// TestRecoverIsExact crashes at any place of random sessions: all bytes that the
// journal has are there once, in order, and shown as they were.
func TestRecoverIsExact(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 7))
			o := Options{SegmentBytes: 20_000}
			if seed%2 == 1 {
				o.NewMasker = func(policy.Session) Masker { return &holder{rng: rand.New(rand.NewPCG(seed, 8))} }
			}
			g := newRecorder(t, o)
			rec := open(t, g, shell())
			sent := map[policy.Stream][]byte{}
			out := take(rec, policy.StreamOutput)
			for range rng.IntN(60) {
				stream := []policy.Stream{'o', 'o', 'o', 'e', 'i'}[rng.IntN(5)]
				data := randomBytes(rng, rng.IntN(2000))
				if stream == policy.StreamInput {
					check(t, rec.Input(data))
				} else {
					check(t, rec.Output(stream, data))
				}
				sent[stream] = append(sent[stream], data...)
				if rng.IntN(15) == 0 {
					check(t, g.Flush(context.Background(), rec.session.ID))
				}
			}
			if found := g.recovered(t, o); len(found) != 1 {
				t.Fatalf("recovered %+v", found)
			}
			given, _ := out.end(t)
			all := g.frames(t, rec.session.ID)
			for stream, want := range sent {
				raw, view := joined(all, cast.Code(stream))
				if !bytes.Equal(raw, want) {
					t.Errorf("stream %q: %d bytes are in the record, %d were sent", byte(stream), len(raw), len(want))
				}
				if stream == policy.StreamOutput && !bytes.HasPrefix(view, given) {
					t.Errorf("what was given out is not the beginning of the view of the record")
				}
			}
		})
	}
}

// TestJournalCutAnywhere cuts the journal at every byte: each recording has all
// events up to the last whole record, and the other one is not affected.
func TestJournalCutAnywhere(t *testing.T) {
	o := Options{NewMasker: func(policy.Session) Masker { return &holder{rng: rand.New(rand.NewPCG(1, 2))} }}
	jo := noSync
	jo.FileSize, jo.Reserve = 32<<10, 4<<10
	g := newRig(t, o, jo)
	first := open(t, g, shell())
	s := shell()
	s.TTY = false
	second := open(t, g, s)
	path := filepath.Join(g.dir, "journal", "0000000000000001.wal")
	begun := int(second.last & (1<<40 - 1))
	check(t, first.Input([]byte("x\xff")))
	for _, p := range []string{"a S b S\n", "\xff S\xfe\n", "漢", "\n"} {
		check(t, first.Output(policy.StreamOutput, []byte(p)))
		check(t, second.Output(policy.StreamStderr, []byte(p)))
	}
	check(t, first.Resize(1, 2))
	ended := int(first.last & (1<<40 - 1))
	g.stop()
	data, err := os.ReadFile(path)
	check(t, err)

	want := map[policy.SessionID][]Frame{}
	last := map[policy.SessionID]int{}
	for cut := ended; cut >= 72; cut-- {
		if cut < begun && cut%29 != 0 {
			continue
		}
		all := cutJournal(t, jo, o, data[:cut])
		for id, events := range all {
			if cut == ended {
				want[id] = events
			} else if len(events) > last[id] || !prefixed(want[id], events) {
				t.Fatalf("cut at %d: %d events of %s are not the beginning of its %d", cut, len(events), id, len(want[id]))
			}
			last[id] = len(events)
		}
		if n := len(all); cut >= begun && n != 2 {
			t.Fatalf("cut at %d: %d recordings", cut, n)
		}
	}
	if len(want) != 2 || len(want[first.session.ID]) < 5 {
		t.Errorf("whole: %+v", want)
	}
}

// prefixed reports whether some are the first of all, apart from what is
// undecided in them.
func prefixed(all, some []Frame) bool {
	for len(some) > 0 && some[len(some)-1].Undecided {
		some = some[:len(some)-1]
	}
	return len(some) <= len(all) && sameFrames(all[:len(some)], some)
}

// cutJournal recovers a journal that has data as its only file.
func cutJournal(t *testing.T, jo journal.Options, o Options, data []byte) map[policy.SessionID][]Frame {
	t.Helper()
	g := &rig{dir: t.TempDir(), journal: jo, book: &book{}}
	check(t, os.MkdirAll(filepath.Join(g.dir, "journal"), 0o700))
	check(t, os.WriteFile(filepath.Join(g.dir, "journal", "0000000000000001.wal"), data, 0o600))
	fast, err := archive.OpenDir(filepath.Join(g.dir, "archive"), archive.DirOptions{Sync: func(*os.File) error { return nil }})
	check(t, err)
	o.Archive = fast
	g.start(t, o)
	defer g.stop()
	found, err := g.Recover(context.Background())
	check(t, err)
	out := map[policy.SessionID][]Frame{}
	for _, m := range found {
		out[m.Session.ID] = g.frames(t, m.Session.ID)
	}
	return out
}

// TestJournalDamagedInTheMiddle flips a byte of one recording's record: its gap
// is named, what is known of the rest is there, and the other one is whole.
func TestJournalDamagedInTheMiddle(t *testing.T) {
	jo := noSync
	jo.FileSize, jo.Reserve = 256<<10, 4<<10
	g := newRig(t, Options{}, jo)
	hit, other := open(t, g, shell()), open(t, g, shell())
	var at journal.LSN
	for _, p := range []string{"one ", "two ", "three "} {
		check(t, hit.Output(policy.StreamOutput, []byte(p)))
		check(t, other.Output(policy.StreamOutput, []byte(p)))
		if p == "two " {
			hit.mu.Lock()
			at = hit.last
			hit.mu.Unlock()
		}
	}
	g.stop()
	path := filepath.Join(g.dir, "journal", "0000000000000001.wal")
	data, err := os.ReadFile(path)
	check(t, err)
	data[at&(1<<40-1)-1] ^= 1
	check(t, os.WriteFile(path, data, 0o600))
	g.start(t, Options{})
	found, err := g.Recover(context.Background())
	check(t, err)
	if len(found) != 2 {
		t.Fatalf("recovered %+v", found)
	}
	all := g.frames(t, hit.session.ID)
	if len(all) != 3 || string(all[0].Raw) != "one " || all[1].Code != cast.CodeGap || string(all[2].Raw) != "three " {
		t.Errorf("the damaged one has %+v", all)
	}
	missing := g.missing(t, hit.session.ID)
	if !strings.Contains(missing, "(1 records of the journal); what came after 0:") || strings.Contains(missing, g.dir) {
		t.Errorf("missing: %q", missing)
	}
	if missing := g.missing(t, other.session.ID); strings.Contains(missing, ";") {
		t.Errorf("the other one lacks %q", missing)
	}
	if raw, _ := joined(g.frames(t, other.session.ID), 'o'); string(raw) != "one two three " {
		t.Errorf("the other one has %q", raw)
	}
}

// dying is an archive and a ledger that stop working at one moment for good, as
// seen from outside of a process that is killed.
type dying struct {
	*archive.Dir
	book    *book
	mu      sync.Mutex
	left    int  // calls that still succeed
	persist bool // the last call does its work and is not told of it
}

var errDead = errors.New("killed")

func (d *dying) call(f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left--
	switch {
	case d.left >= 0:
		return f()
	case d.left == -1 && d.persist:
		f()
	}
	return errDead
}

func (d *dying) Create(ctx context.Context, name string, data []byte) error {
	return d.call(func() error { return d.Dir.Create(ctx, name, data) })
}

func (d *dying) List(ctx context.Context, prefix string) iter.Seq2[archive.Entry, error] {
	return d.Dir.List(ctx, prefix)
}

// TestCrashAtEveryStep kills the node at every step of storing and of Close:
// what the next run makes of it is whole, and nothing is entered twice.
func TestCrashAtEveryStep(t *testing.T) {
	for _, persist := range []bool{false, true} {
		for left := 0; ; left++ {
			g := &rig{dir: t.TempDir(), journal: noSync, book: &book{}}
			d := &dying{Dir: store(t, g.dir), book: g.book, left: 1000, persist: persist}
			g.start(t, Options{Archive: d})
			entry := g.Recorder.o.Entry
			g.Recorder.o.Entry = func(ctx context.Context, e ...policy.Entry) error {
				return d.call(func() error { return entry(ctx, e...) })
			}
			g.patience = time.Millisecond
			rec := open(t, g, shell())
			d.mu.Lock()
			d.left = left
			d.mu.Unlock()
			check(t, rec.Output(policy.StreamOutput, []byte("one")))
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			g.Flush(ctx, rec.session.ID)
			cancel()
			check(t, rec.Output(policy.StreamOutput, []byte("two")))
			_, err := rec.Close(status(5))
			steps := d.left

			found := g.recovered(t, Options{})
			m := found
			if err == nil && len(found) != 0 || err != nil && len(found) != 1 {
				t.Fatalf("dead after %d: Close said %v, recovered %+v", left, err, m)
			}
			all, stored := g.read(t, rec.session.ID, bothKeys)
			raw, _ := joined(all, 'o')
			if string(raw) != "onetwo" || stored.Summary.State != policy.RecordingComplete || *stored.Summary.End.ExitStatus != 5 {
				t.Fatalf("dead after %d: the record is %+v and has %q", left, stored.Summary, raw)
			}
			checkCounts(t, all, stored.Summary, stored)
			g.checkEntries(t, rec.session.ID, stored.Summary.Segments, true)
			if again := g.recovered(t, Options{}); len(again) != 0 {
				t.Errorf("dead after %d: recovered twice: %+v", left, again)
			}
			if steps >= 0 {
				break // it lived
			}
		}
	}
}

func TestRecoverGoesOn(t *testing.T) {
	g := newRecorder(t, Options{})
	a, b := open(t, g, shell()), open(t, g, shell())
	for _, rec := range []*Recording{a, b} {
		check(t, rec.Output(policy.StreamOutput, []byte("x")))
	}
	g.stop()
	// The archive has no place for the first.
	dir := filepath.Join(g.dir, "archive", "recordings")
	check(t, os.MkdirAll(dir, 0o700))
	check(t, os.WriteFile(filepath.Join(dir, string(a.session.ID)), nil, 0o600))
	g.start(t, Options{})
	found, err := g.Recover(context.Background())
	if err == nil || !strings.Contains(err.Error(), string(a.session.ID)) || len(found) != 1 || found[0].Session.ID != b.session.ID {
		t.Errorf("recovered %+v, %v", found, err)
	}
	check(t, os.Remove(filepath.Join(dir, string(a.session.ID))))
	if found := g.recovered(t, Options{}); len(found) != 1 || found[0].Session.ID != a.session.ID {
		t.Errorf("recovered %+v", found)
	}
	g.checkEntries(t, a.session.ID, 1, true)
	g.checkEntries(t, b.session.ID, 1, true)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	g.stop()
	g.start(t, Options{})
	if _, err := g.Recover(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestShreddedWhileItRan drops what the journal has of a recording whose keys
// were destroyed.
func TestShreddedWhileItRan(t *testing.T) {
	g := newRecorder(t, Options{})
	rec := open(t, g, shell())
	check(t, rec.Output(policy.StreamOutput, []byte("x")))
	check(t, g.Flush(context.Background(), rec.session.ID))
	check(t, rec.Output(policy.StreamOutput, []byte("y")))
	check(t, g.o.Archive.(*archive.Dir).Delete(context.Background(), archive.KeyName(string(rec.session.ID))))
	if found := g.recovered(t, Options{}); len(found) != 0 {
		t.Errorf("recovered %+v", found)
	}
	if _, err := OpenRecording(context.Background(), g.o.Archive, rec.session.ID, bothKeys); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("a shredded recording opens: %v", err)
	}
	if err := g.Flush(context.Background(), rec.session.ID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Flush: %v", err)
	}
}
