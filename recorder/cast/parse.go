package cast

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// anyHeader takes the header of either version.
type anyHeader struct {
	Version       int                `json:"version"`
	Term          *anyTerm           `json:"term"`
	Width         int                `json:"width"`
	Height        int                `json:"height"`
	Timestamp     float64            `json:"timestamp"`
	IdleTimeLimit *float64           `json:"idle_time_limit"`
	Command       string             `json:"command"`
	Title         string             `json:"title"`
	Env           map[string]*string `json:"env"`
	Tags          []string           `json:"tags"`
	Extra         json.RawMessage    `json:"sallyport"`
}

type anyTerm struct {
	Cols int    `json:"cols"`
	Rows int    `json:"rows"`
	Type string `json:"type"`
}

func parseHeader(line []byte, h *Header) error {
	var a anyHeader
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("the header is not asciicast v2 or v3: %w", err)
	}
	if !(math.Abs(a.Timestamp) < 1e15) {
		return fmt.Errorf("timestamp %v is out of range", a.Timestamp)
	}
	*h = Header{
		Version: a.Version, Cols: a.Width, Rows: a.Height, Timestamp: int64(a.Timestamp),
		Command: a.Command, Title: a.Title, Tags: a.Tags, Extra: a.Extra,
	}
	if a.IdleTimeLimit != nil {
		h.IdleTimeLimit = *a.IdleTimeLimit
	}
	if len(a.Env) > 0 {
		h.Env = make(map[string]string, len(a.Env))
		for k, v := range a.Env {
			if v != nil {
				h.Env[k] = *v
			}
		}
	}
	if a.Version == 3 {
		if a.Term == nil {
			return errors.New("the header has no term")
		}
		h.Cols, h.Rows, h.Term = a.Term.Cols, a.Term.Rows, a.Term.Type
	} else {
		h.Term, h.Tags = h.Env["TERM"], nil
	}
	return h.check()
}

// unfinished reports whether line could have become JSON, had it gone on.
func unfinished(line []byte) bool {
	if len(line) == 0 {
		return true
	}
	var v json.RawMessage
	err := json.NewDecoder(bytes.NewReader(line)).Decode(&v)
	return errors.Is(err, io.ErrUnexpectedEOF)
}

// parse reads an event: [TIME, "CODE", "DATA"].
func (r *Reader) parse(line []byte) (Event, error) {
	s := scanner{rest: line}
	d, code, text, err := s.event(r.text[:0])
	r.text = text
	if err != nil {
		return Event{}, err
	}
	if !s.take(']') || !s.end() {
		return Event{}, errors.New("an event is a time, a code and data, then ]")
	}
	at, err := r.time(d)
	if err != nil {
		return Event{}, err
	}
	return Event{Time: at, Code: code, Data: string(text)}, nil
}

// time turns the time of a line into the time since the start.
func (r *Reader) time(d time.Duration) (time.Duration, error) {
	if r.header.Version == 2 {
		return max(d, r.at), nil
	}
	if d > MaxTime-r.at {
		return 0, fmt.Errorf("the events take longer than %d s", MaxTime/time.Second)
	}
	return r.at + d, nil
}

// parseSeconds reads a JSON number, exactly to the nanosecond where it has no
// exponent.
func parseSeconds(b []byte) (time.Duration, error) {
	if !isNumber(b) {
		return 0, fmt.Errorf("time %.40q is no number", b)
	}
	whole, frac, _ := bytes.Cut(b, []byte{'.'})
	if b[0] == '-' || len(whole) > 10 || bytes.ContainsAny(b, "eE") {
		f, err := strconv.ParseFloat(string(b), 64)
		if err != nil || f < 0 || f > MaxTime.Seconds() {
			return 0, fmt.Errorf("time %.40q is not between 0 and %d s", b, MaxTime/time.Second)
		}
		return time.Duration(math.Round(f * 1e9)), nil
	}
	var d int64
	for _, c := range whole {
		d = d*10 + int64(c-'0')
	}
	for i := range 9 {
		d *= 10
		if i < len(frac) {
			d += int64(frac[i] - '0')
		}
	}
	// What overflows d has 10 digits and does not begin with 1.
	if len(whole) == 10 && whole[0] != '1' || time.Duration(d) > MaxTime {
		return 0, fmt.Errorf("time %.40q is not between 0 and %d s", b, MaxTime/time.Second)
	}
	return time.Duration(d), nil
}

