package replay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/catalog"
	"sallyport/recorder/rectest"
	"sallyport/recorder/redact"
	"sallyport/replay"
)

var (
	owner    = policy.User{Issuer: "i", Subject: "owner", Email: "owner@example.com"}
	auditor  = policy.User{Issuer: "i", Subject: "auditor", Groups: []string{"auditors"}}
	watcher  = policy.User{Issuer: "i", Subject: "watcher", Groups: []string{"watchers"}}
	stranger = policy.User{Issuer: "i", Subject: "stranger"}
)

const rights = `
permit(principal, action == Action::"replay", resource) when { context has owner && context.owner == principal };
permit(principal in Group::"watchers", action == Action::"replay", resource);
permit(principal in Group::"auditors", action in [Action::"replay", Action::"replayRaw"], resource);`

// world is a library over real recordings.
type world struct {
	*replay.Library
	t       testing.TB
	store   *rectest.Store
	cat     *catalog.Catalog
	entries []policy.Entry
	broken  error // what the ledger says, if it fails
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	rules, err := redact.Compile(redact.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t}
	// A clock that hardly moves: nothing that redaction holds back becomes due
	// because the machine is busy.
	began, ticks := time.Now(), atomic.Int64{}
	w.store = rectest.New(t, recorder.Options{
		Now:       func() time.Time { return began.Add(time.Duration(ticks.Add(1)) * time.Microsecond) },
		NewMasker: func(s policy.Session) recorder.Masker { return rules.NewMasker(s.Cols) }})
	if w.cat, err = catalog.Open(context.Background(), filepath.Join(dir, "c.sqlite")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.cat.Close() })
	engine, err := policy.Parse("rights", []byte(rights))
	if err != nil {
		t.Fatal(err)
	}
	w.Library = &replay.Library{Archive: w.store.Archive, Keys: w.keys(), Catalog: w.cat, Decide: engine.Decide,
		Target: func(name string) policy.Target { return policy.Target{Name: name} },
		Audit: func(_ context.Context, e policy.Entry) error {
			w.entries = append(w.entries, e)
			return w.broken
		}}
	return w
}

// keys are both identities of the store.
func (w *world) keys() replay.Keys {
	return replay.Keys{View: []age.Identity{w.store.View}, Raw: []age.Identity{w.store.Raw}}
}

// record makes a whole recording of a shell whose output arrives in the given
// pieces.
func (w *world) record(pieces ...[]byte) policy.SessionID {
	w.t.Helper()
	return w.recordSession(policy.Session{Action: policy.ActionShell, TTY: true, Cols: 80, Rows: 24}, pieces...)
}

func (w *world) recordSession(s policy.Session, pieces ...[]byte) policy.SessionID {
	w.t.Helper()
	ctx := context.Background()
	s.ID, s.User, s.Target, s.Login, s.Start = policy.NewSessionID(time.Now()), owner, "db1", "root", time.Now()
	if err := w.cat.Begin(ctx, s); err != nil {
		w.t.Fatal(err)
	}
	status := uint32(0)
	sum := w.store.Record(s, func(r *recorder.Recording) {
		if err := r.Input([]byte("typed-secret\r")); err != nil {
			w.t.Fatal(err)
		}
		for _, p := range pieces {
			if err := r.Output(policy.StreamOutput, p); err != nil {
				w.t.Fatal(err)
			}
		}
	}, policy.End{ExitStatus: &status}).Summary
	if err := w.cat.Finish(ctx, sum); err != nil {
		w.t.Fatal(err)
	}
	return s.ID
}

func (w *world) export(v replay.Viewer, id policy.SessionID, view replay.View, f replay.Format) (string, replay.Report) {
	w.t.Helper()
	s, err := w.OpenExport(context.Background(), v, id, view)
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	var out bytes.Buffer
	report, err := replay.Export(&out, s, f)
	if err != nil {
		w.t.Fatal(err)
	}
	return out.String(), report
}

