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