// isNumber reports whether b is a number of JSON (RFC 8259, section 6).
func isNumber(b []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(b) && b[n] >= '0' && b[n] <= '9' {
			n++
		}
		b = b[n:]
		return n > 0
	}
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	if len(b) > 1 && b[0] == '0' && b[1] >= '0' && b[1] <= '9' || !digits() {
		return false
	}
	if len(b) > 0 && b[0] == '.' {
		if b = b[1:]; !digits() {
			return false
		}
	}
	if len(b) > 0 && (b[0] == 'e' || b[0] == 'E') {
		if b = b[1:]; len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		return digits() && len(b) == 0
	}
	return len(b) == 0
}

// scanner reads the parts of one line.
type scanner struct{ rest []byte }

func (s *scanner) space() {
	i := 0
	for i < len(s.rest) && (s.rest[i] == ' ' || s.rest[i] == '\t' || s.rest[i] == '\r') {
		i++
	}
	s.rest = s.rest[i:]
}

// take skips white space and then c, and reports whether it was there.
func (s *scanner) take(c byte) bool {
	s.space()
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

func (s *scanner) end() bool {
	s.space()
	return len(s.rest) == 0
}

// event reads an event up to its data, which is appended to buf.
func (s *scanner) event(buf []byte) (d time.Duration, code Code, text []byte, err error) {
	if !s.take('[') {
		return 0, 0, buf, errors.New("an event begins with [")
	}
	if d, err = parseSeconds(s.number()); err != nil {
		return 0, 0, buf, err
	}
	if !s.take(',') {
		return 0, 0, buf, errors.New("no comma after the time of an event")
	}
	if code, err = s.code(); err != nil {
		return 0, 0, buf, err
	}
	if !s.take(',') {
		return 0, 0, buf, errors.New("no comma after the code of an event")
	}
	text, err = s.text(buf)
	return d, code, text, err
}

func (s *scanner) number() []byte {
	s.space()
	i := slices.IndexFunc(s.rest, func(c byte) bool {
		return (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E'
	})
	if i < 0 {
		i = len(s.rest)
	}
	n := s.rest[:i]
	s.rest = s.rest[i:]
	return n
}

func (s *scanner) code() (Code, error) {
	s.space()
	if b := s.rest; len(b) > 2 && b[0] == '"' && plain[b[1]] && b[2] == '"' {
		s.rest = b[3:]
		return Code(b[1]), nil
	}
	var buf [8]byte
	b, err := s.text(buf[:0])
	if err != nil {
		return 0, err
	}
	if len(b) != 1 || b[0] < 0x20 || b[0] > 0x7e {
		return 0, fmt.Errorf("event code %.40q is not one printable character", b)
	}
	return Code(b[0]), nil
}

// text appends what a JSON string stands for to dst.
func (s *scanner) text(dst []byte) ([]byte, error) {
	if !s.take('"') {
		return dst, errors.New("an event's code and data are strings")
	}
	b := s.rest
	start := 0
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case plain[c]:
			i++
		case c == '"':
			s.rest = b[i+1:]
			return append(dst, b[start:i]...), nil
		case c == '\\':
			dst = append(dst, b[start:i]...)
			var n int
			if dst, n = appendEscape(dst, b[i:]); n == 0 {
				return dst, fmt.Errorf("%.12q is no escape of JSON", b[i:])
			}
			i += n
			start = i
		case c < 0x20:
			return dst, fmt.Errorf("control character %#02x within a string", c)
		default:
			r, size := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && size <= 1 {
				dst = append(append(dst, b[start:i]...), "\uFFFD"...)
				start = i + size
			}
			i += size
		}
	}
	return dst, errors.New("a string has no end")
}

// appendEscape appends what the escape sequence at the start of b stands for,
// and returns its length, or 0 where it is none.
func appendEscape(dst, b []byte) ([]byte, int) {
	if len(b) < 2 {
		return dst, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return append(dst, b[1]), 2
	case 'b':
		return append(dst, '\b'), 2
	case 'f':
		return append(dst, '\f'), 2
	case 'n':
		return append(dst, '\n'), 2
	case 'r':
		return append(dst, '\r'), 2
	case 't':
		return append(dst, '\t'), 2
	}
	r := hex4(b)
	if r < 0 {
		return dst, 0
	}
	if utf16.IsSurrogate(r) {
		if pair := utf16.DecodeRune(r, hex4(b[6:])); pair != utf8.RuneError {
			return utf8.AppendRune(dst, pair), 12
		}
	}
	return utf8.AppendRune(dst, r), 6 // U+FFFD for half a surrogate pair
}

// hex4 reads \uXXXX at the start of b, and returns -1 where it is none.
func hex4(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range b[2:6] {
		r <<= 4
		switch {
		case c >= '0' && c <= '9':
			r |= rune(c - '0')
		case c >= 'a' && c <= 'f':
			r |= rune(c-'a') + 10
		case c >= 'A' && c <= 'F':
			r |= rune(c-'A') + 10
		default:
			return -1
		}
	}
	return r
}
