package term

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sallyport/recorder/cast"
)

// seekStep is how far an arrow key goes.
const seekStep = 5 * time.Second

// player is one run of Play; one goroutine owns it.
type player struct {
	o     Options
	src   Source
	keys  <-chan key // nil without a viewer's keys, and once they have ended
	speed float64

	clean   Sanitizer
	next    *cast.Event // read, not played yet
	end     error       // io.EOF or cast.ErrTruncated, once everything was read
	pos     time.Duration
	at      time.Time // when pos was reached
	paused  bool
	overlay bool // the status line or the help hides a part of the screen
	quit    bool
	buf     []byte
}

func (p *player) out(s string) { io.WriteString(p.o.Out, s) }

// run plays until the end, a quit or ctx.
func (p *player) run(ctx context.Context) error {
	p.at = p.o.Now()
	for !p.quit {
		if err := p.peek(); err != nil {
			return err
		}
		if p.next == nil {
			if p.keys == nil {
				return p.endNote()
			}
			p.paused = true
			p.status()
		}
		var due <-chan time.Time
		if !p.paused {
			due = p.o.After(p.untilNext())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-due:
			if err := p.play(); err != nil {
				return err
			}
		case k, ok := <-p.keys:
			if !ok {
				return nil // the viewer has gone
			}
			if err := p.press(k); err != nil {
				return err
			}
		case size := <-p.o.Resize:
			p.o.Cols, p.o.Rows = size[0], size[1]
			if err := p.redraw(); err != nil {
				return err
			}
		}
	}
	return nil
}

// peek reads the next event unless there is one.
func (p *player) peek() error {
	if p.next != nil || p.end != nil {
		return nil
	}
	e, err := p.src.Next()
	if err == io.EOF || errors.Is(err, cast.ErrTruncated) {
		p.end = err
		return nil
	}
	if err != nil {
		return err
	}
	p.next = &e
	return nil
}

// untilNext is how long to wait for the next event.
func (p *player) untilNext() time.Duration {
	gap := p.next.Time - p.pos
	if p.o.IdleLimit > 0 {
		gap = min(gap, p.o.IdleLimit)
	}
	return max(0, time.Duration(float64(gap)/p.speed)-p.o.Now().Sub(p.at))
}

// play shows the next event; its time is the position then.
func (p *player) play() error {
	e := p.next
	p.next, p.pos, p.at = nil, e.Time, p.o.Now()
	return p.show(e)
}

func (p *player) show(e *cast.Event) error {
	if e.Code != cast.CodeOutput && e.Code != cast.CodeStderr {
		return nil
	}
	p.buf = p.clean.Append(p.buf[:0], []byte(e.Data))
	_, err := p.o.Out.Write(p.buf)
	return err
}

// press does what a key asks for.
func (p *player) press(k key) error {
	switch k {
	case "q", "\x03", "\x04":
		p.quit = true
	case " ":
		return p.pause(!p.paused)
	case ".":
		return p.step()
	case keyLeft:
		return p.seek(p.pos - seekStep)
	case keyRight:
		return p.seek(p.now() + seekStep)
	case keyUp, "+", "=":
		p.setSpeed(p.speed * 2)
	case keyDown, "-":
		p.setSpeed(p.speed / 2)
	case "]":
		return p.nextMarker()
	case "[":
		return p.previousMarker()
	case "?", "h":
		p.help()
	default:
		if len(k) == 1 && k[0] >= '0' && k[0] <= '9' {
			return p.percent(int(k[0] - '0'))
		}
	}
	return nil
}

// now is the position between two events.
func (p *player) now() time.Duration {
	if p.paused || p.next == nil {
		return p.pos
	}
	return min(p.next.Time, p.pos+time.Duration(float64(p.o.Now().Sub(p.at))*p.speed))
}

func (p *player) pause(on bool) error {
	p.pos = p.now()
	p.paused, p.at = on, p.o.Now()
	if on {
		p.status()
		return nil
	}
	if p.next == nil && p.end != nil { // at the end: from the beginning again
		return p.seek(0)
	}
	return p.redraw()
}

// step shows one more event and pauses.
func (p *player) step() error {
	if err := p.redraw(); err != nil {
		return err
	}
	for shown := false; !shown; {
		if err := p.peek(); err != nil || p.next == nil {
			return err
		}
		shown = p.next.Code == cast.CodeOutput
		if err := p.play(); err != nil {
			return err
		}
	}
	p.paused = true
	p.status()
	return nil
}

func (p *player) setSpeed(s float64) {
	p.pos, p.at = p.now(), p.o.Now()
	p.speed = min(max(s, minSpeed), maxSpeed)
	if p.paused {
		p.status()
	}
}

// seek goes to the time t: forwards by showing what lies between at once, and
// backwards from the beginning.
func (p *player) seek(t time.Duration) error {
	t = max(0, t)
	if t < p.pos || p.overlay {
		if err := p.rewind(); err != nil {
			return err
		}
	}
	if err := p.skip(t); err != nil {
		return err
	}
	if p.next == nil && p.end != nil { // there is nothing after the last event
		t = min(t, max(p.pos, p.o.Length))
	}
	p.pos, p.at = t, p.o.Now()
	if p.paused {
		p.status()
	}
	return nil
}

