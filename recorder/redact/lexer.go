package redact

// lexer follows escape sequences byte by byte (ECMA-48, with the habits of
// xterm), so that text can be told from what only changes the terminal. It
// never looks ahead: where the input was cut makes no difference.
type lexer struct {
	state  lexState
	prefix byte // private marker of a CSI: one of < = > ?
	inter  byte // last intermediate byte
	params [4]int
	n      int // parameters begun; those past the array are dropped
}

type lexState uint8

const (
	ground lexState = iota
	inEscape
	inEscapeInter
	inCSI
	inOSC
	inOSCEscape
	inString // DCS, SOS, PM, APC
	inStringEscape
)

type event uint8

const (
	evNone    event = iota // the byte belongs to a sequence that goes on
	evEscape               // an escape sequence ended with this byte
	evCSI                  // a control sequence ended with this byte
	evDone                 // a string or a cancelled sequence ended with this byte
	evControl              // a control character to be acted on within a sequence
	evText                 // the sequence broke off before this byte, which is text
)

// maxParam bounds a CSI parameter: no terminal is larger.
const maxParam = 1 << 15

// escape takes the next byte of a sequence, the first being ESC.
func (l *lexer) escape(c byte) event {
	switch l.state {
	case inOSC:
		return l.oscByte(c)
	case inString:
		return l.stringByte(c)
	case inOSCEscape, inStringEscape:
		l.state = inEscape
		if c == '\\' {
			l.state = ground
			return evDone
		}
	}
	switch {
	case c == 0x1b:
		l.begin(inEscape)
		return evNone
	case c == 0x18 || c == 0x1a: // CAN, SUB
		l.state = ground
		return evDone
	case c < 0x20:
		return evControl
	case c == 0x7f:
		return evNone
	case c >= 0x80:
		l.state = ground
		return evText
	}
	if l.state == inCSI {
		return l.csiByte(c)
	}
	return l.escapeByte(c)
}

func (l *lexer) begin(s lexState) { *l = lexer{state: s} }

func (l *lexer) escapeByte(c byte) event {
	if c < 0x30 {
		l.state, l.inter = inEscapeInter, c
		return evNone
	}
	if l.state == inEscape {
		switch c {
		case '[':
			l.begin(inCSI)
			return evNone
		case ']':
			l.begin(inOSC)
			return evNone
		case 'P', 'X', '^', '_':
			l.begin(inString)
			return evNone
		}
	}
	l.state = ground
	return evEscape
}

func (l *lexer) csiByte(c byte) event {
	switch {
	case c >= '0' && c <= '9':
		l.n = max(l.n, 1)
		if l.n <= len(l.params) {
			p := &l.params[l.n-1]
			*p = min(*p*10+int(c-'0'), maxParam)
		}
	case c == ';' || c == ':':
		l.n = min(max(l.n, 1)+1, len(l.params)+1)
	case c >= '<' && c <= '?':
		l.prefix = c
	case c < 0x30:
		l.inter = c
	default:
		l.state = ground
		return evCSI
	}
	return evNone
}

func (l *lexer) oscByte(c byte) event {
	switch c {
	case 0x07, 0x18, 0x1a:
		l.state = ground
		return evDone
	case 0x1b:
		l.state = inOSCEscape
	}
	return evNone
}

func (l *lexer) stringByte(c byte) event {
	switch c {
	case 0x18, 0x1a:
		l.state = ground
		return evDone
	case 0x1b:
		l.state = inStringEscape
	}
	return evNone
}

// param returns parameter i, or def when it is absent or zero.
func (l *lexer) param(i, def int) int {
	if i >= len(l.params) || l.params[i] == 0 {
		return def
	}
	return l.params[i]
}
