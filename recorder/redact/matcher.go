package redact

import "regexp/syntax"

// matcher runs a custom rule's expression over characters as they come: Pike's
// simulation, with leftmost-first choice as in package regexp, that may stop
// and go on anywhere. Positions are offsets in the stream.
type matcher struct {
	prog   *program
	mask   func(from, to int64) // masks the text between two offsets
	cur    []thread             // in the order of preference
	next   []thread
	seen   []uint32 // by instruction: the pass that added it last
	pass   uint32
	prev   rune  // the last character, -1 at the start of a line
	done   int64 // everything before is decided
	forced bool  // time ran out: mask what may match as it arrives
}

// thread is one way in which the text so far may begin a match.
type thread struct {
	pc     uint32
	n      int   // characters matched
	start  int64 // where what may be masked begins
	g0, g1 int64 // group 1; -1 = not reached
}

func newMatcher(p *program, mask func(from, to int64)) *matcher {
	return &matcher{prog: p, mask: mask, seen: make([]uint32, len(p.insts)), prev: -1}
}

// reset makes a used matcher like new.
func (m *matcher) reset() {
	m.cur, m.prev, m.done, m.forced = m.cur[:0], -1, 0, false
}

// region returns what of the text up to end the thread would mask if it came
// to match.
func (m *matcher) region(t *thread, end int64) (from, to int64, ok bool) {
	from, to = t.start, end
	if m.prog.group {
		if t.g0 < 0 {
			return 0, 0, false
		}
		if from = t.g0; t.g1 >= 0 {
			to = t.g1
		}
	}
	return max(from, m.done), to, true
}

// pending returns the offset from which text must be held back, or -1.
func (m *matcher) pending() int64 {
	least := int64(-1)
	for i := range m.cur {
		if from, _, ok := m.region(&m.cur[i], 0); ok && (least < 0 || from < least) {
			least = from
		}
	}
	return least
}

// step takes the character at [off, end), or a newline, and tells whether a
// match is still possible.
func (m *matcher) step(r rune, off, end int64) bool {
	after := r
	if r == newline {
		after = -1
	}
	m.cur = m.advance(m.cur, syntax.EmptyOpContext(m.prev, after), r, off, end)
	m.prev = r
	if m.forced {
		m.maskAll(end)
	}
	return len(m.cur) > 0
}

// advance resolves the conditions that stand before r in the threads of list,
// then consumes r.
func (m *matcher) advance(list []thread, flags syntax.EmptyOp, r rune, off, end int64) []thread {
	m.pass++
	ready := m.next[:0]
	cut := false
	for _, t := range list {
		if ready, cut = m.add(ready, t, &flags, off); cut {
			break
		}
	}
	m.pass++
	out := list[:0]
	if r == newline {
		m.next = ready
		return out
	}
	// out takes over list's memory: ready was copied from it.
	for _, t := range ready {
		in := &m.prog.insts[t.pc]
		if in.MatchRunePos(r) < 0 {
			continue
		}
		t.pc = in.Out
		t.n++
		if out, cut = m.add(out, t, nil, end); cut {
			break
		}
	}
	m.next = ready
	return out
}

// add follows t to the instructions that need a character and appends those.
// Without flags it stops at conditions, which the next character will decide.
// Reaching the match masks it and cuts off all that is less preferred.
func (m *matcher) add(list []thread, t thread, flags *syntax.EmptyOp, pos int64) ([]thread, bool) {
	if m.seen[t.pc] == m.pass {
		return list, false
	}
	m.seen[t.pc] = m.pass
	cut := false
	switch in := &m.prog.insts[t.pc]; in.Op {
	case syntax.InstFail:
	case syntax.InstAlt, syntax.InstAltMatch:
		u := t
		u.pc = in.Out
		if list, cut = m.add(list, u, flags, pos); cut {
			return list, true
		}
		t.pc = in.Arg
		return m.add(list, t, flags, pos)
	case syntax.InstEmptyWidth:
		if flags == nil {
			return append(list, t), false
		}
		if syntax.EmptyOp(in.Arg)&^*flags != 0 {
			return list, false
		}
		t.pc = in.Out
		return m.add(list, t, flags, pos)
	case syntax.InstCapture, syntax.InstNop:
		if in.Op == syntax.InstCapture && in.Arg == 2 {
			t.g0, t.g1 = pos, -1
		} else if in.Op == syntax.InstCapture && in.Arg == 3 {
			t.g1 = pos
		}
		t.pc = in.Out
		return m.add(list, t, flags, pos)
	case syntax.InstMatch:
		m.accept(&t, pos)
		return list, true
	default:
		list = append(list, t)
	}
	return list, false
}

func (m *matcher) accept(t *thread, end int64) {
	if from, to, ok := m.region(t, end); ok && from < to {
		m.mask(from, to)
	}
	m.done = max(m.done, end)
}

// spawn starts a thread at the runes of an anchor, which lie at [start, end)
// of the stream and come after before. What follows the anchor is all that may
// be masked when start is end.
func (m *matcher) spawn(runes []rune, before rune, start, end int64) {
	if m.prog.rolling && m.done >= end && end > start {
		return // the character belongs to a match already
	}
	list := []thread{{pc: m.prog.start, start: start, g0: -1, g1: -1}}
	for _, r := range runes {
		list = m.advance(list, syntax.EmptyOpContext(before, r), r, start, end)
		before = r
	}
	m.prev = before
	m.pass++
	for _, t := range m.cur {
		m.seen[t.pc] = m.pass
	}
	for _, t := range list {
		if m.seen[t.pc] != m.pass {
			m.cur = append(m.cur, t)
		}
	}
}

// expire decides about what is held when time runs out.
func (m *matcher) expire(upto int64) {
	show := m.prog.rolling
	for i := range m.cur {
		if l := m.prog.literal; l > 0 && 2*m.cur[i].n >= l {
			show = false
		}
	}
	if !show {
		m.maskAll(upto)
		m.forced = !m.prog.rolling
	}
	m.done = max(m.done, upto)
}

func (m *matcher) maskAll(end int64) {
	for i := range m.cur {
		if from, to, ok := m.region(&m.cur[i], end); ok && from < to {
			m.mask(from, to)
		}
	}
	m.done = max(m.done, end)
}

// inherit makes the threads hold from an earlier offset, as those did that
// they replace.
func (m *matcher) inherit(from int64) {
	for i := range m.cur {
		t := &m.cur[i]
		t.start = min(t.start, from)
		if t.g0 >= 0 {
			t.g0 = min(t.g0, from)
		}
	}
	m.done = min(m.done, from)
}
