package sealed

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"sallyport/recorder/cast"
)

// lines reads the lines of one track of a block.
type lines struct {
	rest  []byte
	at    time.Duration
	n     int    // lines read
	arena []byte // memory of the events' data
}

func newLines(plain []byte, from time.Duration) *lines {
	return &lines{rest: plain, at: from, arena: make([]byte, 0, len(plain))}
}

// next returns the next line, or false at the end.
func (l *lines) next() (cast.Line, bool, error) {
	if len(l.rest) == 0 {
		return cast.Line{}, false, nil
	}
	l.n++
	line, rest, whole := bytes.Cut(l.rest, []byte{'\n'})
	if !whole {
		return cast.Line{}, false, errors.New("the last line has no end")
	}
	l.rest = rest
	e, arena, err := cast.ParseLine(line, l.arena)
	if err != nil {
		return cast.Line{}, false, err
	}
	if l.arena = arena; e.Interval > cast.MaxTime-l.at {
		return cast.Line{}, false, errors.New("the events take too long")
	}
	l.at += e.Interval
	return e, true, nil
}

// exact returns the bytes that the data of a b stands for, in its place.
func exact(b []byte) ([]byte, error) {
	n, err := base64.StdEncoding.Strict().Decode(b, b)
	if err != nil || utf8.Valid(b[:n]) {
		return nil, errors.New("bytes are not in base64, or need none")
	}
	return b[:n:n], nil
}

// event reads the next event with the lines before it that belong to it. Its
// bytes are in Raw; pos is that of all its lines.
func (l *lines) event() (e Event, pos int, ok bool, err error) {
	var raw []byte
	hasRaw := false
	for {
		line, ok, err := l.next()
		if err == nil && !ok && (hasRaw || e.Masks != nil) {
			err = errors.New("the event that the last lines belong to is missing")
		}
		if err != nil || !ok {
			return Event{}, 0, false, err
		}
		if (hasRaw || e.Masks != nil) && line.Pos != pos {
			return Event{}, 0, false, errors.New("the lines of one event have several positions")
		}
		pos = line.Pos
		switch line.Code {
		case cast.CodeMask:
			if hasRaw || pos >= 0 {
				return Event{}, 0, false, errors.New("a mask is out of place")
			}
			e.Masks = append(e.Masks, string(line.Data))
			continue
		case cast.CodeBytes:
			if hasRaw {
				return Event{}, 0, false, errors.New("two lines give the bytes of one event")
			}
			if raw, err = exact(line.Data); err != nil {
				return Event{}, 0, false, err
			}
			hasRaw = true
			continue
		}
		e.Time, e.Code = l.at, line.Code
		err = e.fill(line.Data, raw, hasRaw)
		return e, pos, err == nil, err
	}
}

// fill sets what an event says: data is that of its own line, raw that of the
// b before it.
func (e *Event) fill(data, raw []byte, hasRaw bool) error {
	switch {
	case e.masked() && !isOutput(e.Code):
		return fmt.Errorf("a mask belongs to an event %q", byte(e.Code))
	case !isOutput(e.Code) && e.Code != cast.CodeInput:
		if hasRaw {
			return fmt.Errorf("bytes belong to an event %q", byte(e.Code))
		}
		e.Text = string(data)
		return nil
	}
	if e.Raw = data; hasRaw {
		if !sameText(raw, data) {
			return errors.New("the text of an event is not that of its bytes")
		}
		e.Raw = raw
	}
	return nil
}

// sameText reports whether text is what is written for raw: U+FFFD for each
// byte that is not UTF-8.
func sameText(raw, text []byte) bool {
	for len(raw) > 0 {
		r, size := utf8.DecodeRune(raw)
		want, n := utf8.DecodeRune(text)
		if n == 0 || r != want || size > 1 && n != size {
			return false
		}
		raw, text = raw[size:], text[n:]
	}
	return len(text) == 0
}

// viewEvents reads a view track. Room is for the events of both tracks.
func viewEvents(plain []byte, h frameHeader, room int) ([]Event, error) {
	l := newLines(plain, micros(h.from))
	out := make([]Event, 0, min(room, len(plain)/minLine))
	for {
		e, pos, ok, err := l.event()
		switch {
		case err != nil:
		case !ok:
			return out, counted(len(out), h)
		case pos >= 0:
			err = errors.New("a position is out of place")
		case e.Code == cast.CodeInput:
			err = errors.New("input is out of place")
		case len(out) == int(h.events):
			err = counted(len(out)+1, h)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", l.n, err)
		}
		if e.masked() {
			e.View, e.Raw = e.Raw, nil
		}
		out = append(out, e)
	}
}

// minLine is the size of the shortest line.
const minLine = len(`[0,"o",""]` + "\n")

func counted(n int, h frameHeader) error {
	if n != int(h.events) {
		return fmt.Errorf("it does not hold the %d events that its header announces", h.events)
	}
	return nil
}

// placed is an event of the raw track.
type placed struct {
	Event
	pos int
}

func rawEvents(plain []byte, h frameHeader) ([]placed, error) {
	l := newLines(plain, micros(h.from))
	out := make([]placed, 0, min(int(h.events), len(plain)/minLine))
	last := -1
	for {
		e, pos, ok, err := l.event()
		switch {
		case err != nil:
		case !ok:
			return out, counted(len(out), h)
		case pos <= last:
			err = errors.New("positions do not rise")
		case e.Code != cast.CodeInput && !isOutput(e.Code):
			err = fmt.Errorf("an event %q is out of place", byte(e.Code))
		case len(out) == int(h.events):
			err = counted(len(out)+1, h)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", l.n, err)
		}
		last = pos
		out = append(out, placed{e, pos})
	}
}

// merge puts the two tracks of a block of n events together.
func merge(view []Event, raw []placed, n int) ([]Event, error) {
	out := make([]Event, 0, min(n, len(view)+len(raw)))
	for _, p := range raw {
		fill := p.pos - len(out)
		if fill > len(view) {
			return nil, fmt.Errorf("position %d is beyond the end", p.pos)
		}
		out = append(out, view[:fill]...)
		view = view[fill:]
		if p.Code == cast.CodeInput {
			out = append(out, p.Event)
			continue
		}
		if len(view) == 0 || view[0].Time != p.Time {
			return nil, fmt.Errorf("position %d has no event in the view", p.pos)
		}
		e := view[0]
		switch {
		case e.Code == p.Code && e.masked():
			e.Raw = p.Raw
		case e.Code == cast.CodeGap && e.Text == undecidedText(len(p.Raw)):
			e = p.Event
			e.Undecided = true
		default:
			return nil, fmt.Errorf("position %d has another event in the view", p.pos)
		}
		out, view = append(out, e), view[1:]
	}
	if out = append(out, view...); len(out) != n {
		return nil, fmt.Errorf("it has %d events and not %d", len(out), n)
	}
	if !slices.IsSortedFunc(out, func(a, b Event) int { return int(a.Time - b.Time) }) {
		return nil, errors.New("events of the two tracks are out of order")
	}
	for i := range out {
		if out[i].masked() && out[i].Raw == nil {
			return nil, fmt.Errorf("event %d has masks and no bytes", i)
		}
	}
	return out, nil
}
