package redact

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
		c.custom.expire(off)
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
