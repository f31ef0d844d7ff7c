package redact

// keyBlock follows a private key in the textual encodings of RFC 7468, RFC
// 1421 and RFC 9580, from BEGIN to END, through as many lines as it takes.
//
// A key whose END never comes (head -3 key.pem) must not hide the rest of the
// session: the block is over with the first line that does not look like part
// of one. Within a line a long run of base64 shows that it is key material,
// whatever stands before it (line numbers, diff marks); until then the line is
// held back.
type keyBlock struct {
	state keyState
	match int  // characters of keyLabel seen, or dashes behind the label
	n     int  // characters of label or body so far
	body  bool // a line of base64 was seen
	line  keyLine
}

type keyState uint8

const (
	keyInLabel keyState = iota
	keyInDashes
	keyInBody
)

type keyLine struct {
	n       int  // characters other than blanks
	run     int  // base64 characters in a row
	upper   bool // the run has an upper case letter
	lower   bool // the run has a lower case letter
	sure    bool // key material: masked as it arrives
	foreign bool // has characters that key material has not
	shown   bool // foreign, and part of it was shown when time ran out
	name    bool // only characters of a header's name so far
	header  bool // name: value
	end     int  // characters of keyEnd seen
}

const (
	keyLabel      = "PRIVATE KEY BLOCK" // OpenPGP's; the others end before BLOCK
	keyLabelShort = len("PRIVATE KEY")
	keyEnd        = "-----END"
	keyDashes     = 5
	maxLabel      = 64
	maxBody       = 64 << 10
	sureRun       = 16 // base64 characters in both cases
	surelyRun     = 32 // of any case
)

func newKeyBlock() *keyBlock { return &keyBlock{line: keyLine{name: true}} }

func (k *keyBlock) step(r rune) action {
	k.n++
	switch k.state {
	case keyInLabel:
		return k.label(r)
	case keyInDashes:
		if r != '-' {
			return actDrop
		}
		if k.match++; k.match == keyDashes {
			k.state, k.n = keyInBody, 0
		}
		return actSkip
	}
	switch {
	case r == newline:
		return k.endLine()
	case k.n > maxBody:
		return actDrop
	}
	return k.bodyChar(r)
}

func (k *keyBlock) label(r rune) action {
	switch {
	case r == '-' && (k.match == keyLabelShort || k.match == len(keyLabel)):
		k.state, k.match = keyInDashes, 1
		return actSkip
	case k.n > maxLabel || r != ' ' && !upperDigit.has(r):
		return actDrop
	case k.match < len(keyLabel) && r == rune(keyLabel[k.match]):
		k.match++
	case r == 'P':
		k.match = 1
	default:
		k.match = 0
	}
	return actSkip
}

func (k *keyBlock) endLine() action {
	l := k.line
	k.line = keyLine{name: true}
	switch {
	case l.sure:
		k.body = true
		return actMask
	case l.n == 0:
		return actSkip
	case l.foreign && (!l.header || k.body):
		return actDrop
	}
	return actMask
}

func (k *keyBlock) bodyChar(r rune) action {
	l := &k.line
	if k.atEnd(r) {
		return actDrop
	}
	if r != ' ' && r != '\t' {
		l.n++
	}
	k.classify(r)
	switch {
	case l.sure && l.end == 0:
		return actMask
	case l.shown && !l.sure:
		return actSkip
	}
	return actHold
}

// atEnd looks for keyEnd, which may stand anywhere: a key in a JSON string is
// one line.
func (k *keyBlock) atEnd(r rune) bool {
	l := &k.line
	switch {
	case r == rune(keyEnd[l.end]):
		l.end++
	case r == '-' && l.end == keyDashes: // more dashes than needed
	case r == '-':
		l.end = 1
	default:
		l.end = 0
	}
	return l.end == len(keyEnd)
}

func (k *keyBlock) classify(r rune) {
	l := &k.line
	switch {
	case base64Std.has(r):
		l.run++
		l.upper = l.upper || r >= 'A' && r <= 'Z'
		l.lower = l.lower || r >= 'a' && r <= 'z'
		if l.run >= surelyRun || l.run >= sureRun && l.upper && l.lower {
			l.sure = true
		}
		return
	case r == ':' && l.name && l.n > 1:
		l.header = true
	}
	l.run, l.upper, l.lower = 0, false, false
	l.name = l.name && r == '-'
	l.foreign = l.foreign || r != ' ' && r != '\t'
}

// expire decides about the part of a line that is held when time runs out: it
// is masked unless it has what key material has not, like a prompt.
func (k *keyBlock) expire() bool {
	if k.line.sure || !k.line.foreign {
		return true
	}
	k.line.shown = true
	return false
}
