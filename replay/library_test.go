package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/catalog"
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
	t       *testing.T
	rec     *recorder.Recorder
	cat     *catalog.Catalog
	entries []policy.Entry
	broken  error // what the ledger says, if it fails
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	rules, err := redact.Compile(redact.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t}
	w.rec, err = recorder.New(recorder.Options{Dir: filepath.Join(dir, "recordings"),
		NewMasker: func(s policy.Session) recorder.Masker { return rules.NewMasker(s.Cols) }})
	if err != nil {
		t.Fatal(err)
	}
	if w.cat, err = catalog.Open(context.Background(), filepath.Join(dir, "c.sqlite")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.cat.Close() })
	engine, err := policy.Parse("rights", []byte(rights))
	if err != nil {
		t.Fatal(err)
	}
	w.Library = &replay.Library{Dir: filepath.Join(dir, "recordings"), Catalog: w.cat, Decide: engine.Decide,
		Target: func(name string) policy.Target { return policy.Target{Name: name} },
		Audit: func(_ context.Context, e policy.Entry) error {
			w.entries = append(w.entries, e)
			return w.broken
		}}
	return w
}

// record makes a whole recording whose output arrives in the given pieces.
func (w *world) record(pieces ...[]byte) policy.SessionID {
	w.t.Helper()
	ctx := context.Background()
	s := policy.Session{ID: policy.NewSessionID(time.Now()), User: owner, Target: "db1", Login: "root", Action: policy.ActionShell,
		TTY: true, Cols: 80, Rows: 24, Start: time.Now()}
	if err := w.cat.Begin(ctx, s); err != nil {
		w.t.Fatal(err)
	}
	r, err := w.rec.Open(ctx, s)
	if err != nil {
		w.t.Fatal(err)
	}
	go func() { // the client, which takes what it is given
		for {
			if _, err := r.Next(policy.StreamOutput); err != nil {
				return
			}
		}
	}()
	if err := r.Input([]byte("typed-secret\r")); err != nil {
		w.t.Fatal(err)
	}
	for _, p := range pieces {
		if err := r.Output(policy.StreamOutput, p); err != nil {
			w.t.Fatal(err)
		}
	}
	r.CloseOutput(policy.StreamOutput)
	status := uint32(0)
	sum, err := r.Close(policy.End{ExitStatus: &status})
	if err != nil {
		w.t.Fatal(err)
	}
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
	if s, err := w.OpenExport(context.Background(), replay.Viewer{Local: true}, id, replay.Raw); err == nil || s != nil {
		t.Errorf("exported: %v %v", s, err)
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

// TestMaskedCopiesHoldNoSecret cuts the output at random places; no copy of
// the masked view may hold the secret or what was typed, and the raw one holds
// every byte.
func TestMaskedCopiesHoldNoSecret(t *testing.T) {
	const secret = "Z3QW7RTY5UPLK2MN"
	out := []byte("before \x1b[1mAKIA" + secret + "\x1b[0m after\r\npassword=hunter2-xyz\r\n\xff\xfe caf\xc3\xa9 \x1b]0;title\x07end\r\n")
	rng := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		w := newWorld(t)
		var pieces [][]byte
		for rest := out; len(rest) > 0; {
			n := 1 + rng.IntN(min(len(rest), 9))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		id := w.record(pieces...)
		for _, f := range []replay.Format{replay.FormatV2, replay.FormatV3, replay.FormatRaw, replay.FormatText} {
			text, report := w.export(replay.Viewer{User: auditor}, id, replay.Masked, f)
			for _, bad := range []string{secret, secret[:8], "hunter2", "typed-secret"} {
				if strings.Contains(text, bad) {
					t.Fatalf("%s of the masked view holds %q:\n%s", f, bad, text)
				}
			}
			if report.Masks == 0 {
				t.Errorf("%s: no mask counted", f)
			}
			if (f == replay.FormatV2 || f == replay.FormatV3) && report.Replaced != 2 {
				t.Errorf("%s: %d bytes replaced, want 2", f, report.Replaced)
			}
		}
		if raw, _ := w.export(replay.Viewer{User: auditor}, id, replay.Raw, replay.FormatRaw); raw != string(out) {
			t.Fatalf("raw bytes differ:\n%q\n%q", raw, out)
		}
		if v3, _ := w.export(replay.Viewer{User: auditor}, id, replay.Raw, replay.FormatV3); !strings.Contains(v3, "typed-secret") {
			t.Error("the raw view lacks what was typed")
		}
	}
}

func TestTextIsReadable(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("\x1b[32mok\x1b"), []byte("[0m\r\n10%\r50%\r99%\x1b[K\r\nab\b\bX\ttab\x1b]0;ti"), []byte("tle\x07\r\n$ ls\x1b[2D"), []byte("cd\r\nlast"))
	text, _ := w.export(replay.Viewer{User: owner}, id, replay.Masked, replay.FormatText)
	if want := "ok\n99%\nXb      tab\n$ cd\nlast\n"; text != want {
		t.Errorf("got %q, want %q", text, want)
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

// A recording that is cut off at any byte is exported up to its last whole
// event.
func TestCutAnywhere(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("one\r\n"), []byte("AKIAZ3QW7RTY5UPLK2MN\r\n"), []byte("\xff\r\n"))
	file, err := os.ReadFile(recorder.Path(w.Dir, string(id)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cut.cast")
	header := bytes.IndexByte(file, '\n') + 1
	last := ""
	for n := header; n <= len(file); n++ {
		if err := os.WriteFile(path, file[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := replay.OpenFile(path, replay.Raw)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		var out bytes.Buffer
		if _, err := replay.Export(&out, s, replay.FormatRaw); err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		s.Close()
		if !strings.HasPrefix(out.String(), last) {
			t.Fatalf("cut at %d: %q after %q", n, out.String(), last)
		}
		last = out.String()
	}
	if last != "one\r\nAKIAZ3QW7RTY5UPLK2MN\r\n\xff\r\n" {
		t.Errorf("whole: %q", last)
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

// Debian's asciinema 2 reads v1 and v2.
func TestAsciinemaReadsV2(t *testing.T) {
	path, err := exec.LookPath("asciinema")
	if err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("asciinema is not installed")
	}
	w := newWorld(t)
	id := w.record([]byte("caf\xc3\xa9 \x1b[1mbold\x1b[0m\r\n"), []byte("\xff\r\n"))
	text, _ := w.export(replay.Viewer{User: owner}, id, replay.Masked, replay.FormatV2)
	file := filepath.Join(t.TempDir(), "x.cast")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ptmx, tty, err := pty.Open() // it wants a terminal, though it only writes
	if err != nil {
		t.Fatal(err)
	}
	defer ptmx.Close()
	defer tty.Close()
	cmd := exec.Command(path, "cat", file)
	cmd.Stdin, cmd.SysProcAttr = tty, &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+t.TempDir())
	out, err := cmd.Output()
	if want := "café \x1b[1mbold\x1b[0m\r\n\uFFFD\r\n"; err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}

func TestParseFormat(t *testing.T) {
	for _, f := range []string{"v2", "v3", "raw", "txt"} {
		if got, err := replay.ParseFormat(f); err != nil || string(got) != f {
			t.Errorf("%s: %v %v", f, got, err)
		}
	}
	if _, err := replay.ParseFormat("mp4"); err == nil || !strings.Contains(fmt.Sprint(err), "v2, v3, raw, txt") {
		t.Errorf("%v", err)
	}
}
