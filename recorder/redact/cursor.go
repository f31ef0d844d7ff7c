package redact

import "bytes"

// savedCursor is what DECSC keeps.
type savedCursor struct {
	line int // line.id
	pos  int // in the line, with what it has dropped
	row  int
	col  int
}

const maxRepeat = 64 // characters that one REP writes, in our model

// control acts on a control character at off.
func (m *Masker) control(c byte, off int64) {
	l := &m.line
	switch c {
	case '\n', '\v', '\f':
		if l.cols == 0 { // no terminal: the line feed alone ends a line
			l.reset(0, 0)
			m.endLine(off)
			return
		}
		m.moved(l.byRows(1), off)
	case '\r':
		l.toCol(0)
	case '\b':
		l.unwrap()
		if l.col() > 0 {
			l.pos--
		}
	case '\t':
		m.tab(off)
	}
}

// moved ends the line if the cursor has left it.
func (m *Masker) moved(how moved, off int64) {
	if how == newLine {
		m.endLine(off)
	}
}

// endLine tells all candidates that their text is over, and begins anew.
func (m *Masker) endLine(off int64) {
	m.expireLong(off)
	m.completeAll(off)
	m.stepAll(newline, off, off)
	m.state = m.rules.auto.start
	m.lastMask = -1
	m.sync()
}

// forget begins a line whose content is not known, at a place that is.
func (m *Masker) forget(row, col int, off int64) {
	m.line.reset(row, col)
	m.endLine(off)
}

func (m *Masker) tab(off int64) {
	l := &m.line
	atEnd := m.inStep() && l.pos == len(l.cells)
	l.toCol((l.col()/8 + 1) * 8)
	if atEnd {
		m.expireLong(off)
		m.sync()
		m.match('\t', off, off+1)
	}
}

// escape reads an escape sequence, or the part of it that b has, and returns
// the index behind it.
func (m *Masker) escape(b []byte, i int) int {
	for i < len(b) {
		if s := m.lex.state; s == inOSC || s == inString {
			if n := bytes.IndexAny(b[i:], "\x07\x18\x1a\x1b"); n < 0 {
				return len(b)
			} else {
				i += n
			}
		}
		ev := m.lex.escape(b[i])
		if m.expiredInside && m.lex.state == ground {
			end := m.base + int64(i)
			if ev != evText {
				end++
			}
			m.decidedUpTo(end)
		}
		switch ev {
		case evText:
			m.gaps = append(m.gaps, m.base+int64(i))
			return i
		case evControl:
			m.control(b[i], m.base+int64(i))
		case evEscape:
			m.short(b[i], m.base+int64(i))
		case evCSI:
			m.csi(b[i], m.base+int64(i))
		}
		i++
		if m.lex.state == ground {
			break
		}
	}
	return i
}

// short acts on a sequence of ESC and one byte.
func (m *Masker) short(final byte, off int64) {
	if m.lex.inter != 0 {
		return
	}
	switch l := &m.line; final {
	case '7':
		m.save()
	case '8':
		m.restore(off)
	case 'D':
		m.moved(l.byRows(1), off)
	case 'M':
		m.moved(l.byRows(-1), off)
	case 'E':
		m.moved(l.byRows(1), off)
		l.toCol(0)
	case 'c':
		m.insert = false
		m.forget(1, 0, off)
	}
}

// csi acts on a control sequence.
func (m *Masker) csi(final byte, off int64) {
	x := &m.lex
	switch {
	case final == 'm' || x.inter != 0:
		return
	case x.prefix != 0:
		if alt := x.param(0, 0); x.prefix == '?' && (final == 'h' || final == 'l') &&
			(alt == 47 || alt == 1047 || alt == 1049) {
			m.forget(0, m.line.col(), off)
		}
		return
	}
	if !m.cursorMove(final, off) {
		m.edit(final, off)
	}
}

// cursorMove acts on the sequences that move the cursor.
func (m *Masker) cursorMove(final byte, off int64) bool {
	l, x := &m.line, &m.lex
	n := x.param(0, 1)
	switch final {
	case 'A':
		m.moved(l.byRows(-n), off)
	case 'B', 'e':
		m.moved(l.byRows(n), off)
	case 'C', 'a':
		l.toCol(l.col() + n)
	case 'D':
		l.toCol(l.col() - n)
	case 'E':
		m.moved(l.byRows(n), off)
		l.toCol(0)
	case 'F':
		m.moved(l.byRows(-n), off)
		l.toCol(0)
	case 'G', '`':
		l.toCol(n - 1)
	case 'I':
		l.toCol((l.col()/8 + n) * 8)
	case 'Z':
		l.toCol(((l.col()+7)/8 - n) * 8)
	case 'd':
		m.moved(l.to(n, l.col()+1), off)
	case 'H', 'f':
		m.moved(l.to(n, x.param(1, 1)), off)
	case 'r':
		m.forget(1, 0, off)
	case 's':
		m.save()
	case 'u':
		m.restore(off)
	default:
		return false
	}
	return true
}

// edit acts on the sequences that change cells.
func (m *Masker) edit(final byte, off int64) {
	l, x := &m.line, &m.lex
	n := x.param(0, 1)
	switch final {
	case '@':
		l.insertCells(n)
	case 'P':
		l.remove(n)
	case 'X':
		l.erase(l.pos, l.pos+n)
	case 'K':
		m.eraseRow(x.param(0, 0))
	case 'J':
		switch x.param(0, 0) {
		case 0:
			l.erase(l.pos, len(l.cells))
		case 1:
			l.erase(0, l.pos+1)
			m.at = -1
		default:
			m.forget(l.curRow(), l.col(), off)
		}
	case 'L', 'M', 'S', 'T':
		m.forget(l.curRow(), l.col(), off)
	case 'b':
		m.repeat(n, off+1)
	case 'h', 'l':
		if x.param(0, 0) == 4 {
			m.insert = final == 'h'
		}
	}
}

func (m *Masker) eraseRow(how int) {
	l := &m.line
	from, to := l.rowStart(), l.rowEnd()
	switch how {
	case 0:
		from = l.pos
	case 1:
		to = min(l.pos+1, to)
	}
	if how > 0 {
		m.at = -1
	}
	l.erase(from, to)
}

// repeat writes the last character again: its cells have no bytes of their own,
// so the terminal repeats whatever the view showed for it.
func (m *Masker) repeat(n int, off int64) {
	if m.last < 0x20 {
		return
	}
	w := cellWidth(m.last, 0)
	for range min(n, maxRepeat) {
		m.text(m.last, w, off, 0)
	}
}

func (m *Masker) save() {
	l := &m.line
	m.saved = savedCursor{line: l.id, pos: l.pos + l.dropped, row: l.curRow(), col: l.col()}
}

func (m *Masker) restore(off int64) {
	l, s := &m.line, m.saved
	if p := s.pos - l.dropped; s.line == l.id && p >= 0 && p <= len(l.cells) {
		l.pos, l.wrap = p, false
		return
	}
	m.forget(s.row, s.col, off)
}
