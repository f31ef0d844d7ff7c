package sealed

import (
	"encoding/base64"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"sallyport/recorder/cast"
)

// Sizes at which a block ends and the next begins: bytes of a track, events.
const (
	softPlain  = 512 << 10
	softEvents = MaxBlockEvents / 2
)

// tracks is a block while it is put together: its lines under the view key and
// those under the raw key.
type tracks struct {
	view, raw          []byte
	viewAt, rawAt      time.Duration // time of the last line of each
	viewN, rawN, n     int           // events of each, and of both merged
	skip               int           // events of the view since the last of the raw track
	from, to           time.Duration
	base64             []byte
	masks              int
	output, err, input int
}

// reset empties t for a block that begins at from.
func (t *tracks) reset(from time.Duration) {
	*t = tracks{view: t.view[:0], raw: t.raw[:0], base64: t.base64[:0],
		viewAt: from, rawAt: from, from: from, to: from}
}

// full reports whether the block should end here.
func (t *tracks) full() bool {
	return len(t.view) >= softPlain || len(t.raw) >= softPlain || t.n >= softEvents
}

// add appends an event that is valid, at a time not before the last one.
func (t *tracks) add(e *Event, at time.Duration) {
	t.to = at
	if e.hidden() {
		t.bytes(&t.raw, &t.rawAt, at, e.Code, e.Raw, t.skip)
		t.skip = 0
		t.rawN++
	} else {
		t.skip++
	}
	switch {
	case e.Code == cast.CodeInput:
		t.input += len(e.Raw)
		t.n++
		return
	case e.Undecided:
		t.line(&t.view, &t.viewAt, at, cast.CodeGap, []byte(undecidedText(len(e.Raw))), -1)
	case e.masked():
		for _, m := range e.Masks {
			t.line(&t.view, &t.viewAt, at, cast.CodeMask, []byte(m), -1)
		}
		t.masks += len(e.Masks)
		t.bytes(&t.view, &t.viewAt, at, e.Code, e.View, -1)
	case isOutput(e.Code):
		t.bytes(&t.view, &t.viewAt, at, e.Code, e.Raw, -1)
	default:
		t.line(&t.view, &t.viewAt, at, e.Code, []byte(e.Text), -1)
	}
	switch e.Code {
	case cast.CodeOutput:
		t.output += len(e.Raw)
	case cast.CodeStderr:
		t.err += len(e.Raw)
	}
	t.viewN++
	t.n++
}

// undecidedText stands in the view for n bytes that only the raw key opens.
func undecidedText(n int) string {
	return fmt.Sprintf("%d bytes of output are not shown: the recording broke off before redaction had decided about them", n)
}

// bytes appends an event with bytes so that they can be read back exactly.
func (t *tracks) bytes(dst *[]byte, last *time.Duration, at time.Duration, code cast.Code, data []byte, skip int) {
	if !utf8.Valid(data) {
		t.base64 = base64.StdEncoding.AppendEncode(t.base64[:0], data)
		t.line(dst, last, at, cast.CodeBytes, t.base64, skip)
	}
	t.line(dst, last, at, code, data, skip)
}

func (t *tracks) line(dst *[]byte, last *time.Duration, at time.Duration, code cast.Code, data []byte, skip int) {
	if skip < 0 {
		*dst = cast.AppendEventBytes(*dst, 3, *last, at, code, data)
	} else {
		*dst = cast.AppendLine(*dst, *last, at, code, data, skip)
	}
	*last = at
}

var tracksPool = sync.Pool{New: func() any { return new(tracks) }}

// release lends t's memory again.
func (t *tracks) release() {
	if max(cap(t.view), cap(t.raw)) <= 2*maxKept {
		tracksPool.Put(t)
	}
}
