package redact

import (
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// Chunk is a run of bytes about which everything is decided.
//
// The Raw of all chunks, one after the other, is exactly what was fed. Raw may
// be part of the slice that was fed or of the masker's own memory: it holds
// until that slice is written to or the masker is called again.
type Chunk struct {
	Raw   []byte
	Masks []Mask // in the order of Off, without overlaps
}

// Mask says that a span of bytes is hidden in the live view, and by which
// rule. The spans that a Masker makes hold printable text only; one secret with
// colour changes inside it, or one that goes on into the next chunk, has
// several.
type Mask struct {
	Rule  string `json:"rule"`  // the name of a built-in or custom rule
	Off   int    `json:"off"`   // first byte hidden, counted from the start of Raw
	Len   int    `json:"len"`   // bytes hidden
	Cells int    `json:"cells"` // terminal cells hidden
}

// View returns raw with every printable cell inside masks replaced by '*': a
// wide character becomes two, a zero-width one vanishes. Escape sequences and
// control characters inside a span stay, so that the terminal ends in the same
// state. A byte that is not UTF-8 counts as one cell.
//
// Masks that are out of range, overlapping or out of order, as a damaged
// recording may hold, hide what they can and do no harm otherwise. Without
// masks raw itself is returned.
func View(raw []byte, masks []Mask) []byte {
	if len(masks) == 0 {
		return raw
	}
	out := make([]byte, 0, len(raw))
	at := 0
	for _, m := range masks {
		from, to := max(m.Off, at), m.Off+max(m.Len, 0)
		if to < m.Off || to > len(raw) {
			to = len(raw)
		}
		if from >= to {
			continue
		}
		out = append(out, raw[at:from]...)
		out = appendMasked(out, raw[from:to])
		at = to
	}
	return append(out, raw[at:]...)
}

func appendMasked(out, span []byte) []byte {
	var lex lexer
	for i := 0; i < len(span); {
		size, cells, text := lex.unit(span[i:])
		if text {
			for range cells {
				out = append(out, '*')
			}
		} else {
			out = append(out, span[i:i+size]...)
		}
		i += size
	}
	return out
}

// unit reads the next byte of an escape sequence, control character or whole
// character from p, which must not be empty. A character that breaks off an
// escape sequence is not text: an asterisk in its place would go on with it.
func (l *lexer) unit(p []byte) (size, cells int, text bool) {
	c := p[0]
	switch {
	case l.state != ground:
		if l.escape(c) != evText {
			return 1, 0, false
		}
		size, cells, _ = l.unit(p)
		return size, cells, false
	case c >= 0x20 && c < 0x7f:
		return 1, 1, true
	case c == 0x1b:
		l.escape(c)
		return 1, 0, false
	case c < 0x80:
		return 1, 0, false
	}
	r, size := utf8.DecodeRune(p)
	if isC1(r) {
		return size, 0, false
	}
	return size, cellWidth(r, size), true
}

// isC1 tells a control character of the range U+0080 to U+009F. Terminals
// differ on whether these start sequences in UTF-8; they are passed on and not
// acted upon.
func isC1(r rune) bool { return r >= 0x80 && r < 0xa0 }

// cellWidth returns the cells of a character decoded from size bytes.
func cellWidth(r rune, size int) int {
	switch {
	case r < 0x7f, r == utf8.RuneError && size <= 1:
		return 1
	case r > 0xad && r < 0x300, r >= 0x400 && r < 0x483, r >= 0x2500 && r < 0x2580: // as the table has it
		return 1
	case r >= 0x4e00 && r < 0xa000, r >= 0xac00 && r < 0xd7a4:
		return 2
	}
	return displaywidth.Rune(r)
}
