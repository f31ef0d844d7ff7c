package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"filippo.io/age"
	"github.com/charmbracelet/x/ansi"

	"sallyport/bastion/console"
	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/catalog"
	"sallyport/recorder/rectest"
	"sallyport/recorder/redact"
	"sallyport/replay"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	alice = policy.User{Issuer: "https://idp", Subject: "a", Email: "alice@example.com"}
	evil  = policy.User{Issuer: "https://idp", Subject: "e", Name: "Eve\x1b]0;x\x07\u202e\nroot"}
)

// desk is a console over three recordings with fixed ids and times, of which
// the first can be opened.
type desk struct {
	env      console.Env
	catalog  *catalog.Catalog
	store    *rectest.Store
	out, err bytes.Buffer
}

// newStore is a store whose clock stands still, so that nothing that redaction
// holds back becomes due because the machine is busy.
func newStore(t *testing.T, now time.Time) *rectest.Store {
	t.Helper()
	rules, err := redact.Compile(redact.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return rectest.New(t, recorder.Options{Now: func() time.Time { return now },
		NewMasker: func(s policy.Session) recorder.Masker { return rules.NewMasker(s.Cols) }})
}

// record makes a recording of one piece of output.
func (d *desk) record(id policy.SessionID, tty bool, output string) {
	status := uint32(3)
	s := policy.Session{ID: id, User: alice, Target: "db1", Login: "root", Action: policy.ActionShell, TTY: tty, Cols: 80, Rows: 24, RedactStreams: true}
	d.store.Record(s, func(r *recorder.Recording) {
		if err := r.Output(policy.StreamOutput, []byte(output)); err != nil {
			panic(err)
		}
	}, policy.End{ExitStatus: &status})
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	dir := t.TempDir()
	ctx := context.Background()
	cat, err := catalog.Open(ctx, filepath.Join(dir, "c.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cat.Close() })
	status, start := uint32(3), time.Date(2026, 3, 1, 14, 2, 11, 0, time.UTC)
	for i, s := range []policy.Session{
		{ID: "06h0gx8ezqsxbady6552thj49r", User: alice, Target: "db1", Login: "root", Action: policy.ActionShell, TTY: true, Term: "xterm", Cols: 80, Rows: 24},
		{ID: "06h0gxctm1kchn10f5hn000sd8", User: alice, Target: "db1", Login: "root", Action: policy.ActionExec, Command: "psql -c 'select 1' # " + strings.Repeat("x", 100)},
		{ID: "06h0gxfaq0xckzk9qwskmwhnd0", User: evil, Target: "web\x1b[31m", Login: "root", Action: policy.ActionShell},
	} {
		s.Start = start.Add(time.Duration(i) * time.Hour)
		sum := policy.Summary{ID: s.ID, State: policy.RecordingComplete, Duration: 90 * time.Second, OutputBytes: 42, End: policy.End{ExitStatus: &status}}
		if i == 2 {
			sum = policy.Summary{ID: s.ID, State: policy.RecordingInterrupted}
		}
		if err := cat.PutRecording(ctx, policy.Recording{Session: s, Summary: sum}); err != nil {
			t.Fatal(err)
		}
	}
	d := &desk{catalog: cat, store: newStore(t, start)}
	d.record("06h0gx8ezqsxbady6552thj49r", true, "password=hunter22\r\n")
	d.env = console.Env{
		Viewer: replay.Viewer{User: alice, Via: "ssh"}, Out: &d.out, Err: &d.err,
		Library: &replay.Library{Archive: d.store.Archive, Catalog: cat,
			Keys: replay.Keys{View: []age.Identity{d.store.View}, Raw: []age.Identity{d.store.Raw}},
			Decide: func(r policy.Request) policy.Decision {
				return policy.Decision{Allowed: r.Action == policy.ActionReplay}
			},
			Target: func(n string) policy.Target { return policy.Target{Name: n} },
			Audit:  func(context.Context, policy.Entry) error { return nil }},
		Certificate: func(context.Context) (string, error) { return "ssh-ed25519-cert-v01@openssh.com AAAA", nil },
		Targets: func() []console.TargetView {
			return []console.TargetView{{Name: "db1", Logins: []policy.Login{"root", "postgres"}}}
		},
		Expires: start, CALine: "@cert-authority b ssh-ed25519 AAAA",
	}
	return d
}

func (d *desk) run(args ...string) int {
	d.out.Reset()
	d.err.Reset()
	return console.Run(context.Background(), d.env, args)
}

func TestGolden(t *testing.T) {
	d := newDesk(t)
	for name, args := range map[string][]string{
		"help": {"help"}, "no-args": {}, "help-ls": {"help", "ls"}, "export-help": {"export", "--help"}, "help-unknown": {"help", "frob"}, "ls": {"ls"}, "ls-wide": {"ls", "--wide"}, "show-json": {"show", "thj49r", "--json"}, "show": {"show", "thj49r"}, "show-id": {"show", "06h0gx8e"},
		"targets": {"targets"}, "status": {"status"}, "ca": {"ca"}, "cert": {"cert"}, "export-txt": {"export", "06h0gx8e", "--format", "txt"},
		"export-v2": {"export", "06h0gx8e", "--format", "v2"}, "unknown": {"frobnicate", "x"}, "raw-refused": {"export", "06h0gx8e", "--raw"},
		"play": {"play", "06h0gx8e", "--speed", "1000"},
	} {
		t.Run(name, func(t *testing.T) {
			code := d.run(args...)
			got := d.out.String() + "-- stderr --\n" + d.err.String() + "-- exit " + string(rune('0'+code)) + "\n"
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	d := newDesk(t)
	for _, tc := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"ls"}, 0, ""},
		{[]string{"ls", "extra"}, 2, "takes no argument"},
		{[]string{"ls", "--nope"}, 2, "unknown flag"},
		{[]string{"ls", "--since", "soon"}, 2, "--since: want 90m, 24h or 7d"},
		{[]string{"ls", "--state", "lost"}, 2, "open, complete, interrupted or expired"},
		{[]string{"ls", "--limit", "-1"}, 2, "--limit"},
		{[]string{"show"}, 2, "takes one recording's ID"},
		{[]string{"show", "../../etc/passwd"}, 2, "is no recording's ID"},
		{[]string{"show", "zzzz"}, 1, "no recording that you may replay"},
		{[]string{"show", "06h0"}, 1, "3 recordings have an ID"},
		{[]string{"show", "06h0gx8ezqsxbady6552thj4zz"}, 1, "no such recording"},
		{[]string{"export", "06h0gx8e", "--format", "mp4"}, 2, "known: v2, v3, raw, txt"},
		{[]string{"export", "06h0gx8e", "-o", "/tmp/x"}, 2, "unknown shorthand flag"},
		{[]string{"play", "06h0gx8e", "--raw"}, 1, "raw view"},
		{[]string{"play", "06h0gx8e", "--speed", "0"}, 2, "--speed"},
		{[]string{"play", "/etc/passwd"}, 2, "is no recording's ID"},
		{[]string{"nonsense\x1b[31m"}, 2, "unknown verb"},
		{[]string{"completion", "bash"}, 2, "unknown verb"},
		{[]string{"__complete", "ls", ""}, 2, "unknown verb"},
		{[]string{"__completeNoDesc", "ls", ""}, 2, "unknown verb"},
		{[]string{"help", "\u202e\x1b[31m"}, 2, "is none"},
		{[]string{"help", "ls", "x"}, 2, "is none"},
		{[]string{"help", "ls"}, 0, ""},
		{[]string{"ls", "-h"}, 0, ""},
		{nil, 0, ""},
		{[]string{""}, 0, ""},
		{[]string{"-x"}, 2, "unknown shorthand flag"},
		{[]string{"ls", "--limit", "x\x1b[31m"}, 2, "invalid argument"},
		{[]string{"ls", strings.Repeat("y", 1<<20)}, 2, "takes no argument"},
		{[]string{"ls", "--since", strings.Repeat("y", 1<<20)}, 2, "--since"},
		{[]string{"ls", "--user", strings.Repeat("y", 1<<20)}, 1, "longer than 1000 bytes"},
	} {
		code := d.run(tc.args...)
		text := d.err.String()
		if code != tc.code || !strings.Contains(text, tc.says) || strings.Count(text, "\n") > 1 || len(text) > 400 || strings.Contains(text, "\x1b") {
			t.Errorf("%q: exit %d, want %d; says %q", tc.args, code, tc.code, text)
		}
	}
}

func TestFilters(t *testing.T) {
	d := newDesk(t)
	for _, tc := range []struct {
		args []string
		want int
	}{
		{nil, 3}, {[]string{"--state", "open"}, 0}, {[]string{"--user", "alice"}, 2}, {[]string{"--target", "db"}, 2}, {[]string{"--text", "psql"}, 1}, {[]string{"--state", "interrupted"}, 1},
		{[]string{"--since", "2026-03-01T15:00"}, 2}, {[]string{"--until", "2026-03-01T15:00"}, 1}, {[]string{"--since", "1h"}, 0}, {[]string{"--limit", "1"}, 1}, {[]string{"--limit", "0"}, 3},
	} {
		if code := d.run(append([]string{"ls", "--json"}, tc.args...)...); code != 0 {
			t.Fatalf("%q: exit %d: %s", tc.args, code, d.err.String())
		}
		var list []policy.Recording
		if err := json.Unmarshal(d.out.Bytes(), &list); err != nil || list == nil || len(list) != tc.want {
			t.Errorf("%q: %d recordings, want %d (%v)", tc.args, len(list), tc.want, err)
		}
	}
}

// A name, a target or a command that a hostile side chose is inert (T32).
func TestWhatIsPrintedIsInert(t *testing.T) {
	d := newDesk(t)
	d.env.Targets = func() []console.TargetView {
		return []console.TargetView{{Name: "t\x1b[31m", Logins: []policy.Login{"l\u009b\u202e"}, Labels: map[string]string{"k\u202e": "v\u009b"}}}
	}
	d.env.Viewer.User.Email = "a\u202e\x1b]0;x\x07@example.com"
	for _, args := range [][]string{{"ls"}, {"ls", "--wide"}, {"ls", "--json"}, {"show", "whnd0"}, {"show", "whnd0", "--json"}, {"targets"}, {"targets", "--json"}, {"status"}, {"status", "--json"}} {
		if code := d.run(args...); code != 0 {
			t.Errorf("%q: exit %d: %s", args, code, d.err.String())
		}
		for _, r := range d.out.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%q prints %q:\n%q", args, r, d.out.String())
			}
		}
	}
}

// A table of names of any length is 80 cells wide at most, its columns line up,
// and its IDs find their recordings.
func TestTableFits(t *testing.T) {
	d := newDesk(t)
	long := policy.User{Issuer: "i", Subject: "s", Email: strings.Repeat("日本", 20) + "@example.com"}
	r := policy.Recording{Session: policy.Session{ID: "06h0gxfaq0xckzk9qwskmwhnd1", User: long, Target: strings.Repeat("t", 60), Login: "root", Start: time.Unix(0, 0)},
		Summary: policy.Summary{ID: "06h0gxfaq0xckzk9qwskmwhnd1", State: policy.RecordingInterrupted, Duration: 100 * time.Hour}}
	if err := d.catalog.PutRecording(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	d.run("ls")
	lines := strings.Split(strings.TrimSuffix(d.out.String(), "\n"), "\n")
	for _, line := range lines {
		if ansi.StringWidth(line) > 80 {
			t.Errorf("%d cells: %s", ansi.StringWidth(line), line)
		}
	}
	for _, line := range lines[1:] {
		if id, _, _ := strings.Cut(line, " "); d.run("show", id) != 0 {
			t.Errorf("%s: %s", id, d.err.String())
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// The server outlives a client that is gone when a verb prints.
func TestClientThatIsGone(t *testing.T) {
	d := newDesk(t)
	d.env.Out, d.env.Err = brokenPipe{}, brokenPipe{}
	for _, args := range [][]string{nil, {"help"}, {"help", "ls"}, {"help", "frob"}, {"ls", "--help"}, {"ls"}, {"ls", "--json"}, {"show", "06h0gx8e"}, {"targets"}, {"status"}, {"ca"}, {"cert"}, {"export", "06h0gx8e"}, {"play", "06h0gx8e"}, {"frob"}, {"__complete", ""}} {
		d.run(args...) // cobra would end the process here, and the test with it
	}
}

func TestExportToAFile(t *testing.T) {
	d := newDesk(t)
	d.env.Viewer = replay.Viewer{Local: true}
	file := filepath.Join(t.TempDir(), "x.txt")
	if code := d.run("export", "06h0gx8e", "--format", "txt", "-o", file); code != 0 || d.out.Len() != 0 {
		t.Fatalf("exit %d: %s", code, d.err.String())
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "password=********\n" {
		t.Errorf("%q, %v", text, err)
	}
	if code := d.run("export", "06h0gx8e", "-o", file); code != 1 || !strings.Contains(d.err.String(), "exists") {
		t.Errorf("over a file: exit %d: %s", code, d.err.String())
	}
}

func TestExportSaysWhatACopyLacks(t *testing.T) {
	d := newDesk(t)
	d.record("06h0gxfaq0xckzk9qwskmwhnd0", true, "\xff")
	for _, tc := range []struct{ id, format, says string }{
		{"whnd0", "v3", "1 bytes that are not UTF-8 were replaced; --format raw keeps them\nthe recording was interrupted; this is all there is\n"},
		{"whnd0", "raw", "the recording was interrupted; this is all there is\n"},
		{"06h0gx8e", "txt", ""},
	} {
		if code := d.run("export", tc.id, "--format", tc.format); code != 0 || d.err.String() != tc.says {
			t.Errorf("%s as %s: exit %d: %q, want %q", tc.id, tc.format, code, d.err.String(), tc.says)
		}
	}
}

// What is not there for somebody is not named either, whole or abbreviated.
func TestOthersRecordingsDoNotExist(t *testing.T) {
	d := newDesk(t)
	d.env.Library.Decide = func(policy.Request) policy.Decision { return policy.Decision{} }
	for _, verb := range []string{"show", "export", "play"} {
		for id, says := range map[string]string{"06h0gx8ezqsxbady6552thj49r": "no such recording\n", "06h0gx8e": "no recording that you may replay has an ID with \"06h0gx8e\" at its beginning or end\n"} {
			if code := d.run(verb, id); code != 1 || d.err.String() != says || d.out.Len() > 0 {
				t.Errorf("%s %s: exit %d: %q%q", verb, id, code, d.out.String(), d.err.String())
			}
		}
	}
}

func TestOneLineForEachFailure(t *testing.T) {
	d := newDesk(t)
	d.env.Certificate = func(context.Context) (string, error) { return "", errors.New("no\x1b[2J\nway") }
	if code := d.run("cert"); code != 1 || strings.Count(d.err.String(), "\n") != 1 || strings.Contains(d.err.String(), "\x1b") {
		t.Errorf("exit %d: %q", code, d.err.String())
	}
}
