package term

import (
	"bytes"
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

	touched touched // what Restore has to undo
	other   bool    // the other screen is shown
}

// touched is a set of what a recording has set in the terminal. A part stays
// in it once it was set, because restoring the cursor brings it back.
type touched uint8

const (
	colours touched = 1 << iota
	characters
	insert
	wrap
	cursor
	region // a scroll region or origin mode
)

type state uint8

const (
	ground  state = iota
	escape        // after ESC
	charset       // after ESC and an intermediate byte
	control       // in a CSI
	ignored       // in a CSI that is dropped
	text          // in OSC, DCS, APC, PM or SOS
	textC2        // after the byte C2 in one of these
	textEsc       // after an ESC in one of these
)

// maxSequence bounds a CSI, in bytes.
const maxSequence = 64

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
	case text, textC2:
		s.inText(b)
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
		if s.seq[1] != '#' && (b == 'B' || b == '0') {
			s.touched |= characters
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

// inText looks for the end of a string: BEL, ESC \ or U+009C. Where terminals
// disagree, the string ends early: rather is too much shown than too little.
func (s *Sanitizer) inText(b byte) {
	switch {
	case b == 0x1b:
		s.state = textEsc
	case b == 0x07, b == 0x9c && s.state == textC2:
		s.state = ground
	case b == 0xc2:
		s.state = textC2
	default:
		s.state = text
	}
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
	case bytes.IndexByte([]byte("()"), b) >= 0:
		s.state, s.seq = charset, append(s.seq, b)
	case b >= 0x20 && b < 0x30:
		s.state, s.seq = charset, append(s.seq, '#') // other intermediates: dropped with their final byte
	case bytes.IndexByte([]byte("78DEM"), b) >= 0:
		dst = append(dst, 0x1b, b)
	case b == 'c': // a full reset would change the viewer's settings: clear only
		s.touched |= region | colours
		dst = append(dst, "\x1b[0m\x1b[?6l\x1b[r\x1b[H\x1b[2J"...)
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

// modes draw differently, without a trace once they are reset.
var (
	ansiModes = map[string]touched{"4": insert}
	decModes  = map[string]touched{"6": region, "7": wrap, "25": cursor, "47": 0, "1047": 0, "1049": 0}
)

// maxDigits bounds a number in a sequence, so that one of a few bytes can not
// keep a terminal busy for long (repeat, scroll, insert).
const maxDigits = 5

// allowed judges a CSI by its parameter bytes and final byte.
func allowed(params []byte, final byte) bool {
	rest, private := bytes.CutPrefix(params, []byte("?"))
	if final == 'h' || final == 'l' {
		modes := ansiModes
		if private {
			modes = decModes
		}
		for p := range bytes.SplitSeq(rest, []byte(";")) {
			if _, ok := modes[string(p)]; !ok {
				return false
			}
		}
		return true
	}
	digits := 0
	for _, c := range params {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == ';' && final != 'T', c == ':' && final == 'm': // T with several numbers tracks the mouse
			digits = 0
		default:
			return false
		}
		if digits > maxDigits {
			return false
		}
	}
	switch final {
	case 'J', 'K': // 3J would clear the viewer's scrollback, however it is written
		return len(params) == 0 || len(params) == 1 && params[0] <= '2'
	case 's', 'u':
		return len(params) == 0
	}
	return bytes.IndexByte([]byte("@ABCDEFGHILMPSTXZ`abdefmr"), final) >= 0
}

// plain passes text, and the controls that move the cursor. Characters of C1
// (U+0080 to U+009F) and bytes that are no UTF-8 do not pass.
func (s *Sanitizer) plain(dst []byte, b byte) []byte {
	if b < utf8.RuneSelf {
		s.utf = s.utf[:0]
		if b == 0x0e || b == 0x0f { // SO and SI
			s.touched |= characters
			return append(dst, b)
		}
		if b >= 0x20 && b != 0x7f || b >= 0x08 && b <= 0x0d {
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

// note keeps what Restore has to undo of the CSI that ends in final.
func (s *Sanitizer) note(final byte) {
	switch final {
	case 'm':
		s.touched |= colours
	case 'r':
		s.touched |= region
	case 'h', 'l':
		rest, private := bytes.CutPrefix(s.seq[2:], []byte("?"))
		for p := range bytes.SplitSeq(rest, []byte(";")) {
			if !private {
				s.touched |= ansiModes[string(p)]
				continue
			}
			s.touched |= decModes[string(p)]
			if p[len(p)-1] == '7' && len(p) > 1 || string(p) == "1049" {
				s.other = final == 'h'
			}
		}
	}
}

// Restore returns what leaves the terminal as it should be after all that was
// passed on, and nothing where nothing is to be done: own screen, whole scroll
// region, wrap, cursor, colours and characters. Leaving the other screen comes
// first, because it brings back what the cursor was saved with.
func (s *Sanitizer) Restore() string {
	out := ""
	if s.other {
		out = "\x1b[?1049l"
	}
	for _, part := range []struct {
		of   touched
		undo string
	}{
		{region, "\x1b[?6l\x1b[r\x1b[999;1H"}, {insert, "\x1b[4l"}, {wrap, "\x1b[?7h"},
		{cursor, "\x1b[?25h"}, {colours, "\x1b[0m"}, {characters, "\x1b(B\x1b)B\x0f"},
	} {
		if s.touched&part.of != 0 {
			out += part.undo
		}
	}
	s.touched, s.other = 0, false
	return out
}
