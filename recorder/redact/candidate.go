package redact

// kind selects how the body behind an anchor is told from other text.
type kind uint8

const (
	kindToken  kind = iota // at least min characters of a set
	kindJWT                // base64url, recognised at its first dot
	kindAssign             // separator, quotes and a value
	kindURL                // user:password@ behind ://
	kindKey                // a private key between BEGIN and END
	kindCustom             // the rest of an RE2 expression
)

// anchor is the literal that starts a candidate, and what its body is.
type anchor struct {
	rule  int // index into Rules.names
	kind  kind
	text  string
	fold  bool    // letters match in both cases
	edge  bool    // no letter or digit may come before
	set   charset // kindToken
	min   int     // characters of a body that are needed to recognise it
	prog  *program
	first byteSet // kindCustom without a literal: bytes that a match begins with
}

// charset is a bit set of the classes in charClass.
type charset uint8

const (
	upperDigit charset = 1 << iota // A-Z 0-9
	alnum                          // A-Z a-z 0-9
	alnumUnder                     // and _
	urlSafe                        // and _ -
	base64Std                      // A-Z a-z 0-9 + / =
	bearerChar                     // A-Z a-z 0-9 . _ ~ + / = -
	base64Bare                     // A-Z a-z 0-9 + /
)

var charClass = func() (t [128]charset) {
	for c := range t {
		switch {
		case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			t[c] = upperDigit | alnum | alnumUnder | urlSafe | base64Std | bearerChar | base64Bare
		case c >= 'a' && c <= 'z':
			t[c] = alnum | alnumUnder | urlSafe | base64Std | bearerChar | base64Bare
		case c == '_':
			t[c] = alnumUnder | urlSafe | bearerChar
		case c == '-':
			t[c] = urlSafe | bearerChar
		case c == '+' || c == '/':
			t[c] = base64Std | bearerChar | base64Bare
		case c == '=':
			t[c] = base64Std | bearerChar
		case c == '.' || c == '~':
			t[c] = bearerChar
		}
	}
	return t
}()

func (s charset) has(r rune) bool { return r >= 0 && r < 128 && charClass[r]&s != 0 }

// action says what a character did to a candidate.
type action uint8

const (
	actSkip       action = iota // not part of the body; the candidate goes on
	actHold                     // perhaps part of a secret: hold it back
	actMask                     // part of a secret, like all that is held
	actMaskBefore               // what is held is secret, this character is not
	actRelease                  // what is held and this character are no secret; go on
	actDrop                     // what is held is no secret; the candidate is over
	actMaskEnd                  // what is held is secret, this character is not; over
)

// candidate is an anchor that was seen, and how far its body has come. What it
// does depends on the characters only.
type candidate struct {
	*anchor
	at      int   // where the anchor ended, in cells of the line
	pending int64 // offset in the stream from which text is held; -1 = none
	sure    bool  // recognised: the body is masked as it arrives

	state   uint8
	n       int      // characters of the part that state names
	flag    bool     // assign: the separator was a single colon; url: digits only so far
	quote   rune     // assign: what closes the value
	openEsc bool     // assign: the opening quote came behind a backslash
	joined  bool     // assign: text follows a closing quote directly
	esc     bool     // assign: the last character was an unescaped backslash
	nbuf    int      // assign: length of buf
	buf     [16]byte // assign: the first characters of the value, in lower case
	key     *keyBlock
	custom  *matcher
}

// newline is what a candidate sees at the end of a line.
const newline = '\n'

func (c *candidate) step(r rune) action {
	switch c.kind {
	case kindToken:
		return c.token(r)
	case kindJWT:
		return c.jwt(r)
	case kindAssign:
		return c.assign(r)
	case kindURL:
		return c.url(r)
	case kindKey:
		return c.key.step(r)
	}
	return actDrop
}

// expire decides when the bounds of the hold-back are reached: whether what is
// held is masked, and whether the candidate goes on. It errs on the side of
// masking, except where that would hide what people type all day.
func (c *candidate) expire() (mask, goOn bool) {
	switch c.kind {
	case kindURL:
		if c.state == urlHost {
			return false, false
		}
		return !c.flag, true
	case kindKey:
		return c.key.expire(), true
	}
	c.sure = true
	return true, true
}

// counted masks once the body has min characters.
func (c *candidate) counted() action {
	c.n++
	if c.sure = c.sure || c.n >= c.min; c.sure {
		return actMask
	}
	return actHold
}

func (c *candidate) token(r rune) action {
	if !c.set.has(r) {
		return actDrop
	}
	return c.counted()
}

// jwt is recognised when its first part ends: RFC 7519, section 3; the part is
// a JSON object in base64url, so the anchor is the encoding of {".
func (c *candidate) jwt(r rune) action {
	switch {
	case r == '.' && (c.sure || c.n >= c.min):
		c.sure = true
		return actMask
	case r == '=' && c.sure, urlSafe.has(r):
		c.n++
		if c.sure {
			return actMask
		}
		return actHold
	}
	return actDrop
}

const (
	urlUser uint8 = iota
	urlPassword
	urlHost
)

const maxURLPart = 512

// url follows RFC 3986, section 3.2.1: user:password@host. Digits before the
// password's end may be a port, so only they are shown when time runs out.
func (c *candidate) url(r rune) action {
	if c.n++; c.n > maxURLPart || isSpace(r) || isOneOf(r, "\"'<>`\\") {
		return actDrop
	}
	switch c.state {
	case urlUser:
		switch {
		case r == ':':
			c.state, c.n, c.flag = urlPassword, 0, true
			return actSkip
		case isWord(r), isOneOf(r, "-.~!$&()*+,;=%"):
			return actSkip
		}
		return actDrop
	case urlPassword:
		switch {
		case r == '@' && c.n == 1:
			return actDrop
		case r == '@':
			c.state, c.n, c.sure = urlHost, 0, false
			return actMaskBefore
		case c.flag && isOneOf(r, "/?#"):
			return actDrop
		}
		c.flag = c.flag && r >= '0' && r <= '9' && c.n <= 5
		if c.sure {
			return actMask
		}
		return actHold
	}
	switch { // urlHost: a second @ shows that the password held the first
	case r == '@':
		return actMaskBefore
	case isOneOf(r, "/?#:"):
		return actDrop
	}
	return actHold
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == newline }

func isOneOf(r rune, set string) bool {
	for _, c := range set {
		if c == r {
			return true
		}
	}
	return false
}
