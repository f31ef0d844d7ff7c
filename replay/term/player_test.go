package term

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/recorder/cast"
)

// tape is a Source in memory.
type tape struct {
	events []cast.Event
	i      int
	end    error
}

func (s *tape) Header() cast.Header { return cast.Header{Version: 3, Cols: 80, Rows: 24} }
func (s *tape) Rewind() error       { s.i = 0; return nil }
func (s *tape) Next() (cast.Event, error) {
	if s.i == len(s.events) {
		return cast.Event{}, s.end
	}
	s.i++
	return s.events[s.i-1], nil
}

func seconds(texts ...string) *tape {
	s := &tape{end: io.EOF}
	for i, text := range texts {
		code := cast.CodeOutput
		if strings.HasPrefix(text, "#") {
			code = cast.CodeMarker
		}
		s.events = append(s.events, cast.Event{Time: time.Duration(i) * time.Second, Code: code, Data: text})
	}
	return s
}

// stage runs Play with a clock that moves only when the player waits for it,
// and keys that are pressed at given times.
type stage struct {
	mu  sync.Mutex
	now time.Time
	out bytes.Buffer
}

func (s *stage) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *stage) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// waits lets time pass at once, noting how long each pause was.
func (s *stage) options(pauses *[]time.Duration) Options {
	s.now = time.Unix(1000, 0)
	return Options{Out: s, Now: s.clock, After: func(d time.Duration) <-chan time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		*pauses = append(*pauses, d)
		s.now = s.now.Add(d)
		c := make(chan time.Time, 1)
		c <- s.now
		return c
	}}
}

func TestPlaysStraightThroughInItsOwnTime(t *testing.T) {
	for _, tc := range []struct {
		speed float64
		idle  time.Duration
		want  string
	}{
		{1, 0, "[0s 1s 8s]"}, {2, 0, "[0s 500ms 4s]"}, {1, 2 * time.Second, "[0s 1s 2s]"},
	} {
		src := &tape{end: io.EOF, events: []cast.Event{{Code: 'o', Data: "a"}, {Time: time.Second, Code: 'o', Data: "b\x1b]0;x\x07"}, {Time: 9 * time.Second, Code: 'o', Data: "c"}}}
		var s stage
		var pauses []time.Duration
		o := s.options(&pauses)
		o.Speed, o.IdleLimit = tc.speed, tc.idle
		if err := Play(context.Background(), src, o); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(pauses); got != tc.want {
			t.Errorf("speed %g, idle %s: pauses %s, want %s", tc.speed, tc.idle, got, tc.want)
		}
		if got := s.out.String(); got != "abc" {
			t.Errorf("output %q", got)
		}
	}
}

func TestARecordingThatIsCutOffPlaysToItsLastEvent(t *testing.T) {
	src := seconds("a", "b")
	src.end = fmt.Errorf("x: %w", cast.ErrTruncated)
	var s stage
	var pauses []time.Duration
	err := Play(context.Background(), src, s.options(&pauses))
	if !errors.Is(err, cast.ErrTruncated) || s.out.String() != "ab" {
		t.Errorf("%v %q", err, s.out.String())
	}
}

func TestADamagedRecordingIsAnError(t *testing.T) {
	src := seconds("\x1b[31ma")
	src.end = errors.New("damaged")
	var s stage
	var pauses []time.Duration
	if err := Play(context.Background(), src, s.options(&pauses)); err == nil || !(s.out.String() == "\x1b[31ma\x1b[0m") {
		t.Errorf("%v %q", err, s.out.String())
	}
}

func TestContextEndsThePlayerAndRestores(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("the bastion stops")
	var out bytes.Buffer
	r, w := io.Pipe()
	defer w.Close()
	after := func(time.Duration) <-chan time.Time { cancel(why); return nil }
	if err := Play(ctx, seconds("a", "\x1b[?1049hb", "c"), Options{In: r, Out: &out, Cols: 80, Rows: 24, From: time.Second, After: after}); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if !strings.HasSuffix(out.String(), "\x1b[?1049l\x1b[r\x1b[24;1H\x1b[K") {
		t.Errorf("%q", out.String())
	}
}

