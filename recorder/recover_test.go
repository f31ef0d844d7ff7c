package recorder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/recorder/cast"
)

func isTruncated(err error) bool { return errors.Is(err, cast.ErrTruncated) }

func sameFrame(a, b Frame) bool { return reflect.DeepEqual(a, b) }

// eventEnds returns where each event's last line ends, without its line feed.
func eventEnds(data []byte) (ends []int) {
	at := bytes.IndexByte(data, '\n') + 1
	for at < len(data) {
		end := at + bytes.IndexByte(data[at:], '\n')
		var line []any
		if json.Unmarshal(data[at:end], &line) == nil && line[1] != "k" && line[1] != "b" {
			ends = append(ends, end)
		}
		at = end + 1
	}
	return ends
}

// checkRecovered holds Recover to what is left of the recording of s.
func checkRecovered(t *testing.T, s policy.Session, data []byte, header bool, events int) {
	t.Helper()
	r := newRecorder(t, Options{Sync: func(*os.File) error { return nil }})
	check(t, os.WriteFile(Path(r.o.Dir, string(s.ID)), data, 0o600))
	found, err := r.Recover(context.Background())
	if err != nil || len(found) != 1 {
		t.Fatalf("recovered %v, %v", found, err)
	}
	m := found[0]
	if m.Session.ID != s.ID || m.Summary.ID != s.ID || m.Summary.State != policy.RecordingInterrupted ||
		m.Summary.Events != int64(events) || m.Summary.Size != int64(len(data)) || m.Summary.End.Reason == "" {
		t.Fatalf("%d bytes: recovered %+v, want %d events", len(data), m, events)
	}
	if header && m.Session.User.Name != s.User.Name {
		t.Fatalf("%d bytes: recovered user %+v", len(data), m.Session.User)
	}
	stored, err := ReadManifest(r.o.Dir, s.ID)
	check(t, err)
	if stored.Summary.SHA256 != m.Summary.SHA256 {
		t.Fatalf("the manifest is %+v, want %+v", stored, m)
	}
	if again, err := r.Recover(context.Background()); err != nil || len(again) != 0 {
		t.Fatalf("recovered twice: %v, %v", again, err)
	}
}

func TestRecover(t *testing.T) {
	r := newRecorder(t, Options{})
	live := open(t, r, shell())
	var ids []policy.SessionID
	for range 3 {
		s := shell()
		ids = append(ids, s.ID)
		rec, err := r.Open(context.Background(), s)
		check(t, err)
		check(t, rec.Input([]byte("typed")))
		check(t, rec.Output(policy.StreamOutput, []byte("shown")))
		_, err = rec.Close(status(7))
		check(t, err)
		check(t, os.Remove(filepath.Join(r.o.Dir, string(s.ID)+manifestExt)))
	}
	// One is damaged in the middle, one cannot be read at all.
	path := Path(r.o.Dir, string(ids[1]))
	data, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path, append(data, "nonsense\n[]\n"...), 0o600))
	check(t, os.Truncate(Path(r.o.Dir, string(ids[2])), 0))
	for _, name := range []string{"notes.txt", "x.cast", string(shell().ID) + stagedExt} {
		check(t, os.WriteFile(filepath.Join(r.o.Dir, name), nil, 0o600))
	}
	check(t, os.Mkdir(Path(r.o.Dir, string(shell().ID)), 0o700))

	found, err := r.Recover(context.Background())
	check(t, err)
	if len(found) != 3 {
		t.Fatalf("recovered %d", len(found))
	}
	for i, m := range found {
		if m.Summary.ID != ids[i] {
			t.Errorf("recovered %s, want %s", m.Summary.ID, ids[i])
		}
	}
	sum := found[0].Summary
	if sum.Events != 3 || sum.InputBytes != 5 || sum.OutputBytes != 5 || sum.End.ExitStatus == nil || *sum.End.ExitStatus != 7 ||
		sum.End.Reason != "the bastion stopped during the session" {
		t.Errorf("recovered %+v", sum)
	}
	if sum := found[1].Summary; sum.Events != 3 || !strings.Contains(sum.End.Reason, "damaged") || strings.Contains(sum.End.Reason, "\n") {
		t.Errorf("the damaged one: %+v", sum)
	}
	if found[2].Summary.Events != 0 || found[2].Session.Start.IsZero() {
		t.Errorf("the empty one: %+v", found[2])
	}
	if _, err := live.Close(policy.End{}); err != nil {
		t.Errorf("the live one: %v", err)
	}
}

func TestRecoverGoesOn(t *testing.T) {
	broken := errors.New("input/output error")
	r := newRecorder(t, Options{})
	a, b := shell(), shell()
	for _, s := range []policy.Session{a, b} {
		header, err := appendHeader(nil, s)
		check(t, err)
		check(t, os.WriteFile(Path(r.o.Dir, string(s.ID)), header, 0o600))
	}
	r.o.Sync = func(f *os.File) error {
		if strings.HasSuffix(f.Name(), string(a.ID)+castExt) {
			return broken
		}
		return nil
	}
	found, err := r.Recover(context.Background())
	if !errors.Is(err, broken) || len(found) != 1 || found[0].Session.ID != b.ID {
		t.Errorf("recovered %+v, %v", found, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Recover(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
