package redact

// line models the logical line that the cursor is in: the rows of a paragraph
// that wrapped at the right margin, one after the other. It is what the text
// before the cursor is read from after the cursor has moved. Rows above and
// below are not kept.
type line struct {
	cells   []rune // one a cell; wideTail follows a wide character
	pos     int    // the cursor, as an index into cells; may be len(cells)
	cols    int    // width of the terminal, 0 = no wrapping
	wrap    bool   // the cursor waits behind the last column
	row     int    // row of cells[0] on the screen, from 1; 0 = not known
	id      int    // counts the lines
	dropped int    // cells forgotten at the left, so that pos+dropped stays meaningful

	left        []rune // the cells of the line that reset left behind
	leftDropped int
}

const (
	wideTail = rune(-1)
	maxCells = 2048 // cells kept, or two rows; all but maxContext go when they are full
	maxCols  = 10000
)

// moved says what a cursor movement did to the line.
type moved uint8

const (
	within  moved = iota // the cursor is still in this line
	newLine              // the cursor is in another line, of which nothing is known
)

// col returns the cursor's column, from 0.
func (l *line) col() int {
	switch {
	case l.cols == 0:
		return l.pos
	case l.wrap:
		return l.cols - 1
	}
	return l.pos % l.cols
}

// unwrap takes the cursor from behind the last column onto it, where it really
// is as soon as it moves.
func (l *line) unwrap() {
	if l.wrap {
		l.wrap = false
		l.pos--
	}
}

// write puts a character of one or two cells at the cursor.
func (l *line) write(r rune, cells int) {
	if cells == 2 && l.cols > 1 && !l.wrap && l.pos%l.cols == l.cols-1 {
		l.put(wideTail)
	}
	l.put(r)
	if cells == 2 {
		l.put(wideTail)
	}
	l.settle()
}

// writeASCII puts printable ASCII at the cursor.
func (l *line) writeASCII(p []byte) {
	for len(p) > 0 {
		n := min(len(p), l.room())
		if need := l.pos + n; need > len(l.cells) {
			l.grow(need)
		}
		cells := l.cells[l.pos : l.pos+n]
		for i, c := range p[:n] {
			cells[i] = rune(c)
		}
		l.pos += n
		p = p[n:]
	}
	l.settle()
}

func (l *line) put(r rune) {
	l.room()
	if l.pos == len(l.cells) {
		l.cells = append(l.cells, r)
	} else {
		l.cells[l.pos] = r
	}
	l.pos++
}

func (l *line) settle() { l.wrap = l.cols > 0 && l.pos > 0 && l.pos%l.cols == 0 }

// grow makes the line n cells long.
func (l *line) grow(n int) {
	for len(l.cells) < n {
		if cap(l.cells) >= n {
			old := len(l.cells)
			l.cells = l.cells[:n]
			clear(l.cells[old:])
			return
		}
		l.cells = append(l.cells[:cap(l.cells)], 0)
		l.cells = l.cells[:min(len(l.cells), n)]
	}
}

// room makes sure that a cell fits at the cursor, if need be by forgetting rows
// at the left, and returns how many fit until it must do so again. It depends
// on the cursor's place alone, so that how the input was cut does not matter.
func (l *line) room() int {
	row := max(l.cols, 1)
	keep := (maxContext + row - 1) / row * row
	full := max((maxCells+row-1)/row*row, 2*keep)
	if l.pos >= full {
		drop := full - keep
		l.cells = l.cells[:copy(l.cells, l.cells[drop:])]
		l.pos -= drop
		l.dropped += drop
		if l.row > 0 && l.cols > 0 {
			l.row += drop / l.cols
		}
	}
	return max(full-l.pos, 1)
}

// reset starts a line of which only the cursor's column is known.
func (l *line) reset(row, col int) {
	if l.cols > 0 {
		col = min(col, l.cols-1)
	}
	col = min(max(col, 0), maxCells/2)
	*l = line{
		cells: l.left[:0], pos: col, cols: l.cols, row: max(row, 0), id: l.id + 1,
		left: l.cells, leftDropped: l.dropped,
	}
	l.grow(col)
	blank(l.cells)
}

