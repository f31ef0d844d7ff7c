package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/cast"
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
