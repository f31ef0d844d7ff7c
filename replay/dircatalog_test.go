package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/catalog"
	"sallyport/replay"
)

// Whatever the filter, the directory gives what the database gives.
func TestDirCatalogAgreesWithTheDatabase(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	first := w.record([]byte("x"))
	w.recordSession(policy.Session{Action: policy.ActionExec, Command: "Uptime 100%"}, []byte("y"))
	last := w.recordSession(policy.Session{Action: policy.ActionExec, Command: "uptime"}, []byte("z"))
	mid, err := w.cat.Recording(ctx, last)
	if err != nil {
		t.Fatal(err)
	}
	dir := &replay.DirCatalog{Dir: w.Dir}
	for _, f := range []catalog.Filter{
		{}, {User: "OWNER@"}, {User: "nobody"}, {Target: "DB"}, {Text: "uptime 100%"}, {Text: "%"}, {Text: string(first)}, {Text: "root"},
		{State: policy.RecordingComplete}, {State: policy.RecordingOpen}, {Limit: 1}, {Limit: 1, Offset: 1}, {Offset: 9},
		{From: mid.Session.Start}, {To: mid.Session.Start}, {User: string(owner.Principal())},
	} {
		want, err := w.cat.Recordings(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := dir.Recordings(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(append([]policy.Recording{}, got...))
		b, _ := json.Marshal(append([]policy.Recording{}, want...))
		if string(a) != string(b) {
			t.Errorf("%+v:\n%s\n%s", f, a, b)
		}
	}
	if _, err := dir.Recordings(ctx, catalog.Filter{Limit: -1}); err == nil {
		t.Error("a negative limit passed")
	}
}

// What has no manifest, or is damaged, is listed too and says so.
func TestDirCatalogLosesNothing(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	whole, open, damaged, torn := w.record([]byte("x")), w.record([]byte("y")), w.record([]byte("z")), w.record([]byte("t"))
	for _, err := range []error{
		os.Remove(filepath.Join(w.Dir, string(open)+".json")),
		os.Remove(filepath.Join(w.Dir, string(damaged)+".json")),
		os.WriteFile(recorder.Path(w.Dir, string(damaged)), []byte("nonsense\n"), 0o600),
		os.WriteFile(filepath.Join(w.Dir, string(torn)+".json"), []byte("{"), 0o600),
		os.WriteFile(filepath.Join(w.Dir, "notes.json"), []byte("{}"), 0o600),
		os.Mkdir(recorder.Path(w.Dir, string(policy.NewSessionID(time.Now()))), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, running := range []bool{false, true} {
		dir := &replay.DirCatalog{Dir: w.Dir, Running: running}
		if list, err := dir.Recordings(ctx, catalog.Filter{}); err != nil || len(list) != 4 {
			t.Fatalf("%d recordings, %v", len(list), err)
		}
		unfinished := policy.RecordingInterrupted
		if running {
			unfinished = policy.RecordingOpen
		}
		for id, want := range map[policy.SessionID]policy.RecordingState{
			whole: policy.RecordingComplete, open: unfinished, damaged: policy.RecordingInterrupted, torn: policy.RecordingInterrupted,
		} {
			r, err := dir.Recording(ctx, id)
			if err != nil || r.Session.ID != id || r.Summary.ID != id || r.Summary.State != want || time.Since(r.Session.Start) > time.Hour {
				t.Errorf("%s: %+v, %v; want %s", id, r, err, want)
			}
			if odd := id == damaged || id == torn; odd != (r.Summary.End.Reason != "") {
				t.Errorf("%s: reason %q", id, r.Summary.End.Reason)
			}
		}
	}
	dir := &replay.DirCatalog{Dir: w.Dir}
	for _, id := range []policy.SessionID{policy.NewSessionID(time.Now()), "", "../../etc/passwd", policy.SessionID(strings.Repeat("/", 26))} {
		if _, err := dir.Recording(ctx, id); !errors.Is(err, catalog.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
	w.Library.Catalog = dir
	if text, _ := w.export(replay.Viewer{Local: true}, open, replay.Masked, replay.FormatText); text != "y\n" {
		t.Errorf("exported %q", text)
	}
	if _, err := (&replay.DirCatalog{Dir: filepath.Join(w.Dir, "gone")}).Recordings(ctx, catalog.Filter{}); err == nil {
		t.Error("a missing directory passed")
	}
}

// A recording is read while it is being made, also from another process.
func TestDirCatalogWhileARecordingGrows(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	s := policy.Session{ID: policy.NewSessionID(time.Now()), User: owner, Target: "db1", Login: "root", TTY: true, Start: time.Now()}
	rec, err := w.rec.Open(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Output(policy.StreamOutput, []byte("so far\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := rec.Next(policy.StreamOutput); err != nil {
		t.Fatal(err)
	}
	dir := &replay.DirCatalog{Dir: w.Dir, Running: true}
	w.Library.Catalog = dir
	if text, _ := w.export(replay.Viewer{Local: true}, s.ID, replay.Masked, replay.FormatText); text != "so far\n" {
		t.Errorf("exported %q", text)
	}
	if _, err := rec.Close(policy.End{}); err != nil {
		t.Fatal(err)
	}
	if r, err := dir.Recording(ctx, s.ID); err != nil || r.Summary.State != policy.RecordingComplete {
		t.Errorf("after its end: %+v, %v", r, err)
	}
}