func blank(cells []rune) {
	for i := range cells {
		cells[i] = ' '
	}
}

// curRow returns the cursor's row on the screen, from 1, or 0 if not known.
func (l *line) curRow() int {
	if l.row == 0 || l.cols == 0 {
		return l.row
	}
	p := l.pos
	if l.wrap {
		p--
	}
	return l.row + p/l.cols
}

// toCol moves the cursor within its row.
func (l *line) toCol(col int) {
	l.unwrap()
	last := maxCells / 2
	if l.cols > 0 {
		last = l.cols - 1
	}
	l.pos = l.rowStart() + min(max(col, 0), last)
	if old := len(l.cells); l.pos > old {
		l.grow(l.pos)
		blank(l.cells[old:])
	}
}

// byRows moves the cursor n rows down (up when negative), keeping its column.
func (l *line) byRows(n int) moved {
	if n == 0 {
		return within
	}
	col := l.col()
	if l.hasRow(n) {
		l.unwrap()
		l.pos = l.rowStart() + n*l.cols
		l.toCol(col)
		return within
	}
	row := l.curRow()
	if row > 0 {
		row = max(row+n, 1)
	}
	l.reset(row, col)
	return newLine
}

// hasRow tells whether the row n below the cursor's belongs to the line.
func (l *line) hasRow(n int) bool {
	if l.cols == 0 {
		return n == 0
	}
	p := l.pos
	if l.wrap {
		p--
	}
	at := p/l.cols + n
	return n == 0 || at >= 0 && at*l.cols < len(l.cells)
}

// to moves the cursor to a row and column of the screen, from 1.
func (l *line) to(row, col int) moved {
	if cur := l.curRow(); cur > 0 && l.hasRow(row-cur) {
		l.byRows(row - cur)
		l.toCol(col - 1)
		return within
	}
	l.reset(row, col-1)
	return newLine
}

// rowStart returns the index where the cursor's row begins.
func (l *line) rowStart() int {
	if l.cols == 0 {
		return 0
	}
	return l.pos / l.cols * l.cols
}

// rowEnd returns the index behind the cursor's row.
func (l *line) rowEnd() int {
	if l.cols == 0 {
		return len(l.cells)
	}
	return min((l.pos/l.cols+1)*l.cols, len(l.cells))
}

// insertCells shifts the cells from the cursor on by n blanks.
func (l *line) insertCells(n int) {
	l.unwrap()
	end := l.rowEnd()
	if end == len(l.cells) && l.pos < end { // the row has room at its end
		last := max(maxCells, end)
		if l.cols > 0 {
			last = l.rowStart() + l.cols
		}
		l.grow(min(end+n, last))
		blank(l.cells[end:])
		end = len(l.cells)
	}
	if l.pos >= end {
		return
	}
	row := l.cells[l.pos:end]
	n = min(n, len(row))
	copy(row[n:], row)
	blank(row[:n])
}

// remove takes n cells out at the cursor.
func (l *line) remove(n int) {
	l.unwrap()
	if l.pos >= l.rowEnd() {
		return
	}
	row := l.cells[l.pos:l.rowEnd()]
	n = min(n, len(row))
	copy(row, row[n:])
	blank(row[len(row)-n:])
}

// erase blanks cells[from:to]; what is erased up to the end is forgotten.
func (l *line) erase(from, to int) {
	if to >= len(l.cells) && from >= l.pos {
		l.cells = l.cells[:min(from, len(l.cells))]
		return
	}
	if from = max(from, 0); from < to {
		blank(l.cells[from:min(to, len(l.cells))])
	}
}

// back returns the index of the character that lies n characters before the
// cursor, and whether the line goes back that far.
func (l *line) back(n int) (int, bool) {
	i := l.pos
	for ; n > 0; n-- {
		i--
		for i >= 0 && l.cells[i] == wideTail {
			i--
		}
		if i < 0 {
			return 0, false
		}
	}
	return i, true
}
