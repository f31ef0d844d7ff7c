package redact

import "slices"

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
		m.cands = append(m.cands, candidate{anchor: a, at: at, pending: -1, custom: m.matcher(a)})
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
	runes := m.runes[:0]
	for _, r := range m.line.cells[i:m.line.pos] {
		if r != wideTail {
			runes = append(runes, r)
		}
	}
	start := end
	if a.prog.rolling {
		start = off
	}
	c.custom.spawn(runes, before, start, end)
	m.runes = runes
	c.pending = c.custom.pending()
}

// matcher returns a new matcher, or one that was given back.
func (m *Masker) matcher(a *anchor) *matcher {
	for i, idle := range m.idle {
		if idle.prog == a.prog {
			m.idle = slices.Delete(m.idle, i, i+1)
			idle.reset()
			return idle
		}
	}
	rule := a.rule
	return newMatcher(a.prog, func(from, to int64) { m.mask(from, to, rule) })
}

// giveBack keeps the matcher of a candidate that is over.
func (m *Masker) giveBack(c *candidate) {
	if c.custom != nil && len(m.idle) < maxCandidates {
		m.idle = append(m.idle, c.custom)
	}
}
