package redact

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
		m.giveBack(&old[i])
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
