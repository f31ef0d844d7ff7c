package recorder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/cast"
	"sallyport/recorder/sealed"
)

func TestRecording(t *testing.T) {
	r := newRecorder(t, Options{})
	s := shell()
	s.TTY = false
	rec := open(t, r, s)
	out, errs := take(rec, policy.StreamOutput), take(rec, policy.StreamStderr)
	check(t, rec.Input([]byte("ls\r")))
	check(t, rec.Output(policy.StreamOutput, []byte("one\n\xff\x00two\n")))
	check(t, rec.Output(policy.StreamStderr, []byte("naïve ")))
	check(t, rec.Output(policy.StreamStderr, []byte("error\n")))
	check(t, rec.Resize(5000, -1))
	check(t, rec.Marker("here"))
	check(t, rec.Input([]byte{0xc3}))
	rec.CloseOutput(policy.StreamOutput)
	rec.CloseOutput(policy.StreamOutput)
	if err := rec.Output(policy.StreamOutput, []byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("output after CloseOutput: %v", err)
	}
	if got, err := out.end(t); string(got) != "one\n\xff\x00two\n" || err != io.EOF {
		t.Errorf("output %q, %v", got, err)
	}
	r.checkEntries(t, s.ID, 0, false)
	sum, err := rec.Close(status(3))
	check(t, err)
	if got, err := errs.end(t); string(got) != "naïve error\n" || err != io.EOF {
		t.Errorf("standard error %q, %v", got, err)
	}

	var text []string
	all, m := r.read(t, s.ID, bothKeys)
	for i, f := range all {
		text = append(text, string(f.Code)+string(f.Raw)+f.Text)
		if i > 0 && f.Time < all[i-1].Time {
			t.Errorf("event %d goes back from %v to %v", i, all[i-1].Time, f.Time)
		}
	}
	want := []string{"ils\r", "oone\n\xff\x00two\n", "enaïve ", "eerror\n", "r5000x0", "mhere", "i\xc3", "x3"}
	if !reflect.DeepEqual(text, want) {
		t.Errorf("events %q, want %q", text, want)
	}

	digest := manifestDigest(t, r, s.ID)
	wantSum := policy.Summary{
		ID: s.ID, State: policy.RecordingComplete, End: status(3), Ended: sum.Ended, Duration: sum.Duration,
		OutputBytes: 10, StderrBytes: 13, InputBytes: 4, Events: 8,
		Segments: 1, Size: sum.Size, SHA256: digest,
	}
	if !reflect.DeepEqual(sum, wantSum) {
		t.Errorf("summary %+v, want %+v", sum, wantSum)
	}
	r.checkEntries(t, s.ID, 1, true)
	if sum.Size < 100 || sum.Duration <= 0 || sum.Ended.Before(s.Start) {
		t.Errorf("duration %v, ended %v", sum.Duration, sum.Ended)
	}
	if !m.Summary.Ended.Equal(sum.Ended) || !m.Session.Start.Equal(s.Start) {
		t.Errorf("manifest times %v, %v", m.Summary.Ended, m.Session.Start)
	}
	m.Summary.Ended, m.Session.Start = sum.Ended, s.Start
	if !reflect.DeepEqual(m, policy.Recording{Session: s, Summary: sum}) {
		t.Errorf("manifest %+v", m)
	}
	again, err := rec.Close(status(9))
	if err != nil || !reflect.DeepEqual(again, sum) {
		t.Errorf("second Close: %+v, %v", again, err)
	}
	for name, err := range map[string]error{
		"Input": rec.Input([]byte("x")), "Resize": rec.Resize(1, 1), "Marker": rec.Marker("x"),
		"Output": rec.Output(policy.StreamStderr, []byte("x")),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

// manifestDigest returns the SHA-256 of a manifest in the archive.
func manifestDigest(t *testing.T, r *rig, id policy.SessionID) string {
	t.Helper()
	data, err := readObject(context.Background(), r.o.Archive, archive.ManifestName(string(id)), sealed.MaxManifest)
	check(t, err)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestHeader(t *testing.T) {
	r := newRecorder(t, Options{})
	s := shell()
	s.Command = strings.Repeat("é", 100<<10) + "\n\x1b"
	s.Cols, s.Rows = 0, 5000000
	rec := open(t, r, s)
	_, err := rec.Close(policy.End{ExitSignal: "KILL"})
	check(t, err)
	rd, err := OpenRecording(context.Background(), r.o.Archive, s.ID, viewKey)
	check(t, err)
	defer rd.Close()
	got := rd.Session()
	if !got.Start.Equal(s.Start) {
		t.Errorf("start %v", got.Start)
	}
	if got.Start = s.Start; !reflect.DeepEqual(got, s) {
		t.Errorf("session %+v", got)
	}
	h := rd.Header()
	if h.Version != 3 || h.Cols != 0 || h.Rows != cast.MaxSide || h.Term != s.Term || h.Timestamp != s.Start.Unix() ||
		h.Title != "root@db1" || len(h.Command) > shownCommand+3 {
		t.Errorf("header %+.300v", h)
	}
	if f, err := rd.Next(); err != io.EOF {
		t.Errorf("%+v, %v: an exit by signal has no status", f, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	r := newRecorder(t, Options{})
	for _, change := range []func(*policy.Session){
		func(s *policy.Session) { s.ID = "" },
		func(s *policy.Session) { s.ID = "../../../../etc/passwd0000" },
		func(s *policy.Session) { s.Command = strings.Repeat("x", 1<<20) },
	} {
		s := shell()
		change(&s)
		if rec, err := r.Open(context.Background(), s); err == nil {
			rec.Close(policy.End{})
			t.Errorf("session %.40q was opened", s.ID)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	gone := errors.New("the client went away")
	cancel(gone)
	if _, err := r.Open(ctx, shell()); !errors.Is(err, gone) {
		t.Errorf("cancelled: %v", err)
	}
	if n := r.Stats().Open; n != 0 || len(r.book.entries) != 0 {
		t.Errorf("%d recordings and %v are left", n, r.book.entries)
	}
	s := shell()
	open(t, r, s)
	if _, err := r.Open(context.Background(), s); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second recording of one session: %v", err)
	}
}

// TestClockGoesBack is THREATS T8: a clock that jumps does not bend the record.
func TestClockGoesBack(t *testing.T) {
	var now atomic.Int64
	base := time.Unix(1_700_000_000, 0)
	r := newRecorder(t, Options{Now: func() time.Time { return base.Add(time.Duration(now.Load())) }})
	rec := open(t, r, shell())
	for _, at := range []time.Duration{0, time.Second, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		now.Store(int64(at))
		check(t, rec.Marker(""))
	}
	sum, err := rec.Close(policy.End{})
	check(t, err)
	want := []time.Duration{0, time.Second, time.Second, 24 * time.Hour, 24 * time.Hour}
	for i, f := range r.frames(t, rec.session.ID) {
		if f.Time != want[i] {
			t.Errorf("event %d is at %v, want %v", i, f.Time, want[i])
		}
	}
	if sum.Duration != 24*time.Hour {
		t.Errorf("duration %v", sum.Duration)
	}
}

func TestDurationIsMonotonic(t *testing.T) {
	r := newRecorder(t, Options{})
	s := shell()
	s.Start = time.Now().Add(48 * time.Hour).Round(0) // the wall clock was wrong then
	rec := open(t, r, s)
	sum, err := rec.Close(policy.End{})
	check(t, err)
	if sum.Duration < 0 || sum.Duration > time.Minute {
		t.Errorf("duration %v", sum.Duration)
	}
}

func TestUnknownStream(t *testing.T) {
	rec := open(t, newRecorder(t, Options{}), shell())
	if err := rec.Output(policy.StreamInput, []byte("x")); err == nil {
		t.Error("input was taken as output")
	}
	if _, err := rec.Next(policy.StreamInput); err == nil {
		t.Error("input was given out")
	}
	rec.CloseOutput(policy.StreamInput)
	check(t, rec.Err())
}

func TestReaderIsStrict(t *testing.T) {
	const head = `{"version":3,"term":{"cols":80,"rows":24}}` + "\n"
	const mask = `[0, "k", "{\"rule\":\"r\",\"off\":1,\"len\":2,\"cells\":2}"]` + "\n"
	for _, tt := range []struct{ body, want string }{
		{`[0, "b", "!"]` + "\n", "base64"},
		{`[0, "b", "/w=="]` + "\n" + `[0, "b", "/w=="]` + "\n", "two events"},
		{`[0, "b", "/w=="]` + "\n" + `[0, "o", "x"]` + "\n", "is not that of its bytes"},
		{`[0, "b", "/w=="]` + "\n" + `[0, "m", "x"]` + "\n", "belong to"},
		{`[0, "b", "/w=="]` + "\n" + mask, "out of place"},
		{`[0, "k", "{"]` + "\n", "damaged"},
		{`[0, "k", "` + strings.Repeat(" ", maxMaskText+1) + `"]` + "\n", "longer"},
		{mask + `[0, "i", "xxx"]` + "\n", "input"},
		{mask + `[0, "o", "xx"]` + "\n", "does not fit"},
		{mask + mask + `[0, "o", "xxxx"]` + "\n", "does not fit"},
	} {
		_, err := readFrames([]byte(head + tt.body))
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, cast.ErrTruncated) {
			t.Errorf("%.60q: %v, want %q", tt.body, err, tt.want)
		}
	}
	if _, err := readFrames([]byte(`{"version":3,"term":{},"sallyport":{"session":1}}` + "\n")); err == nil {
		t.Error("a damaged session was taken")
	}
	all, err := readFrames([]byte(`{"version":2,"width":80,"height":24}` + "\n" + `[1, "o", "plain"]` + "\n"))
	if err != nil || len(all) != 1 || !bytes.Equal(all[0].Raw, []byte("plain")) {
		t.Errorf("plain v2: %+v, %v", all, err)
	}
}
