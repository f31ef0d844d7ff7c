package recorder

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/cast"
	"sallyport/recorder/journal"
)

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
