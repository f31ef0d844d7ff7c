package cast

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"
)

// readAll returns the events of a file and what ended it, nil for a clean end.
func readAll(data []byte) (Header, []Event, error) {
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return Header{}, nil, err
	}
	var all []Event
	for {
		e, err := r.Next()
		if err == io.EOF {
			return r.Header(), all, nil
		}
		if err != nil {
			return r.Header(), all, err
		}
		all = append(all, e)
	}
}

func write(t testing.TB, h Header, events []Event) []byte {
	t.Helper()
	out, err := AppendHeader(nil, h)
	if err != nil {
		t.Fatal(err)
	}
	var prev time.Duration
	for _, e := range events {
		out = AppendEvent(out, h.Version, prev, e)
		prev = e.Time
	}
	return out
}

var sample = []Event{
	{0, CodeOutput, "hello \x1b[1mworld\x1b[0m\r\n"},
	{1500 * time.Microsecond, CodeInput, "\x03\x00\x7f\"\\/"},
	{1500 * time.Microsecond, CodeStderr, "naïve — 漢字 🎉 \u0085\u009b\u2028\u2029\ufeff\u00a0"},
	{2 * time.Second, CodeResize, "132x50"},
	{3 * time.Hour, CodeMarker, "a <place> & more"},
	{3 * time.Hour, CodeMask, `{"rule":"aws","off":3,"len":20,"cells":20}`},
	{3 * time.Hour, CodeBytes, "/wD+"},
	{3*time.Hour + time.Microsecond, CodeGap, ""},
	{1e9 * time.Second, CodeExit, "0"},
}

func TestRoundTrip(t *testing.T) {
	for _, h := range []Header{
		{Version: 2, Cols: 80, Rows: 24, Term: "xterm", Env: map[string]string{"TERM": "xterm", "LANG": "C"}},
		{Version: 2},
		{
			Version: 3, Cols: MaxSide, Rows: 0, Term: "tmux-256color", Timestamp: 1700000000, Command: "a\nb",
			Title: "</script>", IdleTimeLimit: 1.5, Env: map[string]string{"LC_ALL": "C.UTF-8"},
			Tags: []string{"x", "y"}, Extra: json.RawMessage(`{"id":"1"}`),
		},
	} {
		data := write(t, h, sample)
		if n := bytes.Count(data, []byte("\n")); n != len(sample)+1 {
			t.Errorf("v%d: %d lines", h.Version, n)
		}
		gotHeader, got, err := readAll(data)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(gotHeader, h) {
			t.Errorf("v%d: header\n%+v, want\n%+v", h.Version, gotHeader, h)
		}
		if !reflect.DeepEqual(got, sample) {
			t.Errorf("v%d: events\n%q, want\n%q", h.Version, got, sample)
		}
	}
}

// TestLineIsInert holds a line to being one line to every reader, and to
// nothing that a terminal obeys.
func TestLineIsInert(t *testing.T) {
	line := string(AppendEvent(nil, 3, 0, Event{0, CodeOutput, sample[1].Data + sample[2].Data + sample[0].Data}))
	for _, r := range strings.TrimSuffix(line, "\n") {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			t.Errorf("%U stands in the line %q", r, line)
		}
	}
}

func TestIntervalsDoNotDrift(t *testing.T) {
	step := 1234567 * time.Nanosecond // 1234.567 µs
	var events []Event
	for i := range 10000 {
		events = append(events, Event{Time: time.Duration(i) * step, Code: CodeOutput})
	}
	_, got, err := readAll(write(t, Header{Version: 3}, events))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range got {
		if want := events[i].Time.Round(time.Microsecond); e.Time != want {
			t.Fatalf("event %d is at %v, want %v", i, e.Time, want)
		}
	}
}

func TestTimesNeverGoBack(t *testing.T) {
	back := []Event{{time.Second, CodeOutput, ""}, {time.Millisecond, CodeOutput, ""}, {-time.Hour, CodeOutput, ""}}
	for version := 2; version <= 3; version++ {
		_, got, err := readAll(write(t, Header{Version: version}, back))
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range got {
			if e.Time != time.Second {
				t.Errorf("v%d: event %d is at %v", version, i, e.Time)
			}
		}
	}
}

// TestInvalidUTF8 holds the text to U+FFFD for each byte that is not UTF-8.
func TestInvalidUTF8(t *testing.T) {
	for in, want := range map[string]string{
		"a\xffb":           "a\uFFFDb",
		"\xe6\xbc":         "\uFFFD\uFFFD",
		"\xe6\xbc\xa2\xe6": "漢\uFFFD",
		"\xed\xa0\x80":     "\uFFFD\uFFFD\uFFFD", // a surrogate
		"\xf4\x90\x80\x80": "\uFFFD\uFFFD\uFFFD\uFFFD",
		"\xc0\x80":         "\uFFFD\uFFFD",
		"\uFFFD":           "\uFFFD",
	} {
		line := AppendEvent([]byte("{\"version\":2}\n"), 2, 0, Event{0, CodeOutput, in})
		_, got, err := readAll(line)
		if err != nil || len(got) != 1 || got[0].Data != want {
			t.Errorf("%q was read as %q, %v; want %q", in, got, err, want)
		}
		if !utf8.Valid(line) {
			t.Errorf("%q was written as %q", in, line)
		}
	}
}