func TestWhoMaySeeWhat(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("hello\r\n"))
	ctx := context.Background()
	for _, tc := range []struct {
		name string
		v    replay.Viewer
		view replay.View
		want error
		kind policy.EntryKind
	}{
		{"owner", replay.Viewer{User: owner}, replay.Masked, nil, policy.EntryView},
		{"owner, raw", replay.Viewer{User: owner}, replay.Raw, replay.ErrForbidden, policy.EntryDeny},
		{"watcher", replay.Viewer{User: watcher}, replay.Masked, nil, policy.EntryView},
		{"watcher, raw", replay.Viewer{User: watcher}, replay.Raw, replay.ErrForbidden, policy.EntryDeny},
		{"auditor, raw", replay.Viewer{User: auditor}, replay.Raw, nil, policy.EntryView},
		{"stranger", replay.Viewer{User: stranger}, replay.Masked, replay.ErrNotFound, policy.EntryDeny},
		{"stranger, raw", replay.Viewer{User: stranger}, replay.Raw, replay.ErrNotFound, policy.EntryDeny},
		{"nobody", replay.Viewer{}, replay.Masked, replay.ErrNotFound, policy.EntryDeny},
		{"on the machine", replay.Viewer{Local: true, Via: "local root"}, replay.Raw, nil, policy.EntryView},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w.entries = nil
			s, err := w.Open(ctx, tc.v, id, tc.view)
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Fatalf("%v, want %v", err, tc.want)
			}
			if err == nil {
				s.Close()
			}
			if len(w.entries) != 1 || w.entries[0].Kind != tc.kind || w.entries[0].Session != id {
				t.Errorf("entries: %+v", w.entries)
			}
		})
	}
	w.entries = nil
	if _, err := w.Open(ctx, replay.Viewer{User: auditor}, policy.NewSessionID(time.Now()), replay.Masked); !errors.Is(err, replay.ErrNotFound) || len(w.entries) != 0 {
		t.Errorf("absent: %v, %+v", err, w.entries)
	}
	if list, err := w.List(ctx, replay.Viewer{User: stranger}, catalog.Filter{}); err != nil || len(list) != 0 {
		t.Errorf("a stranger lists %v, %v", list, err)
	}
	if list, err := w.List(ctx, replay.Viewer{User: owner}, catalog.Filter{Limit: 1}); err != nil || len(list) != 1 {
		t.Errorf("the owner lists %v, %v", list, err)
	}
}

// What cannot be entered is not shown (I4).
func TestNothingIsShownWithoutItsEntry(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("hello"))
	w.broken = errors.New("disk full")
	if s, err := w.Open(context.Background(), replay.Viewer{User: owner}, id, replay.Masked); err == nil || s != nil {
		t.Errorf("shown: %v %v", s, err)
	}
	if s, err := w.OpenExport(context.Background(), replay.Viewer{Local: true}, id, replay.Raw); !errors.Is(err, w.broken) || s != nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("exported: %v %v", s, err)
	}
	if _, err := w.Open(context.Background(), replay.Viewer{User: owner}, id, replay.Masked); err == nil || strings.Contains(err.Error(), "disk full") {
		t.Errorf("a remote viewer is told %v", err)
	}
	// Nor does the failure tell a stranger that there is something.
	_, err := w.Open(context.Background(), replay.Viewer{User: stranger}, id, replay.Masked)
	_, absent := w.Open(context.Background(), replay.Viewer{User: stranger}, policy.NewSessionID(time.Now()), replay.Masked)
	if err == nil || absent == nil || err.Error() != absent.Error() {
		t.Errorf("a stranger is told %v of a recording, and %v of none", err, absent)
	}
}

func TestListSkipsWhatOthersMaySeeWithoutLosingPages(t *testing.T) {
	w := newWorld(t)
	for i := range 450 {
		s := policy.Session{ID: policy.NewSessionID(time.Now()), User: stranger, Target: "x", Start: time.Now().Add(time.Duration(i) * time.Second)}
		if i%3 == 0 {
			s.User = owner
		}
		if err := w.cat.PutRecording(context.Background(), policy.Recording{Session: s, Summary: policy.Summary{ID: s.ID, State: policy.RecordingComplete}}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[policy.SessionID]bool{}
	for offset := 0; offset < 150; offset += 40 {
		list, err := w.List(context.Background(), replay.Viewer{User: owner}, catalog.Filter{Limit: 40, Offset: offset})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			seen[r.Session.ID] = r.Session.User.Subject == "owner"
		}
	}
	if len(seen) != 150 {
		t.Errorf("%d recordings seen, want 150", len(seen))
	}
}

func TestExportIsEnteredAsExport(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("x"))
	w.entries = nil
	w.export(replay.Viewer{User: auditor, Via: "ssh"}, id, replay.Raw, replay.FormatRaw)
	if len(w.entries) != 1 || w.entries[0].Kind != policy.EntryExport || w.entries[0].Detail["view"] != "raw" || w.entries[0].Detail["owner"] != "owner@example.com" {
		t.Errorf("%+v", w.entries)
	}
}

func TestRewindIsTheSameLook(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("hello"))
	w.entries = nil
	s, err := w.Open(context.Background(), replay.Viewer{User: owner}, id, replay.Masked)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		n := 0
		for {
			if _, err := s.Next(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n == 0 {
			t.Error("no event")
		}
		if err := s.Rewind(); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.entries) != 1 {
		t.Errorf("%d entries", len(w.entries))
	}
}

