package recorder

import (
	"time"
	"unicode/utf8"

	"sallyport/recorder/cast"
	"sallyport/recorder/redact"
)

// tailTime is how long the beginning of a UTF-8 sequence waits for its end.
const tailTime = 20 * time.Millisecond

// stream is one direction of output: it decides what of it can be shown. Its
// owner holds Recording.mu.
type stream struct {
	code   cast.Code
	queue  queue  // under qmu
	masked bool   // masker decides; it is made when it is needed
	wire   bool   // also what the client gets, and not only the stored view
	masker Masker // nil: nothing is hidden
	closed bool

	held  []byte    // what came and is not decided
	since time.Time // when it began to come, where nothing is masked
	chunk [1]redact.Chunk
}

// decide returns what can be shown after p has come, which must not be empty.
// It holds until the next call.
func (st *stream) decide(p []byte, now time.Time) []redact.Chunk {
	if st.masker != nil {
		chunks := st.masker.Feed(p, now)
		st.keep(p, size(chunks))
		return chunks
	}
	joined := len(st.held) > 0
	if joined {
		p = append(append(make([]byte, 0, len(st.held)+len(p)), st.held...), p...)
	}
	whole := len(p) - cutOff(p)
	if whole > 0 || !joined {
		st.since = now // otherwise it has waited since it began
	}
	st.held = append(st.held[:0], p[whole:]...)
	if whole == 0 {
		return nil
	}
	st.chunk[0] = redact.Chunk{Raw: p[:whole]}
	return st.chunk[:]
}

// flush returns all that is held back, decided.
func (st *stream) flush(now time.Time) []redact.Chunk {
	if len(st.held) == 0 {
		return nil
	}
	if st.masker != nil {
		chunks := st.masker.Flush(now)
		st.keep(nil, size(chunks))
		return chunks
	}
	st.chunk[0] = redact.Chunk{Raw: append([]byte(nil), st.held...)}
	st.held = st.held[:0]
	return st.chunk[:]
}

// keep notes that p has come and that the oldest n bytes are decided.
func (st *stream) keep(p []byte, n int) {
	switch rest := len(st.held) + len(p) - n; {
	case rest <= len(p):
		st.held = append(st.held[:0], p[len(p)-rest:]...)
	default:
		st.held = append(st.held[:copy(st.held, st.held[n:])], p...)
	}
	if len(st.held) == 0 && cap(st.held) > ownBuffer {
		st.held = nil
	}
}

// deadline returns when what st holds back must go on.
func (st *stream) deadline() (time.Time, bool) {
	switch {
	case st.closed:
		return time.Time{}, false
	case st.masker != nil:
		return st.masker.Deadline()
	}
	return st.since.Add(tailTime), len(st.held) > 0
}

// size returns how many bytes chunks have.
func size(chunks []redact.Chunk) (n int) {
	for _, c := range chunks {
		n += len(c.Raw)
	}
	return n
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
