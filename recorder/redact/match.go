package redact

import "unicode/utf8"

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

// stepAll passes a character, or a newline, to all candidates.
func (m *Masker) stepAll(r rune, off, end int64) {
	kept := 0
	for i := range m.cands {
		c := &m.cands[i]
		if !m.stepOne(c, r, off, end) {
			m.giveBack(c)
			continue
		}
		if kept < i {
			m.cands[kept] = *c
		}
		kept++
	}
	clear(m.cands[kept:])
	m.cands = m.cands[:kept]
}

// stepOne tells whether the candidate goes on.
func (m *Masker) stepOne(c *candidate, r rune, off, end int64) bool {
	if c.kind == kindCustom {
		goOn := c.custom.step(r, off, end)
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
