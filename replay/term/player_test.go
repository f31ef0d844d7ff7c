package term

import (
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

// restored is what a terminal is left with after plain text.
var restored = new(Sanitizer).Restore()

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
		if got := s.out.String(); got != "abc"+restored {
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
	if !errors.Is(err, cast.ErrTruncated) || s.out.String() != "ab"+restored {
		t.Errorf("%v %q", err, s.out.String())
	}
}

func TestADamagedRecordingIsAnError(t *testing.T) {
	src := seconds("a")
	src.end = errors.New("damaged")
	var s stage
	var pauses []time.Duration
	if err := Play(context.Background(), src, s.options(&pauses)); err == nil || !strings.HasSuffix(s.out.String(), restored) {
		t.Errorf("%v %q", err, s.out.String())
	}
}

func TestContextEndsThePlayerAndRestores(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("the bastion stops")
	cancel(why)
	var out bytes.Buffer
	r, w := io.Pipe()
	defer w.Close()
	if err := Play(ctx, seconds("a", "b"), Options{In: r, Out: &out, Cols: 80, Rows: 24, After: func(time.Duration) <-chan time.Time { return nil }}); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if !strings.Contains(out.String(), restored) {
		t.Errorf("%q", out.String())
	}
}

// pressed runs a player whose time stands still but for keys.
func pressed(t *testing.T, src Source, keys ...key) (*player, string) {
	t.Helper()
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	p := &player{o: Options{Out: &out, Cols: 80, Rows: 24, Now: func() time.Time { return now }}, src: src, speed: 1, keys: make(chan key)}
	p.at = now
	for _, k := range keys {
		if err := p.peek(); err != nil {
			t.Fatal(err)
		}
		if err := p.press(k); err != nil {
			t.Fatal(err)
		}
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
	p.o.Out = &narrow
	p.status()
	if !strings.Contains(narrow.String(), "m 00:0\x1b[K") {
		t.Errorf("%q", narrow.String())
	}
}

func TestTheTerminalIsLeftAsItWas(t *testing.T) {
	var s Sanitizer
	s.Append(nil, []byte("\x1b[?1049h\x1b[2;5r\x1b[?6h"))
	if got := s.Restore(); !strings.HasPrefix(got, "\x1b[?6l\x1b[r") || !strings.HasSuffix(got, "\x1b[?1049l") {
		t.Errorf("%q", got)
	}
	s.Append(nil, []byte("\x1b[?1049h\x1b[?1049l"))
	if got := s.Restore(); got != restored {
		t.Errorf("%q", got)
	}
}
