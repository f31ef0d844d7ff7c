package redact

// replay brings the matching to where the cursor is, by reading the text before
// it again. Candidates that are found again go on holding what they held; what
// the others held is decided by the text that stands behind it already.
func (m *Masker) replay(off int64) {
	behind := m.behind(m.line.cells, m.line.dropped)
	old := append(m.spare[:0], m.cands...)
	m.cands = m.cands[:0]
	m.state = m.rules.auto.start
	pos := m.line.pos
	for i := pos - m.context(off); i < pos; i++ {
		if r := m.line.cells[i]; r != wideTail {
			m.line.pos = i + 1
			m.match(r, off, off)
		}
	}
	m.line.pos = pos
	m.sync()
	m.lastMask = -1
	for i := range old {
		m.reconcile(&old[i], behind, off)
		m.giveBack(&old[i])
	}
	clear(old)
	m.spare = old[:0]
}

// Reading text again is paid for with credit that arriving bytes bring, so that
// output made of cursor movements cannot occupy the processor.
const (
	creditPerByte = 32 // cells
	maxCredit     = 1 << 18
	leastContext  = 96 // cells that are read again without credit
	customCost    = 8  // a cell costs this much with rules that may begin anywhere
)

// context returns how many cells before the cursor to read again at off.
func (m *Masker) context(off int64) int {
	m.credit = min(m.credit+int(off-m.creditAt)*creditPerByte, maxCredit)
	m.creditAt = off
	n, price := min(m.line.pos, maxContext), 1
	if m.rules.rolling {
		price = customCost
	}
	if n*price > m.credit {
		n = min(n, leastContext)
	}
	m.credit = max(m.credit-n*price, 0)
	return n
}

// behind returns the cells that follow the place where the matching stands.
func (m *Masker) behind(cells []rune, dropped int) []rune {
	from := m.at - dropped
	if m.at < 0 || from < 0 || from >= len(cells) {
		return nil
	}
	return cells[from:min(from+maxContext, len(cells))]
}

func (m *Masker) reconcile(c *candidate, behind []rune, off int64) {
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
	m.complete(c, behind, off)
}

// complete decides about what c holds now that the cursor is elsewhere: an
// insertion may have made a secret of it together with what stands behind.
func (m *Masker) complete(c *candidate, behind []rune, off int64) {
	for _, r := range behind {
		if r != wideTail && (c.pending < 0 || !m.stepOne(c, r, off, off)) {
			return
		}
	}
	m.stepOne(c, newline, off, off)
}

// completeAll is complete for all candidates but private keys, which go on in
// the next line.
func (m *Masker) completeAll(off int64) {
	behind := m.behind(m.line.left, m.line.leftDropped)
	if behind == nil || !m.holding() {
		return
	}
	for i := range m.cands {
		if c := &m.cands[i]; c.kind != kindKey && c.pending >= 0 {
			m.complete(c, behind, off)
			m.giveBack(c)
			c.anchor = nil
		}
	}
	m.removeDead()
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