// TestCutAnywhere cuts a recording at every byte.
func TestCutAnywhere(t *testing.T) {
	for version := 2; version <= 3; version++ {
		data := write(t, Header{Version: version, Cols: 80, Rows: 24, Title: "ünï"}, sample)
		header := bytes.IndexByte(data, '\n')
		for cut := range len(data) + 1 {
			_, got, err := readAll(data[:cut])
			if cut < header {
				if !errors.Is(err, ErrTruncated) {
					t.Fatalf("v%d cut at %d: %v", version, cut, err)
				}
				continue
			}
			// A line that lacks only its end is whole.
			want := bytes.Count(data[:cut], []byte("\n")) - 1
			last := bytes.LastIndexByte(data[:cut], '\n') + 1
			cutLine := cut > header && cut > last && data[cut] != '\n'
			if cut == header {
				want = 0
			} else if cut > last && !cutLine {
				want++
			}
			if len(got) != want || errors.Is(err, ErrTruncated) != cutLine || err != nil && !cutLine {
				t.Fatalf("v%d cut at %d: %d events and %v, want %d", version, cut, len(got), err, want)
			}
			for i := range got {
				if got[i] != sample[i] {
					t.Fatalf("v%d cut at %d: event %d is %q", version, cut, i, got[i])
				}
			}
		}
	}
}

