package term

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sallyport/recorder/cast"
)

// maxLag is how late an event may be shown and the next still be counted from
// when it was due. Beyond it (the machine slept) time starts anew.
const maxLag = time.Second

// player is one run of Play; one goroutine owns it.
type player struct {
	ctx   context.Context // of Play; seeking stops with it
	o     Options
	src   Source
	w     *bufio.Writer
	keys  <-chan key // nil without a viewer's keys, and once they have ended
	speed float64

	clean  Sanitizer
	next   *cast.Event // read, not played yet
	end    error       // io.EOF or cast.ErrTruncated, once everything was read
	pos    time.Duration
	at     time.Time // when pos was reached
	paused bool
	quit   bool
	buf    []byte

	overlay bool      // the status line or the help hides a part of the screen
	hide    time.Time // when a passing status line goes; zero for never
	shown   int       // bytes shown since the screen was cleared
	cols    int       // size of the recorded terminal at pos
	rows    int
}

// out writes a sequence of our own. Its error comes with the next Flush.
func (p *player) out(s string) { _, _ = p.w.WriteString(s) }

// run plays until the end, a quit or the context's end.
func (p *player) run() error {
	for !p.quit {
		if err := p.peek(); err != nil {
			return err
		}
		if p.next == nil {
			if p.keys == nil {
				return p.endNote()
			}
			p.paused, p.hide = true, time.Time{}
			p.status()
		}
		if err := p.w.Flush(); err != nil {
			return err
		}
		if err := p.wait(); err != nil {
			return err
		}
	}
	return nil
}

// wait waits for one thing to happen and does it.
func (p *player) wait() error {
	var due, hide <-chan time.Time
	var when time.Time
	if !p.paused {
		when = p.at.Add(p.gap())
		due = p.o.After(max(0, when.Sub(p.o.Now())))
	}
	if !p.hide.IsZero() {
		hide = p.o.After(max(0, p.hide.Sub(p.o.Now())))
	}
	select {
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	case <-due:
		if p.o.Now().Sub(when) > maxLag {
			when = p.o.Now()
		}
		return p.play(when)
	case <-hide:
		return p.redraw()
	case k, ok := <-p.keys:
		if !ok { // no more keys: play on, but never wait for one
			p.keys, p.quit = nil, p.paused
			return nil
		}
		return p.press(k)
	case size := <-p.o.Resize:
		p.o.Cols, p.o.Rows = size[0], size[1]
		p.overlay = true
		if err := p.redraw(); err != nil {
			return err
		}
		p.say()
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

// gap is how long the next event comes after the position, in the viewer's
// time.
func (p *player) gap() time.Duration {
	gap := p.next.Time - p.pos
	if p.o.IdleLimit > 0 {
		gap = min(gap, p.o.IdleLimit)
	}
	return time.Duration(float64(gap) / p.speed)
}

// play shows the next event as of the time at; its time is the position then.
func (p *player) play(at time.Time) error {
	e := p.next
	p.next, p.pos, p.at = nil, e.Time, at
	switch e.Code {
	case cast.CodeOutput, cast.CodeStderr:
		p.buf = p.clean.Append(p.buf[:0], []byte(e.Data))
		p.shown += len(p.buf)
		return p.write(p.buf)
	case cast.CodeResize:
		var cols, rows int
		if n, _ := fmt.Sscanf(e.Data, "%dx%d", &cols, &rows); n == 2 {
			p.noteSize(cols, rows)
		}
	}
	return nil
}

func (p *player) write(b []byte) error {
	if p.o.LineFeeds && p.o.In != nil {
		b = bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
	}
	_, err := p.w.Write(b)
	return err
}

func (p *player) noteSize(cols, rows int) { p.cols, p.rows = cols, rows }

// press does what a key asks for.
func (p *player) press(k key) error {
	switch k {
	case "q", "Q", "\x03", "\x04":
		p.quit = true
	case " ":
		return p.pause(!p.paused)
	case ".":
		return p.step()
	case keyLeft:
		return p.goTo(p.now() - seekStep)
	case keyRight:
		return p.goTo(p.now() + seekStep)
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

// hold makes now the position, and time count from it.
func (p *player) hold() { p.pos, p.at = p.now(), p.o.Now() }

func (p *player) pause(on bool) error {
	p.hold()
	p.paused = on
	if on {
		p.hide = time.Time{}
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
	p.hold()
	if err := p.redraw(); err != nil {
		return err
	}
	p.paused = true
	for shown := false; !shown; {
		if err := p.peek(); err != nil {
			return err
		}
		if p.next == nil {
			break
		}
		shown = p.next.Code == cast.CodeOutput || p.next.Code == cast.CodeStderr
		if err := p.play(p.o.Now()); err != nil {
			return err
		}
	}
	p.say()
	return nil
}

func (p *player) setSpeed(s float64) {
	p.hold()
	p.speed = min(max(s, minSpeed), maxSpeed)
	p.say()
}

// endNote says when a recording that was played straight through is not whole.
func (p *player) endNote() error {
	if p.end != io.EOF {
		return fmt.Errorf("played up to the last whole event: %w", cast.ErrTruncated)
	}
	return nil
}
