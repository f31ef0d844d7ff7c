package replay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"sallyport/recorder/cast"
)

// Format is what Export writes.
type Format string

// The formats. None but raw can hold bytes that are not UTF-8.
const (
	FormatV2   Format = "v2"  // asciicast v2
	FormatV3   Format = "v3"  // asciicast v3
	FormatRaw  Format = "raw" // the output's bytes
	FormatText Format = "txt" // the output without escape sequences
)

// ParseFormat takes the name of a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case FormatV2, FormatV3, FormatRaw, FormatText:
		return f, nil
	}
	return "", fmt.Errorf("unknown format %q; known: v2, v3, raw, txt", s)
}

// Report says what an export holds.
type Report struct {
	Events    int  `json:"events"`
	Masks     int  `json:"masks"`
	Replaced  int  `json:"replaced"`  // bytes that were not UTF-8 and became U+FFFD
	Truncated bool `json:"truncated"` // the recording is cut off; all whole events are here
}

// Export writes all of s to w. A recording that is cut off is exported up to
// its last whole event, and the report says so. A damaged one is exported up to
// the damage, which is the error.
func Export(w io.Writer, s *Stream, f Format) (Report, error) {
	out := bufio.NewWriterSize(w, 64<<10)
	e := exporter{out: out, format: f, text: newTextWriter(out)}
	err := e.header(s.Header())
	for err == nil {
		var p piece
		if p, err = s.next(); err == nil {
			err = e.piece(p)
		}
	}
	if errors.Is(err, ErrTruncated) {
		e.report.Truncated = true
		err = io.EOF
	}
	if err == io.EOF {
		err = nil
	}
	if flushed := errors.Join(e.text.Flush(), out.Flush()); err == nil {
		err = flushed
	}
	return e.report, err
}

type exporter struct {
	out    *bufio.Writer
	format Format
	text   *textWriter
	report Report
	last   time.Duration
	line   []byte
}

func (e *exporter) version() int {
	if e.format == FormatV2 {
		return 2
	}
	return 3
}

func (e *exporter) header(h cast.Header) error {
	if e.format == FormatRaw || e.format == FormatText {
		return nil
	}
	h.Version, h.Extra = e.version(), nil // names and addresses stay here
	line, err := cast.AppendHeader(nil, h)
	if err != nil {
		return err
	}
	_, err = e.out.Write(EscapeJSON(line))
	return err
}

// EscapeJSON writes the characters of a JSON text that a terminal would obey,
// or that turn or hide what is beside them, as \u escapes (RFC 8259, section
// 7). It means the same as before, and is safe to print.
func EscapeJSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for _, r := range string(text) {
		switch {
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

func (e *exporter) piece(p piece) error {
	if p.event.Code == cast.CodeMask {
		e.report.Masks++
		if e.format != FormatV3 { // players ignore it; it says what was hidden of the next event
			return nil
		}
	}
	output := p.event.Code == cast.CodeOutput || p.event.Code == cast.CodeStderr
	switch e.format {
	case FormatRaw:
		return e.bytes(e.out, output, p.bytes)
	case FormatText:
		if output {
			e.report.Replaced += invalid(p.bytes)
		}
		return e.bytes(e.text.stream(p.event.Code), output, []byte(p.event.Data))
	}
	code := p.event.Code
	if code == cast.CodeStderr {
		code = cast.CodeOutput // players know no other
	}
	if e.format == FormatV2 && (code == cast.CodeGap || code == cast.CodeExit) {
		return nil
	}
	e.report.Events++
	e.report.Replaced += invalid(p.bytes)
	p.event.Code = code
	e.line = cast.AppendEvent(e.line[:0], e.version(), e.last, p.event)
	e.last = p.event.Time
	_, err := e.out.Write(e.line)
	return err
}

func (e *exporter) bytes(w io.Writer, output bool, b []byte) error {
	if !output {
		return nil
	}
	e.report.Events++
	_, err := w.Write(b)
	return err
}

// invalid counts the bytes of b that are not part of valid UTF-8.
func invalid(b []byte) int {
	n := 0
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			n++
		}
		b = b[size:]
	}
	return n
}