// A context that has ended stops a seek in the middle, too.
func TestSeekingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("the bastion stops")
	cancel(why)
	var out bytes.Buffer
	if err := Play(ctx, seconds("a", "b"), Options{Out: &out, From: time.Hour}); !errors.Is(err, why) || out.Len() > 0 {
		t.Errorf("%v %q", err, out.String())
	}
}

// Keys that end (ssh -tt with no input) do not end the recording.
func TestPlaysOnWhenTheKeysEnd(t *testing.T) {
	var s stage
	var pauses []time.Duration
	o := s.options(&pauses)
	o.In, o.Cols, o.Rows = strings.NewReader(""), 80, 24
	if err := Play(context.Background(), seconds("a", "b", "c"), o); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a", "b", "c"} {
		if !strings.Contains(shown(s.out.String()), text) {
			t.Errorf("no %q in %q", text, s.out.String())
		}
	}
}

func TestQuitKeysEndThePlayer(t *testing.T) {
	for _, k := range []string{"q", "\x03", "\x04", "??q", "   q", "\x1b[A.[]5q"} {
		r, w := io.Pipe()
		go func() {
			for _, c := range []byte(k) { // one write for each key, as people type
				_, _ = w.Write([]byte{c})
			}
		}()
		var s stage
		err := Play(context.Background(), seconds("a", "#m", "b"), Options{In: r, Out: &s, Cols: 80, Rows: 24, After: func(time.Duration) <-chan time.Time { return nil }})
		if err != nil || !strings.HasSuffix(s.out.String(), "\x1b[24;1H\x1b[K") {
			t.Errorf("%q: %v %q", k, err, s.out.String())
		}
		r.Close()
	}
}

