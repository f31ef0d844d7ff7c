package redact

import "strings"

// States of an assignment: password = "value".
const (
	asKey       uint8 = iota // behind the keyword; closing quotes and ] of the key
	asKeySpace               // spaces before the separator
	asSep                    // behind = or :
	asBackslash              // behind \ that may belong to an escaped quote
	asValue                  // in an unquoted value
	asQuoted                 // in a quoted value
	asAfter                  // behind the closing quote
)

const (
	maxGap   = 64   // spaces around a separator
	maxValue = 4096 // characters of a value
)

// stopWords are values that are no secrets: those of configuration templates,
// and the words that passwd(1) and its like print after "passwd: ".
var stopWords = strings.Fields(`
	true false null none nil undefined yes no on off
	password passwd required optional string str text int integer bool char varchar
	authentication all user you permission unrecognized incorrect expired invalid`)

func (c *candidate) assign(r rune) action {
	switch c.state {
	case asKey, asKeySpace:
		return c.assignKey(r)
	case asSep:
		return c.assignSep(r)
	case asBackslash:
		if isQuote(r) {
			c.state, c.quote, c.n, c.nbuf, c.openEsc = asQuoted, r, 0, 0, true
			return actRelease
		}
		c.state = asValue
		c.add('\\')
		return c.value(r)
	case asValue:
		return c.value(r)
	case asQuoted:
		return c.quoted(r)
	}
	switch { // asAfter: a shell joins what follows a closing quote directly
	case isQuote(r):
		c.state, c.quote = asQuoted, r
		return actSkip
	case isWord(r):
		c.state, c.joined = asValue, true
		return c.value(r)
	}
	return actDrop
}

func (c *candidate) assignKey(r rune) action {
	c.n++
	switch {
	case r == '=' || r == ':':
		c.state, c.flag, c.n = asSep, r == ':', 0
		return actSkip
	case (r == ' ' || r == '\t') && c.n <= maxGap:
		c.state = asKeySpace
		return actSkip
	case c.state == asKey && c.n <= 3 && isOneOf(r, "\"'`]\\"):
		return actSkip
	}
	return actDrop
}

// assignSep is behind the separator; c.n counts the characters since, and
// c.flag tells that it was a single colon.
func (c *candidate) assignSep(r rune) action {
	first := c.n == 0
	c.n++
	switch {
	case r == newline, first && c.flag && r == ':': // a::b is a name in many languages
		return actDrop
	case first && isOneOf(r, "=>"): // := == =>
		c.flag, c.n = false, 0
		return actSkip
	case r == ' ' || r == '\t':
		if c.n > maxGap {
			return actDrop
		}
		return actSkip
	}
	c.n = 0
	switch {
	case isQuote(r):
		c.state, c.quote = asQuoted, r
		return actSkip
	case r == '\\':
		c.state = asBackslash
		return actHold
	}
	c.state = asValue
	return c.value(r)
}

func isQuote(r rune) bool { return r == '"' || r == '\'' || r == '`' }

// value takes a character of a value without quotes: it ends at white space.
func (c *candidate) value(r rune) action {
	if c.n == 1 && !c.sure {
		switch c.buf[0] {
		case '$':
			if isQuote(r) { // bash: $'...'
				c.state, c.quote, c.n, c.nbuf = asQuoted, r, 0, 0
				return actRelease
			}
		case '{', '[': // an object or a list, not a value
			if isSpace(r) || isQuote(r) || isOneOf(r, "{}]") {
				return actDrop
			}
		}
	}
	switch {
	case c.joined && isQuote(r):
		c.state, c.quote = asQuoted, r
		return actSkip
	case isSpace(r) && (!c.esc || r == newline):
		return c.endValue()
	case !c.sure && isOneOf(r, ",;)}]&|\"'<") && c.isStopWord():
		return actDrop
	}
	return c.valueChar(r)
}

// quoted takes a character of a quoted value. A quote behind a backslash belongs
// to the value, unless the opening one was escaped too, as in JSON in a string.
func (c *candidate) quoted(r rune) action {
	if r == newline {
		return c.endValue()
	}
	if r == c.quote && c.esc == c.openEsc {
		c.state, c.esc = asAfter, false
		switch {
		case c.sure:
			return actSkip
		case c.n < c.min || c.isStopWord():
			return actDrop
		}
		c.sure = true
		return actMaskBefore
	}
	return c.valueChar(r)
}

func (c *candidate) endValue() action {
	if c.sure || c.n < c.min || c.isStopWord() {
		return actDrop
	}
	return actMaskEnd
}

// valueChar masks as soon as the value is long enough and cannot be a stop
// word any more.
func (c *candidate) valueChar(r rune) action {
	c.esc = r == '\\' && !c.esc
	if c.n >= maxValue {
		return actDrop
	}
	c.add(r)
	if c.sure = c.sure || c.n >= c.min && !c.mayStop(); c.sure {
		return actMask
	}
	return actHold
}

func (c *candidate) add(r rune) {
	c.n++
	if c.nbuf < len(c.buf) {
		switch {
		case r >= 'A' && r <= 'Z':
			r |= 0x20
		case r >= 0x80:
			r = 0xff
		}
		c.buf[c.nbuf] = byte(r)
		c.nbuf++
	}
}

func (c *candidate) isStopWord() bool {
	for _, w := range stopWords {
		if c.n == len(w) && string(c.buf[:c.nbuf]) == w {
			return true
		}
	}
	return false
}

// mayStop tells whether the value so far begins a stop word.
func (c *candidate) mayStop() bool {
	if c.n > c.nbuf {
		return false
	}
	for _, w := range stopWords {
		if strings.HasPrefix(w, string(c.buf[:c.nbuf])) {
			return true
		}
	}
	return false
}