// A target that is no longer configured is judged by the labels it had.
func TestLabelsOfThen(t *testing.T) {
	w := newWorld(t)
	engine, err := policy.Parse("rights", []byte(`permit(principal, action == Action::"replay", resource) when { resource.hasTag("env") && resource.getTag("env") == "dev" };`))
	if err != nil {
		t.Fatal(err)
	}
	w.Decide = engine.Decide
	id := w.recordSession(policy.Session{Action: policy.ActionShell, Labels: map[string]string{"env": "dev"}})
	prod := w.recordSession(policy.Session{Action: policy.ActionShell, Labels: map[string]string{"env": "prod"}})
	open := func(id policy.SessionID) error {
		s, err := w.Open(context.Background(), replay.Viewer{User: stranger}, id, replay.Masked)
		if err == nil {
			s.Close()
		}
		return err
	}
	if err := open(id); err != nil {
		t.Errorf("labelled dev: %v", err)
	}
	if err := open(prod); !errors.Is(err, replay.ErrNotFound) {
		t.Errorf("labelled prod: %v", err)
	}
	// A target that is there still is judged by what it is now.
	w.Target = func(name string) policy.Target {
		return policy.Target{Name: name, Address: "192.0.2.1:22", Labels: map[string]string{"env": "prod"}}
	}
	if err := open(id); !errors.Is(err, replay.ErrNotFound) {
		t.Errorf("labelled prod now: %v", err)
	}
}

// Without the raw identity nothing raw opens, and the answer says who can.
func TestSealedRawView(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("password=hunter2hunter2\r\n"))
	w.Keys.Raw = nil
	if _, err := w.Open(context.Background(), replay.Viewer{User: auditor}, id, replay.Raw); !errors.Is(err, replay.ErrSealed) {
		t.Errorf("raw: %v", err)
	}
	got, _ := w.export(replay.Viewer{User: auditor}, id, replay.Masked, replay.FormatRaw)
	if strings.Contains(got, "hunter") || !strings.Contains(got, "password=****") {
		t.Errorf("masked: %q", got)
	}
}

// A running recording is seen up to now.
func TestRunningRecordingIsFlushed(t *testing.T) {
	w := newWorld(t)
	w.Flush = w.store.Recorder.Flush
	s := policy.Session{ID: policy.NewSessionID(time.Now()), User: owner, Target: "db1", Login: "root", Start: time.Now(), TTY: true, Cols: 80, Rows: 24}
	if err := w.cat.Begin(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	rec, err := w.store.Recorder.Open(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close(policy.End{})
	for i, want := range []string{"one", "onetwo"} {
		if err := rec.Output(policy.StreamOutput, []byte([]string{"one", "two"}[i])); err != nil {
			t.Fatal(err)
		}
		if p, err := rec.Next(policy.StreamOutput); err != nil || len(p) == 0 {
			t.Fatalf("%q %v", p, err)
		}
		if got, _ := w.export(replay.Viewer{User: owner}, s.ID, replay.Masked, replay.FormatRaw); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The archive alone, with the view identity, lists as the catalog does.
func TestArchiveCatalog(t *testing.T) {
	w := newWorld(t)
	var ids []policy.SessionID
	for range 3 {
		ids = append(ids, w.record([]byte("x\r\n")))
	}
	a := &replay.ArchiveCatalog{Archive: w.store.Archive, Keys: w.keys()}
	for _, f := range []catalog.Filter{{}, {Limit: 2}, {Offset: 1, Limit: 1}, {Target: "db"}, {Target: "none"}, {User: "OWNER@"}, {State: policy.RecordingComplete}, {State: policy.RecordingOpen}} {
		got, err := a.Recordings(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		want, err := w.cat.Recordings(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%+v: %d recordings, want %d", f, len(got), len(want))
		}
		for i := range got {
			if got[i].Session.ID != want[i].Session.ID || got[i].Summary.SHA256 != want[i].Summary.SHA256 || got[i].Summary.Size != want[i].Summary.Size {
				t.Errorf("%+v: %+v, want %+v", f, got[i], want[i])
			}
		}
	}
	if _, err := a.Recording(context.Background(), policy.NewSessionID(time.Now())); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("absent: %v", err)
	}
	if err := w.store.Archive.Delete(context.Background(), "recordings/"+string(ids[0])+"/key"); err != nil {
		t.Fatal(err)
	}
	a = &replay.ArchiveCatalog{Archive: w.store.Archive, Keys: w.keys()}
	if r, err := a.Recording(context.Background(), ids[0]); err != nil || r.Summary.State != policy.RecordingExpired || !r.Session.User.IsZero() {
		t.Errorf("without its key: %+v %v", r, err)
	}
}