// skip shows everything up to t at once.
func (p *player) skip(t time.Duration) error {
	for {
		if err := p.peek(); err != nil {
			return err
		}
		if p.next == nil || p.next.Time > t {
			return nil
		}
		if err := p.play(); err != nil {
			return err
		}
	}
}

// rewind clears the screen and starts at the first event.
func (p *player) rewind() error {
	if err := p.src.Rewind(); err != nil {
		return err
	}
	p.out(p.clean.Restore() + "\x1b[H\x1b[2J")
	p.clean, p.next, p.end, p.pos, p.overlay = Sanitizer{}, nil, nil, 0, false
	return nil
}

// redraw repairs what the status line or the help has hidden.
func (p *player) redraw() error {
	if !p.overlay {
		return nil
	}
	t := p.pos
	if err := p.rewind(); err != nil {
		return err
	}
	if err := p.skip(t); err != nil {
		return err
	}
	p.pos, p.at = t, p.o.Now()
	return nil
}

func (p *player) percent(tenth int) error {
	if p.o.Length == 0 {
		if err := p.measure(); err != nil {
			return err
		}
	}
	return p.seek(p.o.Length * time.Duration(tenth) / 10)
}

// measure reads to the end once, to know the length.
func (p *player) measure() error {
	t := p.now()
	for p.next != nil || p.end == nil {
		if err := p.peek(); err != nil {
			return err
		}
		if p.next != nil {
			p.o.Length = p.next.Time
			p.next = nil
		}
	}
	p.overlay = true // the screen is behind now
	p.pos = t
	return nil
}

func (p *player) nextMarker() error {
	for {
		if err := p.peek(); err != nil {
			return err
		}
		if p.next == nil {
			return nil
		}
		marker := p.next.Code == cast.CodeMarker
		t := p.next.Time
		if err := p.play(); err != nil {
			return err
		}
		if marker {
			return p.seek(t)
		}
	}
}

// previousMarker goes to the last marker that lies well before the position,
// so that pressing it again goes further back.
func (p *player) previousMarker() error {
	before, found := p.now()-time.Second, time.Duration(0)
	if err := p.rewind(); err != nil {
		return err
	}
	for {
		if err := p.peek(); err != nil {
			return err
		}
		if p.next == nil || p.next.Time >= before {
			break
		}
		if p.next.Code == cast.CodeMarker {
			found = p.next.Time
		}
		p.pos, p.next = p.next.Time, nil
	}
	if err := p.rewind(); err != nil {
		return err
	}
	return p.seek(found)
}

// bottom writes one line at the foot of the viewer's terminal.
func (p *player) bottom(line string) {
	rows, cols := p.o.Rows, p.o.Cols
	if p.keys == nil || rows <= 0 || cols <= 0 {
		return
	}
	if r := []rune(line); len(r) > cols {
		line = string(r[:cols])
	}
	p.overlay = true
	p.out(fmt.Sprintf("\x1b7\x1b[r\x1b[?6l\x1b[%d;1H\x1b[0;7m%s\x1b[K\x1b[0m\x1b8", rows, line))
}

func (p *player) status() {
	what := "paused"
	if p.next == nil && p.end != nil {
		what = "the end"
		if p.end != io.EOF {
			what = "the recording is cut off here"
		}
	}
	length := ""
	if p.o.Length > 0 {
		length = " / " + clock(p.o.Length)
	}
	p.bottom(fmt.Sprintf(" %s%s  %gx  %s  (space plays, ? helps, q quits) ", clock(p.pos), length, p.speed, what))
}

var helpLines = []string{
	"space    pause or play", ".        one step further", "← →      5 seconds back or on", "↑ ↓      faster or slower",
	"[ ]      marker before or after", "0 … 9    0 % … 90 %", "q        quit",
}

// help covers the middle of the screen and pauses.
func (p *player) help() {
	if p.keys == nil || p.o.Rows < len(helpLines)+4 {
		return
	}
	p.pos = p.now()
	p.paused, p.overlay = true, true
	top := (p.o.Rows - len(helpLines) - 2) / 2
	var b strings.Builder
	b.WriteString("\x1b7\x1b[r\x1b[?6l")
	for i, line := range append(append([]string{""}, helpLines...), "") {
		pad := 36 - len([]rune(line))
		fmt.Fprintf(&b, "\x1b[%d;5H\x1b[0;7m  %s%s\x1b[0m", top+i, line, strings.Repeat(" ", pad))
	}
	b.WriteString("\x1b8")
	p.out(b.String())
	p.status()
}

// clock writes a position as people read it.
func clock(d time.Duration) string {
	s := int(d.Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// leave puts the viewer's prompt below what was shown.
func (p *player) leave() {
	if p.o.In != nil && p.o.Rows > 0 {
		p.out(fmt.Sprintf("\x1b[%d;1H\x1b[K", p.o.Rows))
	}
}

// endNote says when a recording that was played straight through is not whole.
func (p *player) endNote() error {
	if p.end != io.EOF {
		return fmt.Errorf("played up to the last whole event: %w", cast.ErrTruncated)
	}
	return nil
}
