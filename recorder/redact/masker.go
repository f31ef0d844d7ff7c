package redact

import (
	"slices"
	"time"
)

// Masker decides about one terminal's output as it arrives. It is not safe for
// concurrent use.
//
// Every decision depends on the bytes alone, never on how they were cut into
// calls of Feed; only time running out (Flush) can change it.
type Masker struct {
	rules *Rules

	// The stream. Offsets count the bytes fed since the start.
	held  []byte    // fed but not released; backs the Raw of the last chunk until the next call
	base  int64     // offset of held[0]
	read  int       // bytes of held that were scanned; the rest is a cut character
	since time.Time // when the oldest held byte arrived, or earlier
	out   []byte    // held bytes handed out by the last call
	chunk [1]Chunk  // what the last call returned
	spans []span    // text from base on that is masked, in order
	gaps  []int64   // characters that are never masked: spaces that erase, and what breaks off a sequence

	// The terminal.
	lex    lexer
	line   line
	saved  savedCursor
	last   rune // the last character written, for REP
	insert bool // IRM: writing shifts what stands behind

	// The matching. It stands at the cell line.pos unless the cursor has moved.
	at       int // line.pos plus line.dropped that state and cands belong to; -1 = none
	state    uint16
	cands    []candidate
	spare    []candidate
	idle     []*matcher // for candidates to come
	runes    []rune     // scratch
	credit   int        // cells that replay may read, as of offset creditAt
	creditAt int64
	lastMask int    // rule that masked the last character as it came, or -1
	buf      []byte // the bytes from base on, during a call

	expiredInside bool // time ran out within an escape sequence
}

// span is masked text in the stream.
type span struct {
	from, to int64
	rule     int
}

// maxKept bounds the memory that is kept for the next call, in bytes.
const maxKept = 16 << 10

// NewMasker returns a masker for a terminal that is cols cells wide; 0 means
// that there is no terminal, so that lines never wrap.
func (r *Rules) NewMasker(cols int) *Masker {
	m := &Masker{rules: r, state: r.auto.start, lastMask: -1, credit: maxCredit}
	m.Resize(cols)
	return m
}

// Resize tells the masker the terminal's new width in cells.
func (m *Masker) Resize(cols int) {
	m.line.cols = min(max(cols, 0), maxCols)
	m.line.wrap = false
	m.line.row = 0
}

// Feed takes the next bytes of output and returns those about which everything
// is decided, in order. It keeps no reference to p, but what it returns may be
// part of p, and holds until the next call. Bytes overdue since before now are decided as by Flush.
func (m *Masker) Feed(p []byte, now time.Time) []Chunk {
	if len(p) == 0 {
		return nil
	}
	overdue := false
	if due, ok := m.Deadline(); ok && !now.Before(due) {
		m.expireAll()
		overdue = true
	}
	b, old := p, len(m.held)
	if old > 0 {
		m.held = append(m.held, p...)
		b = m.held
	}
	m.buf = b
	m.read += m.scan(b, m.read, false)
	m.expireLong(m.base + int64(m.read))
	upto := m.release()
	if upto < len(b) && (old == 0 || upto >= old || overdue) {
		m.since = now
	}
	return m.emit(b, upto)
}

// Flush decides about all that is held back, masking what may be a secret, and
// returns it.
func (m *Masker) Flush(time.Time) []Chunk {
	if len(m.held) == 0 {
		return nil
	}
	m.expireAll()
	m.buf = m.held
	m.read += m.scan(m.held, m.read, true)
	m.expireAll()
	return m.emit(m.held, len(m.held))
}

// Deadline returns when Flush must be called, if anything is held back.
func (m *Masker) Deadline() (time.Time, bool) {
	if len(m.held) == 0 {
		return time.Time{}, false
	}
	return m.since.Add(m.rules.holdTime), true
}

// release returns how much of what was scanned needs not be held.
func (m *Masker) release() int {
	upto := m.read
	for i := range m.cands {
		if p := m.cands[i].pending; p >= 0 {
			upto = min(upto, int(p-m.base))
		}
	}
	return max(upto, 0)
}

// emit hands out b[:n] and keeps the rest.
func (m *Masker) emit(b []byte, n int) []Chunk {
	rest := b[n:]
	if n == 0 {
		m.held = append(m.held[:0], b...)
		return nil
	}
	m.chunk[0] = Chunk{Raw: b[:n:n], Masks: m.takeMasks(b[:n])}
	m.base += int64(n)
	m.read -= n
	past, _ := slices.BinarySearch(m.gaps, m.base)
	m.gaps = append(m.gaps[:0], m.gaps[past:]...)
	// The chunk may lie in held: what stays moves to other memory.
	m.held, m.out = append(m.out[:0], rest...), m.held
	if cap(m.out) > maxKept {
		m.out = nil
	}
	m.buf = nil
	return m.chunk[:]
}

// takeMasks removes the spans within raw, which starts at base, and returns
// them as masks.
func (m *Masker) takeMasks(raw []byte) []Mask {
	var masks []Mask
	end := m.base + int64(len(raw))
	i := 0
	for ; i < len(m.spans); i++ {
		s := &m.spans[i]
		if s.from >= end {
			break
		}
		from, to := int(s.from-m.base), int(min(s.to, end)-m.base)
		masks = append(masks, Mask{
			Rule: m.rules.names[s.rule], Off: from, Len: to - from, Cells: cells(raw[from:to]),
		})
		if s.to > end {
			s.from = end
			break
		}
	}
	m.spans = append(m.spans[:0], m.spans[i:]...)
	return masks
}

// cells returns the width of text.
func cells(p []byte) int {
	var lex lexer
	sum := 0
	for i := 0; i < len(p); {
		size, w, _ := lex.unit(p[i:])
		sum += w
		i += size
	}
	return sum
}

// mask hides the text in [from, to) of the stream that no rule hides yet. What
// was released is out of reach.
func (m *Masker) mask(from, to int64, rule int) {
	from = max(from, m.base)
	if from >= to {
		return
	}
	var lex lexer
	b := m.buf[from-m.base : to-m.base]
	start := -1
	for i := 0; i < len(b); {
		size, _, text := lex.unit(b[i:])
		if text && len(m.gaps) > 0 {
			_, gap := slices.BinarySearch(m.gaps, from+int64(i))
			text = !gap
		}
		switch {
		case text && start < 0:
			start = i
		case !text && start >= 0:
			m.addSpan(span{from + int64(start), from + int64(i), rule})
			start = -1
		}
		i += size
	}
	if start >= 0 {
		m.addSpan(span{from + int64(start), to, rule})
	}
}

// addSpan inserts s where no span is yet.
func (m *Masker) addSpan(s span) {
	i := len(m.spans)
	for i > 0 && m.spans[i-1].to > s.from {
		i--
	}
	for s.from < s.to {
		end := s.to
		if i < len(m.spans) {
			end = min(end, m.spans[i].from)
		}
		if s.from < end {
			i = m.insertSpan(i, span{s.from, end, s.rule})
		}
		if i < len(m.spans) {
			end = max(end, min(m.spans[i].to, s.to))
			i++
		}
		s.from = end
	}
}

// insertSpan puts s before spans[i], or joins it to the one before, and
// returns the index of what comes after it.
func (m *Masker) insertSpan(i int, s span) int {
	if i > 0 && m.spans[i-1].to == s.from && m.spans[i-1].rule == s.rule {
		m.spans[i-1].to = s.to
		return i
	}
	m.spans = append(m.spans, span{})
	copy(m.spans[i+1:], m.spans[i:])
	m.spans[i] = s
	return i + 1
}