func TestAWriteThatFailsEndsThePlayer(t *testing.T) {
	r, w := io.Pipe()
	gone := errors.New("gone")
	r.CloseWithError(gone)
	if err := Play(context.Background(), seconds("a", "b"), Options{Out: w}); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

func TestLineFeedsGetTheirCarriageReturns(t *testing.T) {
	var s stage
	var pauses []time.Duration
	o := s.options(&pauses)
	o.In, o.LineFeeds = strings.NewReader(""), true
	if err := Play(context.Background(), seconds("a\nb"), o); err != nil || !strings.Contains(s.out.String(), "a\r\nb") {
		t.Errorf("%v %q", err, s.out.String())
	}
}

// Time is counted from when events were due, not from when they were shown.
func TestTimeDoesNotDrift(t *testing.T) {
	src := &tape{end: io.EOF}
	for i := range 1000 {
		src.events = append(src.events, cast.Event{Time: time.Duration(i) * 10 * time.Millisecond, Code: 'o', Data: "x"})
	}
	now := time.Unix(1000, 0)
	begin := now
	after := func(d time.Duration) <-chan time.Time {
		now = now.Add(d + time.Millisecond) // a timer is always a little late
		c := make(chan time.Time, 1)
		c <- now
		return c
	}
	if err := Play(context.Background(), src, Options{Out: io.Discard, Now: func() time.Time { return now }, After: after}); err != nil {
		t.Fatal(err)
	}
	if took := now.Sub(begin); took > 10*time.Second {
		t.Errorf("10 s took %s", took)
	}
}

// A status line in passing hides nothing for long.
func TestPassingStatusGoes(t *testing.T) {
	p, out := pressed(t, seconds("a", "b", "c"), keyRight, keyLeft, "+")
	if p.paused || p.hide.IsZero() || !strings.Contains(out, "2x  playing") {
		t.Errorf("paused %v, hide %v, %q", p.paused, p.hide, out)
	}
	var after bytes.Buffer
	p.w.Reset(&after)
	if err := p.redraw(); err != nil {
		t.Fatal(err)
	}
	if p.w.Flush(); after.String() != clearScreen+"a" || !p.hide.IsZero() {
		t.Errorf("%q", after.String())
	}
	p.shown = fewBytes + 1
	if p.say(); p.overlay {
		t.Error("a status line over a long recording, which is slow to repair")
	}
}

// pressed runs a player whose time stands still but for keys.
func pressed(t *testing.T, src Source, keys ...key) (*player, string) {
	t.Helper()
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	p := &player{ctx: t.Context(), o: Options{Cols: 80, Rows: 24, Now: func() time.Time { return now }}, w: bufio.NewWriter(&out), src: src, speed: 1, keys: make(chan key), at: now}
	for _, k := range keys {
		if err := p.peek(); err != nil {
			t.Fatal(err)
		}
		if err := p.press(k); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.w.Flush(); err != nil {
		t.Fatal(err)
	}
	return p, out.String()
}

// shown is what the terminal shows after the last clear.
func shown(out string) string {
	if i := strings.LastIndex(out, "\x1b[H\x1b[2J"); i >= 0 {
		out = out[i+len("\x1b[H\x1b[2J"):]
	}
	if i := strings.Index(out, "\x1b7"); i >= 0 {
		out = out[:i]
	}
	return out
}

func TestKeysMoveThroughTheRecording(t *testing.T) {
	texts := []string{"a", "b", "#one", "c", "d", "e", "f", "#two", "g", "h"}
	for _, tc := range []struct {
		keys []key
		pos  time.Duration
		want string
	}{
		{[]key{keyRight}, 5 * time.Second, "abcde"},
		{[]key{keyRight, keyLeft}, 0, "a"},
		{[]key{"5"}, 4500 * time.Millisecond, "abcd"},
		{[]key{"9", "0"}, 0, "a"},
		{[]key{"]"}, 2 * time.Second, "ab"},
		{[]key{"]", "]"}, 7 * time.Second, "abcdef"},
		{[]key{"9", "["}, 7 * time.Second, "abcdef"},
		{[]key{"9", "[", "["}, 2 * time.Second, "ab"},
		{[]key{keyRight, keyRight, keyRight}, 9 * time.Second, "abcdefgh"},
		{[]key{" ", ".", "."}, 3 * time.Second, "abc"},
		{[]key{keyRight, "?", " "}, 5 * time.Second, "abcde"},
		{[]key{"9", "]"}, 8100 * time.Millisecond, "abcdefg"},
		{[]key{"["}, 0, "a"},
		{[]key{keyRight, "+", " "}, 5 * time.Second, "abcde"},
	} {
		p, out := pressed(t, seconds(texts...), tc.keys...)
		if p.pos != tc.pos || shown(out) != tc.want {
			t.Errorf("%q: at %s showing %q, want %s %q", tc.keys, p.pos, shown(out), tc.pos, tc.want)
		}
	}
}

func TestSpeedHasBounds(t *testing.T) {
	p, _ := pressed(t, seconds("a"), "+", "+", "+", "+", "+", "+")
	if p.speed != maxSpeed {
		t.Errorf("speed %g", p.speed)
	}
	p, _ = pressed(t, seconds("a"), "-", "-", "-", "-")
	if p.speed != minSpeed {
		t.Errorf("speed %g", p.speed)
	}
}

func TestStatusFitsTheTerminal(t *testing.T) {
	p, out := pressed(t, seconds("a"), " ")
	if !p.paused || !strings.Contains(out, "\x1b[24;1H") || !strings.Contains(out, "paused") {
		t.Errorf("%q", out)
	}
	p, _ = pressed(t, seconds("a"))
	p.o.Cols = 5
	var narrow bytes.Buffer
	p.w.Reset(&narrow)
	p.status()
	p.w.Flush()
	if !strings.Contains(narrow.String(), "m 00:0\x1b[K") {
		t.Errorf("%q", narrow.String())
	}
}

func TestTheTerminalIsLeftAsItWas(t *testing.T) {
	for in, want := range map[string]string{
		"text":                                "",
		"\x1b[31m":                            "\x1b[0m",
		"\x1b[?25l\x1b[?7l\x1b[4h\x0e":        "\x1b[4l\x1b[?7h\x1b[?25h\x1b(B\x1b)B\x0f",
		"\x1b[?1049h\x1b[2;5r\x1b[?6h":        "\x1b[?1049l\x1b[?6l\x1b[r\x1b[999;1H",
		"\x1b[?1049h\x1b[?1049l":              "",
		"\x1b[?47h\x1b[1m":                    "\x1b[?1049l\x1b[0m",
		"\x1b(0\x1b[?25;1047h":                "\x1b[?1049l\x1b[?25h\x1b(B\x1b)B\x0f",
		"\x1b[?7h\x1b[?2004h\x1b]0;title\x07": "\x1b[?7h",
	} {
		var s Sanitizer
		s.Append(nil, []byte(in))
		if got := s.Restore(); got != want {
			t.Errorf("after %q: %q, want %q", in, got, want)
		}
	}
}
