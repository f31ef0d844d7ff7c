package sealed

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
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
// bytes are in Raw; skip is the number that all its lines have.
func (l *lines) event() (e Event, skip int, ok bool, err error) {
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
		if (hasRaw || e.Masks != nil) && line.Skip != skip {
			return Event{}, 0, false, errors.New("the lines of one event have several numbers")
		}
		skip = line.Skip
		switch line.Code {
		case cast.CodeMask:
			if hasRaw || skip >= 0 {
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
		return e, skip, err == nil, err
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

// viewEvents reads a view track.
func viewEvents(plain []byte, h frameHeader) ([]Event, error) {
	l := newLines(plain, micros(h.from))
	out := make([]Event, 0, min(int(h.events), len(plain)/minLine))
	for {
		e, skip, ok, err := l.event()
		switch {
		case err != nil:
		case !ok:
			return out, counted(len(out), h)
		case skip >= 0:
			err = errors.New("a number after the data is out of place")
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

// hidden is an event of the raw track.
type hidden struct {
	Event
	skip int // events of the view since the one before
}

// rawEvents reads a raw track.
func rawEvents(plain []byte, h frameHeader) ([]hidden, error) {
	l := newLines(plain, micros(h.from))
	out := make([]hidden, 0, min(int(h.events), len(plain)/minLine))
	for {
		e, skip, ok, err := l.event()
		switch {
		case err != nil:
		case !ok:
			return out, counted(len(out), h)
		case skip < 0:
			err = errors.New("the number after the data is missing")
		case e.Code != cast.CodeInput && !isOutput(e.Code):
			err = fmt.Errorf("an event %q is out of place", byte(e.Code))
		case len(out) == int(h.events):
			err = counted(len(out)+1, h)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", l.n, err)
		}
		out = append(out, hidden{e, skip})
	}
}

// merge puts the two tracks of a block of n events together.
func merge(view []Event, raw []hidden, n int) ([]Event, error) {
	out := make([]Event, 0, min(n, len(view)+len(raw)))
	var err error
	for i := range raw {
		r := &raw[i]
		if out, view, err = pass(out, view, r.skip); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		e := r.Event
		if e.Code != cast.CodeInput {
			if e, err = uncover(view, e); err != nil {
				return nil, fmt.Errorf("event %d: %w", i, err)
			}
			view = view[1:]
		}
		if len(out) > 0 && e.Time < out[len(out)-1].Time {
			return nil, fmt.Errorf("event %d is earlier than the one of the view before it", i)
		}
		out = append(out, e)
	}
	if out, _, err = pass(out, view, len(view)); err != nil {
		return nil, err
	}
	if len(out) != n {
		return nil, fmt.Errorf("the block has %d events and not the %d of the index", len(out), n)
	}
	return out, nil
}

// pass moves the next n events of the view to out.
func pass(out, view []Event, n int) (_, rest []Event, err error) {
	if n > len(view) {
		return nil, nil, errors.New("it is beyond the end of the view")
	}
	for i := range view[:n] {
		if view[i].masked() {
			return nil, nil, errors.New("the bytes of an event with masks are missing")
		}
	}
	if n > 0 && len(out) > 0 && view[0].Time < out[len(out)-1].Time {
		return nil, nil, errors.New("it is later than the event of the view after it")
	}
	return append(out, view[:n]...), view[n:], nil
}

// uncover returns the event that e and the next one of the view make.
func uncover(view []Event, e Event) (Event, error) {
	if len(view) == 0 || view[0].Time != e.Time {
		return e, errors.New("the view has no event in its place")
	}
	switch v := view[0]; {
	case v.Code == e.Code && v.masked():
		v.Raw = e.Raw
		return v, nil
	case v.Code == cast.CodeGap:
		e.Undecided = true
		return e, nil
	}
	return e, errors.New("the view has another event in its place")
}
