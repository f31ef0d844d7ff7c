package web

import (
	"io/fs"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünïcödé 漢字":      "plain ünïcödé 漢字",
		"a\x1b[31mb":            "a␛[31mb",
		"line\r\nbreak\x00":     "line␍␊break␀",
		"\x7f\u0085":            `\u007f\u0085`,
		"abc\u202etxt.exe":      `abc\u202etxt.exe`,
		"zero\u200bwidth\ufeff": `zero\u200bwidth\ufeff`,
		"bad\xffbyte":           `bad\ufffdbyte`,
		"sep\u2028":             `sep\u2028`,
		"<script>":              "<script>", // escaping is the template's work
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		n        int
		in, want string
	}{{3, "abc", "abc"}, {3, "abcd", "abc…"}, {2, "äöü", "äö…"}, {3, "äöü", "äöü"}, {1, "", ""}} {
		if got := clip(tt.n, tt.in); got != tt.want {
			t.Errorf("clip(%d, %q) = %q, want %q", tt.n, tt.in, got, tt.want)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{duration(0), "0.0 s"},
		{duration(1200 * time.Millisecond), "1.2 s"},
		{duration(59*time.Second + 900*time.Millisecond), "59 s"},
		{duration(3*time.Minute + 5*time.Second), "3 min 05 s"},
		{duration(26*time.Hour + 2*time.Minute), "26 h 02 min"},
		{clock(0), "00:00.0"},
		{clock(59*time.Second + 999*time.Millisecond), "00:59.9"},
		{clock(time.Hour + 2*time.Minute + 3400*time.Millisecond), "1:02:03.4"},
		{size(0), "0 B"},
		{size(1023), "1023 B"},
		{size(1536), "1.5 KiB"},
		{size(5 << 30), "5.0 GiB"},
		{utc(time.Time{}), ""},
		{sentence("it failed"), "It failed."},
		{sentence("Why?"), "Why?"},
		{sentence(""), ""},
		{seconds("1.5"), "1.500"},
		{seconds("-1") + seconds("NaN") + seconds("Inf") + seconds("x") + seconds("1e300"), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestOutcome(t *testing.T) {
	zero, three := uint32(0), uint32(3)
	for _, tt := range []struct {
		state policy.RecordingState
		end   policy.End
		want  string
	}{
		{policy.RecordingOpen, policy.End{}, "live"},
		{policy.RecordingInterrupted, policy.End{}, "interrupted"},
		{policy.RecordingComplete, policy.End{ExitStatus: &zero}, "exit 0"},
		{policy.RecordingComplete, policy.End{ExitStatus: &three}, "exit 3"},
		{policy.RecordingComplete, policy.End{ExitSignal: "KILL"}, "SIGKILL"},
		{policy.RecordingComplete, policy.End{Reason: "idle"}, "ended"},
	} {
		if got := outcome(policy.Recording{Summary: policy.Summary{State: tt.state, End: tt.end}}); got.Text != tt.want {
			t.Errorf("outcome(%v, %+v) = %q, want %q", tt.state, tt.end, got.Text, tt.want)
		}
	}
}

// TestTemplatesHaveNothingInline holds the pages to what their content policy
// lets a browser do.
func TestTemplatesHaveNothingInline(t *testing.T) {
	err := fs.WalkDir(templates, "templates", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := templates.ReadFile(name)
		for _, bad := range []string{" style=", "<style", " onclick=", " onload=", "javascript:", "<script>", "http://", "https://"} {
			if strings.Contains(string(body), bad) {
				t.Errorf("%s contains %q", name, bad)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPageWithoutThePlayer is what a binary shows that was built before the
// player was.
func TestPageWithoutThePlayer(t *testing.T) {
	p, err := loadPages(assets{"/static/style.css": {}, "/static/icon.svg": {}})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := p.byName["session"].Execute(&b, frame{Data: sessionPage{Player: p.player}}); err != nil {
		t.Fatal(err)
	}
	if p.player || !strings.Contains(b.String(), "built without the player") || !strings.Contains(b.String(), "make web") || strings.Contains(b.String(), "<script") {
		t.Errorf("page:\n%s", b.String())
	}
}