func TestReadsOthers(t *testing.T) {
	const in = "{\"version\": 3, \"term\": {\"cols\": 80, \"rows\": 24, \"theme\": {\"fg\": \"#fff\"}}, \"idle_time_limit\": null, \"new\": [1]}\r\n" +
		"# a comment\r\n\r\n" +
		"  [ 1 , \"o\" , \"\\ud83c\\udf89\\u00E9\\/\\b\\f\\t\" ]  \r\n" +
		"[1e-3,\"z\",\"\\ud83c\\ud83c!\\udf89\"]\n" +
		"[0.0000004, \"o\", \"a\xffb\"]\n[0.0000004, \"o\", \"\"]" // no end of line
	h, got, err := readAll([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if h.Cols != 80 || h.Rows != 24 {
		t.Errorf("header %+v", h)
	}
	want := []Event{
		{time.Second, 'o', "🎉é/\b\f\t"},
		{1001 * time.Millisecond, 'z', "\uFFFD\uFFFD!\uFFFD"},
		{1001*time.Millisecond + 400, 'o', "a\uFFFDb"},
		{1001*time.Millisecond + 800, 'o', ""},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestHostile is THREATS T34: one clear error with the line, in bounded memory.
func TestHostile(t *testing.T) {
	const v3 = "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n"
	for _, tt := range []struct{ name, in, want string }{
		{"HTML", "<!doctype html>\n", "line 1 at byte 0: the header is not asciicast"},
		{"HTML without end", "<!doctype html>", "line 1 at byte 0: the header is not asciicast"},
		{"version 1", "{\"version\":1,\"width\":80,\"height\":24}\n", "version 1 is neither 2 nor 3"},
		{"version 4", "{\"version\":4}\n", "version 4"},
		{"no term", "{\"version\":3}\n", "no term"},
		{"an array", "[1]\n", "line 1"},
		{"negative size", "{\"version\":2,\"width\":-1}\n", "-1 columns"},
		{"huge size", "{\"version\":2,\"height\":10001}\n", "10001 rows"},
		{"huge number", "{\"version\":2,\"height\":1e99}\n", "line 1"},
		{"huge timestamp", "{\"version\":2,\"timestamp\":1e99}\n", "timestamp"},
		{"negative limit", "{\"version\":2,\"idle_time_limit\":-1}\n", "idle time limit"},
		{"giant header", strings.Repeat(" ", MaxHeader+1), "longer than 1048576 bytes"},
		{"giant line", v3 + "[1, \"o\", \"" + strings.Repeat("x", MaxLine), "line 2 at byte 43: the line is longer than 16777216 bytes"},
		{"negative time", v3 + "[-1, \"o\", \"\"]\n", "line 2 at byte 43: time \"-1\" is not between"},
		{"minus zero", v3 + "[-0, \"o\", \"\"]\n[1, \"o\"]\n", "line 3"},
		{"infinite time", v3 + "[1e400, \"o\", \"\"]\n", "not between"},
		{"late time", v3 + "[9999999999, \"o\", \"\"]\n", "not between"},
		{"later time", v3 + "[1000000000.1, \"o\", \"\"]\n", "not between"},
		{"sum of times", v3 + "[999999999, \"o\", \"\"]\n[2, \"o\", \"\"]\n", "line 3 at byte 64: the events take longer than"},
		{"NaN", v3 + "[NaN, \"o\", \"\"]\n", "no number"},
		{"no number", v3 + "[1.2.3, \"o\", \"\"]\n", "no number"},
		{"leading zero", v3 + "[01, \"o\", \"\"]\n", "no number"},
		{"bare point", v3 + "[1., \"o\", \"\"]\n", "no number"},
		{"long code", v3 + "[1, \"oo\", \"\"]\n", "event code"},
		{"no code", v3 + "[1, \"\", \"\"]\n", "event code"},
		{"control code", v3 + "[1, \"\\u0000\", \"\"]\n", "event code"},
		{"wide code", v3 + "[1, \"é\", \"\"]\n", "event code"},
		{"no data", v3 + "[1, \"o\"]\n", "no comma after the code"},
		{"number as data", v3 + "[1, \"x\", 0]\n", "strings"},
		{"more", v3 + "[1, \"o\", \"\", 1]\n", "then ]"},
		{"two events", v3 + "[1, \"o\", \"\"][1, \"o\", \"\"]\n", "then ]"},
		{"object", v3 + "{}\n", "begins with ["},
		{"control character", v3 + "[1, \"o\", \"\x00\"]\n", "control character 0x00"},
		{"bad escape", v3 + "[1, \"o\", \"\\x41\"]\n", "no escape"},
		{"bad hex", v3 + "[1, \"o\", \"\\u12g4\"]\n", "no escape"},
		{"cut in the middle", v3 + "[1, \"o\", \"\n[1, \"o\", \"\"]\n", "line 2 at byte 43: a string has no end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := readAll([]byte(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrTruncated) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if err != nil && (len(err.Error()) > 300 || strings.Contains(err.Error(), "\n")) {
				t.Errorf("the error is no short line: %.400q", err)
			}
		})
	}
}

func TestErrorStays(t *testing.T) {
	r, err := NewReader(strings.NewReader("{\"version\":2}\n[]\n[1, \"o\", \"x\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, first := r.Next()
	_, second := r.Next()
	if first == nil || first != second {
		t.Errorf("%v, then %v", first, second)
	}
	broken := errors.New("the disk is gone")
	r, err = NewReader(io.MultiReader(strings.NewReader("{\"version\":2}\n[1, \"o\", \"x"), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, broken) {
		t.Errorf("%v, want the error of the file", err)
	}
}

func TestHeaderIsRefused(t *testing.T) {
	for _, h := range []Header{
		{}, {Version: 1}, {Version: 3, Cols: -1}, {Version: 3, Rows: MaxSide + 1},
		{Version: 3, IdleTimeLimit: -1}, {Version: 3, Extra: json.RawMessage("{")},
		{Version: 3, Title: strings.Repeat("x", MaxHeader)},
	} {
		got, err := AppendHeader([]byte("kept"), h)
		if err == nil || string(got) != "kept" || strings.Contains(err.Error(), "\n") {
			t.Errorf("version %d: %.60q, %v", h.Version, got, err)
		}
	}
}

func TestAppendEventAllocatesNothing(t *testing.T) {
	dst := make([]byte, 0, 4096)
	data := strings.Repeat("naïve \x1b[1m \xff", 50)
	bytes := []byte(data)
	if n := testing.AllocsPerRun(100, func() {
		dst = AppendEvent(dst[:0], 3, 0, Event{time.Second, CodeOutput, data})
		dst = AppendEventBytes(dst[:0], 3, 0, time.Second, CodeOutput, bytes)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	for _, c := range []struct{ name, data string }{
		{"key", "x"},
		{"text", strings.Repeat("The quick brown fox jumps over the lazy dog. 0123456789\r\n", 575)},
		{"colour", strings.Repeat("\x1b[01;34mdir\x1b[0m  file.txt  \r\n", 1100)},
		{"wide", strings.Repeat("漢字とかな", 2184)},
		{"zeros", strings.Repeat("\x00", 32<<10)},
	} {
		b.Run(c.name, func(b *testing.B) {
			dst := make([]byte, 0, 256<<10)
			b.SetBytes(int64(len(c.data)))
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendEvent(dst[:0], 3, 0, Event{time.Second, CodeOutput, c.data})
			}
		})
	}
}

func BenchmarkReader(b *testing.B) {
	text := strings.Repeat("\x1b[01;34mdir\x1b[0m  The quick brown fox jumps over it.\r\n", 600)
	events := make([]Event, 32)
	for i := range events {
		events[i] = Event{time.Duration(i) * time.Millisecond, CodeOutput, text}
	}
	data := write(b, Header{Version: 3}, events)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, got, err := readAll(data); err != nil || len(got) != len(events) {
			b.Fatal(err)
		}
	}
}

// TestPlainBytes compares the test of eight bytes at once with that of one, at
// every place and for every byte.
func TestPlainBytes(t *testing.T) {
	for at := range 8 {
		for c := range 256 {
			for _, rest := range []byte{' ', 'a', '~', '!', '#', '[', ']'} {
				w := [8]byte{rest, rest, rest, rest, rest, rest, rest, rest}
				w[at] = byte(c)
				if got := plain8(binary.LittleEndian.Uint64(w[:])); got != plain[c] {
					t.Fatalf("%q: %v", w, got)
				}
			}
		}
	}
}
