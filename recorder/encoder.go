package recorder

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"sallyport/policy"
	"sallyport/recorder/cast"
	"sallyport/recorder/redact"
)

// tailTime is how long the beginning of a UTF-8 sequence waits for its end.
const tailTime = 20 * time.Millisecond

// stream is one direction of output while it is encoded.
type stream struct {
	code   cast.Code
	queue  *queue
	masker Masker // nil: nothing is masked, and tail joins UTF-8
	closed bool

	tail   [utf8.UTFMax]byte // the beginning of a UTF-8 sequence
	tailed int               // bytes of it
	since  time.Time         // when it came
}

// encoder turns what happens into lines. Its owner holds Recording.mu.
type encoder struct {
	r         *Recorder
	qmu       *sync.Mutex // of the queues
	out, errs stream
	closed    bool // nothing but what Close adds
	lines     []byte
	joined    []byte        // memory for output
	base64    []byte        // memory for bytes
	prev      time.Duration // time of the last event
	counts    policy.Summary
}

func (e *encoder) init(r *Recorder, s policy.Session, qmu *sync.Mutex, out, errs *queue) {
	e.r, e.qmu = r, qmu
	e.out = stream{code: cast.CodeOutput, queue: out}
	e.errs = stream{code: cast.CodeStderr, queue: errs}
	if r.o.NewMasker != nil && (s.TTY || s.RedactStreams) {
		e.out.masker, e.errs.masker = r.o.NewMasker(s), r.o.NewMasker(s)
	}
}

// output encodes what is decided about st after p has come.
func (e *encoder) output(st *stream, p []byte, at time.Duration) {
	if st.masker != nil {
		e.chunks(st, st.masker.Feed(p, e.r.o.Now()), at)
		return
	}
	joined := st.tailed > 0
	if joined {
		e.joined = append(append(room(e.joined[:0], st.tailed+len(p)), st.tail[:st.tailed]...), p...)
		p = e.joined
	}
	whole := len(p) - cutOff(p)
	if whole == 0 && joined {
		st.tailed = copy(st.tail[:], p) // still cut off; it has waited since it began
	} else if st.tailed = copy(st.tail[:], p[whole:]); st.tailed > 0 {
		st.since = e.r.o.Now()
	}
	e.emit(st, p[:whole], nil, at)
	if joined {
		e.joined = giveBack(e.joined)
	}
}

// cutOff returns how many bytes at the end of p begin a UTF-8 sequence that
// goes on.
func cutOff(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if rest := p[len(p)-n:]; utf8.RuneStart(rest[0]) {
			if utf8.FullRune(rest) {
				return 0
			}
			return n
		}
	}
	return 0
}

// due encodes what has been held back for long enough, and returns when more
// will be, if anything still is.
func (e *encoder) due(now time.Time, at time.Duration) (next time.Time) {
	for _, st := range []*stream{&e.out, &e.errs} {
		when, held := st.deadline()
		if held && !now.Before(when) {
			e.flush(st, now, at)
			when, held = st.deadline()
		}
		if held && (next.IsZero() || when.Before(next)) {
			next = when
		}
	}
	return next
}

// deadline returns when what st holds back must go on.
func (st *stream) deadline() (time.Time, bool) {
	switch {
	case st.closed:
		return time.Time{}, false
	case st.masker != nil:
		return st.masker.Deadline()
	}
	return st.since.Add(tailTime), st.tailed > 0
}

func (e *encoder) flush(st *stream, now time.Time, at time.Duration) {
	if st.masker != nil {
		e.chunks(st, st.masker.Flush(now), at)
		return
	}
	tail := st.tail[:st.tailed]
	st.tailed = 0
	e.emit(st, tail, nil, at)
}

// finish ends a stream.
func (e *encoder) finish(st *stream, at time.Duration) {
	e.flush(st, e.r.o.Now(), at)
	st.closed = true
}

func (e *encoder) chunks(st *stream, chunks []redact.Chunk, at time.Duration) {
	for _, c := range chunks {
		e.emit(st, c.Raw, c.Masks, at)
	}
}

// emit encodes raw as one event and queues its view.
func (e *encoder) emit(st *stream, raw []byte, masks []redact.Mask, at time.Duration) {
	if len(raw) == 0 {
		return
	}
	for _, m := range masks {
		text, err := json.Marshal(m)
		if err != nil {
			continue // a string and numbers always have JSON
		}
		e.line(cast.CodeMask, text, at)
		e.counts.Masks++
	}
	e.bytes(st.code, raw, at)
	view := redact.View(raw, masks)
	e.qmu.Lock()
	st.queue.push(view)
	e.qmu.Unlock()
	if st.code == cast.CodeOutput {
		e.counts.OutputBytes += int64(len(raw))
	} else {
		e.counts.StderrBytes += int64(len(raw))
	}
}

// bytes encodes raw so that it can be read back exactly.
func (e *encoder) bytes(code cast.Code, raw []byte, at time.Duration) {
	if !utf8.Valid(raw) {
		enc := base64.StdEncoding
		e.base64 = enc.AppendEncode(room(e.base64[:0], enc.EncodedLen(len(raw))), raw)
		e.line(cast.CodeBytes, e.base64, at)
		e.base64 = giveBack(e.base64)
	}
	e.line(code, raw, at)
	e.counts.Events++
}

func (e *encoder) input(p []byte, at time.Duration) {
	e.bytes(cast.CodeInput, p, at)
	e.counts.InputBytes += int64(len(p))
}

func (e *encoder) resize(cols, rows int, at time.Duration) {
	var buf [16]byte
	text := strconv.AppendInt(buf[:0], int64(cols), 10)
	text = append(text, 'x')
	text = strconv.AppendInt(text, int64(rows), 10)
	e.plain(cast.CodeResize, text, at)
	for _, st := range []*stream{&e.out, &e.errs} {
		if st.masker != nil {
			st.masker.Resize(cols)
		}
	}
}

// plain encodes an event that is text.
func (e *encoder) plain(code cast.Code, text []byte, at time.Duration) {
	e.line(code, text, at)
	e.counts.Events++
}

func (e *encoder) line(code cast.Code, data []byte, at time.Duration) {
	at = max(at, e.prev)
	e.lines = room(e.lines, len(data)+len(data)/8+32)
	e.lines = cast.AppendEventBytes(e.lines, 3, e.prev, at, code, data)
	e.prev = at
}
