package term

import (
	"context"
	"time"

	"sallyport/recorder/cast"
)

// seekStep is how far an arrow key goes.
const seekStep = 5 * time.Second

// goTo is seek for a key: the viewer is told where that was.
func (p *player) goTo(t time.Duration) error {
	if err := p.seek(t); err != nil {
		return err
	}
	p.say()
	return nil
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
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		if err := p.play(p.o.Now()); err != nil {
			return err
		}
	}
}

// rewind clears the screen and starts at the first event.
func (p *player) rewind() error {
	p.out(p.clean.Restore() + clearScreen)
	p.clean, p.overlay, p.hide, p.shown = Sanitizer{}, false, time.Time{}, 0
	p.noteSize(p.src.Header().Cols, p.src.Header().Rows)
	return p.restart()
}

// restart goes to the first event and leaves the screen alone.
func (p *player) restart() error {
	p.next, p.end, p.pos = nil, nil, 0
	return p.src.Rewind()
}

// redraw repairs what the status line or the help has hidden.
func (p *player) redraw() error {
	p.hide = time.Time{}
	if !p.overlay {
		return nil
	}
	return p.seek(p.now())
}

func (p *player) percent(tenth int) error {
	if p.o.Length == 0 {
		p.hold()
		err := p.scan(func(e *cast.Event) bool {
			p.o.Length = e.Time
			return true
		})
		if err != nil {
			return err
		}
	}
	return p.goTo(p.o.Length * time.Duration(tenth) / 10)
}

// nextMarker goes to the first marker after the position; without one it stays.
func (p *player) nextMarker() error {
	p.hold()
	now, to := p.pos, p.pos
	err := p.scan(func(e *cast.Event) bool {
		if e.Code == cast.CodeMarker && e.Time > now {
			to = e.Time
			return false
		}
		return true
	})
	if err != nil {
		return err
	}
	return p.goTo(to)
}

// previousMarker goes to the last marker that lies well before the position,
// so that pressing it again goes further back; without one, to the beginning.
func (p *player) previousMarker() error {
	p.hold()
	before, to := p.pos-time.Second, time.Duration(0)
	err := p.scan(func(e *cast.Event) bool {
		if e.Time >= before {
			return false
		}
		if e.Code == cast.CodeMarker {
			to = e.Time
		}
		return true
	})
	if err != nil {
		return err
	}
	return p.goTo(to)
}

// scan reads from the first event until f returns false or the end, and shows
// nothing. The screen has to be drawn anew then, which a seek does.
func (p *player) scan(f func(*cast.Event) bool) error {
	if err := p.restart(); err != nil {
		return err
	}
	p.overlay = true
	for {
		if err := p.peek(); err != nil {
			return err
		}
		if p.next == nil || !f(p.next) {
			return nil
		}
		p.next = nil
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
	}
}
