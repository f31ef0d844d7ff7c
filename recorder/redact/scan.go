package redact

import "unicode/utf8"

const (
	maxCandidates = 16  // bodies followed at a time; further anchors are passed over
	maxContext    = 512 // cells before the cursor that are read again after it moved
)

// scan reads b from index i on and returns how many bytes it took: all, except
// a character that is cut off at the end, unless final.
func (m *Masker) scan(b []byte, i int, final bool) int {
	from := i
	for i < len(b) {
		c := b[i]
		switch {
		case m.lex.state != ground || c == 0x1b:
			i = m.escape(b, i)
		case c < 0x20:
			m.control(c, m.base+int64(i))
			i++
		case c == 0x7f:
			i++
		case c < 0x7f:
			if len(m.cands) == 0 && m.inStep() && !m.insert {
				i = m.plain(b, i)
			} else {
				m.text(rune(c), 1, m.base+int64(i), 1)
				i++
			}
		default:
			if !final && !utf8.FullRune(b[i:]) {
				return i - from
			}
			r, size := utf8.DecodeRune(b[i:])
			if !isC1(r) {
				m.text(r, cellWidth(r, size), m.base+int64(i), size)
			}
			i += size
		}
	}
	return i - from
}

// inStep tells whether the matching stands where the cursor is.
func (m *Masker) inStep() bool { return m.at == m.line.pos+m.line.dropped }

func (m *Masker) sync() { m.at = m.line.pos + m.line.dropped }

// plain reads printable ASCII while no candidate is open.
func (m *Masker) plain(b []byte, i int) int {
	next, hit, s := m.rules.auto.next, m.rules.auto.hit, m.state
	from := i
	for i < len(b) {
		c := b[i]
		if c-0x20 >= 0x5f {
			break
		}
		i++
		if s = next[int(s)<<8|int(c)]; s >= hit {
			break
		}
	}
	m.state = s
	m.line.writeASCII(b[from:i])
	m.sync()
	m.last, m.lastMask = rune(b[i-1]), -1
	if s >= hit {
		end := m.base + int64(i)
		for _, id := range m.rules.auto.out[s-hit] {
			m.open(id, end-1, end)
		}
	}
	return i
}

// text reads a character of size bytes at off.
func (m *Masker) text(r rune, cells int, off int64, size int) {
	end := off + int64(size)
	m.expireLong(off)
	switch {
	case cells == 0: // joins the character before; matching does not see it
		if m.lastMask >= 0 {
			m.mask(off, end, m.lastMask)
		}
		return
	case r == ' ' && len(m.cands) > 0 && !m.insert && (m.line.wrap || m.line.pos < len(m.line.cells)):
		// Perhaps half of an erasure (backspace, space, backspace) or of
		// readline's step to the next row (space, carriage return): whether it
		// stays is known when the next character comes.
		m.line.write(r, 1)
		m.lastMask = -1
		if m.holding() {
			m.gaps = append(m.gaps, off)
		}
		return
	case !m.inStep():
		m.replay(off)
	}
	if m.insert {
		m.line.insertCells(cells)
	}
	m.line.write(r, cells)
	m.sync()
	m.last = r
	m.lastMask = -1
	m.match(r, off, end)
}

// holding tells whether any candidate holds text back.
func (m *Masker) holding() bool {
	for i := range m.cands {
		if m.cands[i].pending >= 0 {
			return true
		}
	}
	return false
}

// match passes a character, already in the line, to candidates and anchors.
func (m *Masker) match(r rune, off, end int64) {
	if len(m.cands) > 0 {
		m.stepAll(r, off, end)
	}
	a := m.rules.auto
	if r < utf8.RuneSelf {
		if m.state = a.next[int(m.state)<<8|int(r)]; m.state >= a.hit {
			for _, id := range a.out[m.state-a.hit] {
				m.open(id, off, end)
			}
		}
		return
	}
	var enc [utf8.UTFMax]byte
	for _, c := range enc[:utf8.EncodeRune(enc[:], r)] {
		if m.state = a.next[int(m.state)<<8|int(c)]; m.state >= a.hit {
			for _, id := range a.out[m.state-a.hit] {
				m.open(id, off, end)
			}
		}
	}
}

// open starts the candidate of an anchor whose last character lies at
// [off, end).
func (m *Masker) open(id int, off, end int64) {
	a := &m.rules.anchors[id]
	at := m.line.pos + m.line.dropped
	if a.kind == kindCustom {
		m.openCustom(a, at, off, end)
		return
	}
	if len(m.cands) >= maxCandidates {
		return
	}
	c := candidate{anchor: a, at: at, pending: -1}
	if a.kind == kindKey {
		c.key = newKeyBlock()
	}
	m.cands = append(m.cands, c)
}

func (m *Masker) openCustom(a *anchor, at int, off, end int64) {
	var c *candidate
	for i := range m.cands {
		if m.cands[i].anchor == a {
			c = &m.cands[i]
		}
	}
	if c == nil {
		if len(m.cands) >= maxCandidates {
			return
		}
		m.cands = append(m.cands, candidate{anchor: a, at: at, pending: -1, custom: newMatcher(a.prog)})
		c = &m.cands[len(m.cands)-1]
	}
	i, ok := m.line.back(a.prog.prefix)
	if !ok {
		return
	}
	before := rune(-1)
	if i > 0 {
		before = m.line.cells[i-1]
		if before == wideTail && i > 1 {
			before = m.line.cells[i-2]
		}
	}
	var runes []rune
	for _, r := range m.line.cells[i:m.line.pos] {
		if r != wideTail {
			runes = append(runes, r)
		}
	}
	start := end
	if a.prog.rolling {
		start = off
	}
	c.custom.spawn(runes, before, start, end, m.masker(a.rule))
	c.pending = c.custom.pending()
}

