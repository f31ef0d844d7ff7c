package cast

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// headerV3 is the header line of asciicast v3.
type headerV3 struct {
	Version int    `json:"version"`
	Term    termV3 `json:"term"`
	headerCommon
	Tags  []string        `json:"tags,omitempty"`
	Extra json.RawMessage `json:"sallyport,omitempty"`
}

type termV3 struct {
	Cols int    `json:"cols"`
	Rows int    `json:"rows"`
	Type string `json:"type,omitempty"`
}

// headerV2 is the header line of asciicast v2.
type headerV2 struct {
	Version int `json:"version"`
	Width   int `json:"width"`
	Height  int `json:"height"`
	headerCommon
	Extra json.RawMessage `json:"sallyport,omitempty"`
}

type headerCommon struct {
	Timestamp     int64             `json:"timestamp,omitempty"`
	IdleTimeLimit float64           `json:"idle_time_limit,omitempty"`
	Command       string            `json:"command,omitempty"`
	Title         string            `json:"title,omitempty"`
	Env           map[string]string `json:"env,omitempty"`
}

// AppendHeader appends h as a line to dst. In version 2, Term becomes the
// variable TERM and Tags are left out. The error names the field that a Reader
// would refuse; dst is then returned as it was.
func AppendHeader(dst []byte, h Header) ([]byte, error) {
	if err := h.check(); err != nil {
		return dst, fmt.Errorf("asciicast header: %w", err)
	}
	common := headerCommon{h.Timestamp, h.IdleTimeLimit, h.Command, h.Title, h.Env}
	var v any
	if h.Version == 3 {
		v = headerV3{3, termV3{h.Cols, h.Rows, h.Term}, common, h.Tags, h.Extra}
	} else {
		if h.Term != "" {
			common.Env = maps.Clone(h.Env)
			if common.Env == nil {
				common.Env = map[string]string{}
			}
			common.Env["TERM"] = h.Term
		}
		v = headerV2{2, h.Cols, h.Rows, common, h.Extra}
	}
	line, err := json.Marshal(v)
	if err != nil {
		return dst, fmt.Errorf("asciicast header: %w", err)
	}
	if len(line) >= MaxHeader {
		return dst, fmt.Errorf("asciicast header: %d bytes are more than the %d allowed", len(line)+1, MaxHeader)
	}
	return append(append(dst, line...), '\n'), nil
}

func (h *Header) check() error {
	switch {
	case h.Version != 2 && h.Version != 3:
		return fmt.Errorf("version %d is neither 2 nor 3", h.Version)
	case h.Cols < 0 || h.Cols > MaxSide:
		return fmt.Errorf("%d columns are not between 0 and %d", h.Cols, MaxSide)
	case h.Rows < 0 || h.Rows > MaxSide:
		return fmt.Errorf("%d rows are not between 0 and %d", h.Rows, MaxSide)
	case !(h.IdleTimeLimit >= 0) || math.IsInf(h.IdleTimeLimit, 0):
		return fmt.Errorf("idle time limit %v is no number of seconds", h.IdleTimeLimit)
	}
	return nil
}

// AppendEvent appends e as a line to dst. Version 2 writes its time, any other
// version the interval since prev, the time of the event before; both are
// rounded to microseconds first, so that intervals do not drift. A time before
// prev is written as prev's. Each byte of Data that is not UTF-8 becomes U+FFFD.
func AppendEvent(dst []byte, version int, prev time.Duration, e Event) []byte {
	return AppendEventBytes(dst, version, prev, e.Time, e.Code, []byte(e.Data))
}

// AppendEventBytes is AppendEvent for data in bytes, of which it keeps nothing.
func AppendEventBytes(dst []byte, version int, prev, at time.Duration, code Code, data []byte) []byte {
	us := micros(at)
	if version != 2 {
		us = max(us-micros(prev), 0)
	}
	dst = append(dst, '[')
	dst = appendMicros(dst, us)
	dst = append(dst, `, "`...)
	if code == '"' || code == '\\' {
		dst = append(dst, '\\')
	}
	dst = append(dst, byte(code))
	dst = append(dst, `", "`...)
	dst = appendText(dst, data)
	return append(dst, "\"]\n"...)
}

// micros rounds a time to microseconds.
func micros(d time.Duration) int64 {
	return int64(min(max(d, 0), MaxTime)+time.Microsecond/2) / int64(time.Microsecond)
}

func appendMicros(dst []byte, us int64) []byte {
	dst = strconv.AppendInt(dst, us/1e6, 10)
	var frac [7]byte
	f := us % 1e6
	for i := 6; i > 0; i-- {
		frac[i] = byte('0' + f%10)
		f /= 10
	}
	frac[0] = '.'
	return append(dst, frac[:]...)
}

// plain holds true for the bytes that stand for themselves in JSON.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// plain8 reports whether plain holds for all eight bytes of w: none is below
// 0x20, a quotation mark, a backslash, or 0x7f and above.
func plain8(w uint64) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	zero := func(x uint64) uint64 { return (x - ones) &^ x & tops } // not 0 where a byte is 0
	below := (w - 0x20*ones) &^ w
	return (w|below)&tops|zero(w^'"'*ones)|zero(w^'\\'*ones)|zero(w^0x7f*ones) == 0
}

const hexDigits = "0123456789abcdef"

// appendText appends data as the inside of a JSON string (RFC 8259, section 7).
// Beside what must be escaped, it escapes the other control characters and line
// separators, so that a line is one line to every reader and does nothing to a
// terminal that prints it.
func appendText(dst, data []byte) []byte {
	start := 0
	for i := 0; i < len(data); {
		c := data[i]
		if plain[c] {
			for i++; i+8 <= len(data) && plain8(binary.LittleEndian.Uint64(data[i:])); {
				i += 8
			}
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, data[start:i]...)
			dst = append(dst, escapes[c]...)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			dst = append(dst, data[start:i]...)
			dst = append(dst, "\uFFFD"...)
		case r < 0xa0 || r == '\u2028' || r == '\u2029':
			dst = append(dst, data[start:i]...)
			dst = append(dst, '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		default:
			i += size
			continue
		}
		i += size
		start = i
	}
	return append(dst, data[start:]...)
}

// escapes holds how each byte below 0x80 that is not plain is written.
var escapes = func() (t [utf8.RuneSelf]string) {
	for c := range t {
		t[c] = string([]byte{'\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15]})
	}
	for c, e := range map[byte]string{
		'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`,
	} {
		t[c] = e
	}
	return t
}()
