package term

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// Sanitizer passes on what draws on a screen and drops what would do anything
// else to the viewer's terminal (THREATS T32): titles, links, the clipboard,
// questions that a terminal answers as if typed, mouse and paste modes, device
// strings. It allows what it knows and drops the rest. The zero value is ready;
// sequences may be split over calls of Append at any place.
type Sanitizer struct {
	state state
	seq   []byte // sequence so far, with its ESC; at most maxSequence
	utf   []byte // beginning of a character that is not whole yet

	other  bool // the other screen is shown
	region bool // a scroll region or origin mode was set
}

type state uint8

const (
	ground      state = iota
	escape            // after ESC
	charset           // after ESC and an intermediate byte
	control           // in a CSI
	ignored           // in a CSI or ESC sequence that is dropped
	text              // in OSC, DCS, APC, PM or SOS
	textEsc           // after an ESC in one of these
	maxSequence = 64
)

// Append appends what is left of p to dst.
func (s *Sanitizer) Append(dst, p []byte) []byte {
	for _, b := range p {
		dst = s.add(dst, b)
	}
	return dst
}

func (s *Sanitizer) add(dst []byte, b byte) []byte {
	if b == 0x18 || b == 0x1a { // CAN and SUB end any sequence (ECMA-48)
		s.state, s.utf = ground, s.utf[:0]
		return dst
	}
	switch s.state {
	case text:
		if b == 0x1b {
			s.state = textEsc
		} else if b == 0x07 {
			s.state = ground
		}
		return dst
	case textEsc:
		if b == '\\' {
			s.state = ground
			return dst
		}
		return s.afterEscape(dst, b)
	}
	if b == 0x1b {
		s.utf = s.utf[:0]
		s.state, s.seq = escape, append(s.seq[:0], b)
		return dst
	}
	switch s.state {
	case escape:
		return s.afterEscape(dst, b)
	case charset:
		s.state = ground
		if b >= 0x30 && b < 0x7f && s.seq[1] != '#' && (b == 'B' || b == '0') {
			dst = append(append(dst, s.seq...), b)
		}
		return dst
	case control:
		return s.inControl(dst, b)
	case ignored:
		if b >= 0x40 && b < 0x7f {
			s.state = ground
		}
		return dst
	}
	return s.plain(dst, b)
}

// afterEscape handles the byte after an ESC.
func (s *Sanitizer) afterEscape(dst []byte, b byte) []byte {
	s.seq = append(s.seq[:0], 0x1b)
	s.state = ground
	switch {
	case b == 0x1b:
		s.state = escape
	case b == '[':
		s.state, s.seq = control, append(s.seq, b)
	case bytes.IndexByte([]byte("]P_^X"), b) >= 0:
		s.state = text
	case bytes.IndexByte([]byte("()*+"), b) >= 0:
		s.state, s.seq = charset, append(s.seq, b)
	case b >= 0x20 && b < 0x30:
		s.state, s.seq = charset, append(s.seq, '#') // other intermediates: dropped with their final byte
	case bytes.IndexByte([]byte("78DEMH"), b) >= 0:
		dst = append(dst, 0x1b, b)
	case b == 'c': // a full reset would change the viewer's settings: clear only
		dst = append(dst, "\x1b[0m\x1b[r\x1b[H\x1b[2J"...)
	}
	return dst
}

func (s *Sanitizer) inControl(dst []byte, b byte) []byte {
	switch {
	case b < 0x20: // controls act in the middle of a sequence (ECMA-48)
		return s.plain(dst, b)
	case b >= 0x80 || b == 0x7f:
		s.state = ignored
	case b >= 0x40:
		s.state = ground
		if allowed(s.seq[2:], b) {
			s.note(b)
			dst = append(append(dst, s.seq...), b)
		}
	case len(s.seq) == maxSequence:
		s.state = ignored
	default:
		s.seq = append(s.seq, b)
	}
	return dst
}

// modes that draw differently, without a trace once they are reset.
var (
	ansiModes = []string{"4"}                                  // insert
	decModes  = []string{"6", "7", "25", "47", "1047", "1049"} // origin, wrap, cursor, other screen
)

// allowed judges a CSI by its parameter bytes and final byte.
func allowed(params []byte, final byte) bool {
	private := len(params) > 0 && params[0] == '?'
	if private {
		params = params[1:]
	}
	for _, c := range params {
		if (c < '0' || c > '9') && c != ';' && !(c == ':' && final == 'm') {
			return false
		}
	}
	switch final {
	case 'h', 'l':
		list := ansiModes
		if private {
			list = decModes
		}
		for _, p := range bytes.Split(params, []byte(";")) {
			if !slices.Contains(list, string(p)) {
				return false
			}
		}
		return true
	case 'J', 'K':
		return !private && string(params) != "3" // 3J would clear the viewer's scrollback
	case 's', 'u':
		return !private && len(params) == 0
	}
	return !private && bytes.IndexByte([]byte("@ABCDEFGHILMPSTXZ`abdefgmr"), final) >= 0
}

// plain passes text, and the controls that move the cursor. Characters of C1
// (U+0080 to U+009F) and bytes that are no UTF-8 do not pass.
func (s *Sanitizer) plain(dst []byte, b byte) []byte {
	if b < utf8.RuneSelf {
		s.utf = s.utf[:0]
		if b >= 0x20 && b != 0x7f || b >= 0x08 && b <= 0x0d || b == 0x0e || b == 0x0f {
			return append(dst, b)
		}
		return dst
	}
	if utf8.RuneStart(b) {
		s.utf = s.utf[:0]
	} else if len(s.utf) == 0 {
		return dst
	}
	s.utf = append(s.utf, b)
	if !utf8.FullRune(s.utf) {
		return dst
	}
	if r, size := utf8.DecodeRune(s.utf); size == len(s.utf) && r != utf8.RuneError && r >= 0xa0 {
		dst = append(dst, s.utf...)
	}
	s.utf = s.utf[:0]
	return dst
}

// note keeps what Restore has to undo.
func (s *Sanitizer) note(final byte) {
	switch final {
	case 'r':
		s.region = true
	case 'h', 'l':
		for _, p := range bytes.Split(bytes.TrimPrefix(s.seq[2:], []byte("?")), []byte(";")) {
			switch string(p) {
			case "47", "1047", "1049":
				s.other = final == 'h'
			case "6":
				s.region = true
			}
		}
	}
}

// Restore returns what leaves the terminal as it should be after all that was
// passed on: own screen, whole scroll region, wrap, cursor, colours and
// characters. The parts that would move the cursor are there only when needed.
func (s *Sanitizer) Restore() string {
	out := "\x1b[4l\x1b[?7h\x1b[?25h\x1b[0m\x1b(B\x1b)B\x0f"
	if s.region {
		out = "\x1b[?6l\x1b[r\x1b[999;1H" + out
	}
	if s.other {
		out += "\x1b[?1049l"
	}
	s.other, s.region = false, false
	return out
}