func (m *Masker) masker(rule int) maskFunc {
	return func(from, to int64) { m.mask(from, to, rule) }
}

// stepAll passes a character, or a newline, to all candidates.
func (m *Masker) stepAll(r rune, off, end int64) {
	kept := m.cands[:0]
	for i := range m.cands {
		c := m.cands[i]
		if m.stepOne(&c, r, off, end) {
			kept = append(kept, c)
		}
	}
	clear(m.cands[len(kept):])
	m.cands = kept
}

// stepOne tells whether the candidate goes on.
func (m *Masker) stepOne(c *candidate, r rune, off, end int64) bool {
	if c.kind == kindCustom {
		goOn := c.custom.step(r, off, end, m.masker(c.rule))
		c.pending = c.custom.pending()
		return goOn
	}
	from := c.pending
	switch c.step(r) {
	case actHold:
		if c.pending < 0 {
			c.pending = off
		}
	case actMask:
		if from < 0 {
			from = off
		}
		m.mask(from, end, c.rule)
		c.pending = -1
		if m.lastMask < 0 {
			m.lastMask = c.rule
		}
	case actMaskBefore:
		if from >= 0 {
			m.mask(from, off, c.rule)
		}
		c.pending = -1
	case actRelease:
		c.pending = -1
	case actDrop:
		return false
	case actMaskEnd:
		if from >= 0 {
			m.mask(from, off, c.rule)
		}
		return false
	}
	return true
}

// replay brings the matching to where the cursor is, by reading the text before
// it again. Candidates that are found again go on holding what they held; what
// the others held is decided as at the end of a line.
func (m *Masker) replay(off int64) {
	old := append(m.spare[:0], m.cands...)
	m.cands = m.cands[:0]
	m.state = m.rules.auto.start
	pos := m.line.pos
	for i := max(0, pos-maxContext); i < pos; i++ {
		if r := m.line.cells[i]; r != wideTail {
			m.line.pos = i + 1
			m.match(r, off, off)
		}
	}
	m.line.pos = pos
	m.sync()
	m.lastMask = -1
	for i := range old {
		m.reconcile(&old[i], off)
	}
	clear(old)
	m.spare = old[:0]
}

func (m *Masker) reconcile(c *candidate, off int64) {
	if c.kind == kindKey && c.key.state == keyInBody {
		m.keepKey(c)
		return
	}
	if c.pending < 0 {
		return
	}
	for i := range m.cands {
		if d := &m.cands[i]; d.anchor == c.anchor && (d.at == c.at || c.kind == kindCustom) {
			if d.kind == kindCustom {
				d.custom.inherit(c.pending)
				d.pending = d.custom.pending()
			} else if !d.sure {
				d.pending = c.pending
			} else {
				m.mask(c.pending, off, c.rule)
			}
			return
		}
	}
	m.stepOne(c, newline, off, off)
}

// keepKey puts a key that was begun before the cursor moved in the place of one
// found again.
func (m *Masker) keepKey(c *candidate) {
	for i := range m.cands {
		if d := &m.cands[i]; d.kind == kindKey && d.key.state == keyInBody {
			*d = *c
			return
		}
	}
	m.cands = append(m.cands, *c)
}

// expireLong decides about what has been held for the most bytes at off.
func (m *Masker) expireLong(off int64) {
	expired := false
	for i := range m.cands {
		if p := m.cands[i].pending; p >= 0 && off-p >= int64(m.rules.holdBytes) {
			m.expire(i, off)
			expired = true
		}
	}
	if expired {
		m.removeDead()
	}
}

func (m *Masker) expireAll() {
	m.buf = m.held
	for i := range m.cands {
		if m.cands[i].pending >= 0 {
			m.expire(i, m.base+int64(m.read))
		}
	}
	m.removeDead()
}

// expire decides about what candidate i holds up to off; one that ends there
// loses its anchor.
func (m *Masker) expire(i int, off int64) {
	c := &m.cands[i]
	if c.kind == kindCustom {
		c.custom.expire(off, m.masker(c.rule))
		if m.lex.state != ground {
			c.custom.done, m.expiredInside = undecided, true
		}
		c.pending = -1
		return
	}
	mask, goOn := c.expire()
	if mask {
		m.mask(c.pending, off, c.rule)
	}
	c.pending = -1
	if !goOn {
		c.anchor = nil
	}
}

// undecided stands for an offset that is not known yet: the end of an escape
// sequence in which time ran out. What is masked later begins with text there.
const undecided = int64(1) << 62

// decidedUpTo puts off, the end of a sequence, in the place of undecided.
func (m *Masker) decidedUpTo(off int64) {
	m.expiredInside = false
	for i := range m.cands {
		if c := m.cands[i].custom; c != nil && c.done == undecided {
			c.done = off
		}
	}
}

func (m *Masker) removeDead() {
	kept := m.cands[:0]
	for _, c := range m.cands {
		if c.anchor != nil {
			kept = append(kept, c)
		}
	}
	clear(m.cands[len(kept):])
	m.cands = kept
}
