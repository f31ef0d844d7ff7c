package redact

import (
	"encoding/binary"
	"errors"
	"slices"
)

// byteSet is a set of byte values.
type byteSet [4]uint64

func (s *byteSet) add(c byte)      { s[c>>6] |= 1 << (c & 63) }
func (s *byteSet) has(c byte) bool { return s[c>>6]&(1<<(c&63)) != 0 }

// literalSets spells text as one set a byte; with fold, ASCII letters match in
// both cases; with edge, a byte that is no ASCII letter or digit (or the start
// of a line) must come before.
func literalSets(text string, fold, edge bool) []byteSet {
	var sets []byteSet
	if edge {
		var s byteSet
		for c := range 256 {
			if !isWord(rune(c)) || c == '_' {
				s.add(byte(c))
			}
		}
		sets = append(sets, s)
	}
	for i := range len(text) {
		var s byteSet
		s.add(text[i])
		if lower := text[i] | 0x20; fold && lower >= 'a' && lower <= 'z' {
			s.add(lower)
			s.add(lower &^ 0x20)
		}
		sets = append(sets, s)
	}
	return sets
}

// isWord tells an ASCII letter, digit or underscore.
func isWord(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_'
}

// automaton finds all anchors at once (Aho and Corasick's construction, over
// sets of bytes so that case can be folded). Its state is one number, so it may
// stop and go on anywhere in a stream.
type automaton struct {
	next  []uint16 // state<<8 | byte → state
	start uint16   // the state at the start of a line
	hit   uint16   // states from here on complete an anchor
	out   [][]int  // what state hit+i completes, ascending
}

// maxStates bounds the automaton: 4 MiB.
const maxStates = 8192

var errTooManyStates = errors.New("the anchors of the rules are too many or too long")

// builder makes the deterministic automaton by subset construction.
type builder struct {
	patterns [][]byteSet
	base     []int // position of the pattern's start in the numbering of all
	ids      map[string]int
	sets     [][]int // positions that each state is in, without the starts
	outs     [][]int
	rows     [][256]uint16
}

func buildAutomaton(patterns [][]byteSet) (*automaton, error) {
	b := &builder{patterns: patterns, ids: map[string]int{}}
	n := 0
	for _, p := range patterns {
		b.base = append(b.base, n)
		n += len(p)
	}
	classes := byteClasses(patterns)
	start := b.step(nil, '\n')
	for s := 0; s < len(b.sets); s++ {
		if len(b.sets) > maxStates {
			return nil, errTooManyStates
		}
		var row [256]uint16
		for _, class := range classes {
			to := uint16(b.step(b.sets[s], class[0]))
			for _, c := range class {
				row[c] = to
			}
		}
		b.rows = append(b.rows, row)
	}
	return b.finish(start), nil
}

// byteClasses groups the bytes that no pattern tells apart.
func byteClasses(patterns [][]byteSet) [][]byte {
	distinct := map[byteSet]bool{}
	for _, p := range patterns {
		for _, s := range p {
			distinct[s] = true
		}
	}
	var sets []byteSet
	for s := range distinct {
		sets = append(sets, s)
	}
	index := map[string]int{}
	var classes [][]byte
	for c := range 256 {
		sig := make([]byte, len(sets))
		for i := range sets {
			if sets[i].has(byte(c)) {
				sig[i] = 1
			}
		}
		i, ok := index[string(sig)]
		if !ok {
			i = len(classes)
			index[string(sig)] = i
			classes = append(classes, nil)
		}
		classes[i] = append(classes[i], byte(c))
	}
	return classes
}

// step returns the state reached from a set of positions by c.
func (b *builder) step(set []int, c byte) int {
	var to, out []int
	advance := func(p, k int) {
		switch {
		case !b.patterns[p][k].has(c):
		case k+1 == len(b.patterns[p]):
			out = append(out, p)
		default:
			to = append(to, b.base[p]+k+1)
		}
	}
	for p := range b.patterns {
		advance(p, 0)
	}
	for _, pos := range set {
		p, found := slices.BinarySearch(b.base, pos)
		if !found {
			p--
		}
		advance(p, pos-b.base[p])
	}
	slices.Sort(to)
	slices.Sort(out)
	key := make([]byte, 0, 4*(len(to)+len(out)+1))
	for _, v := range to {
		key = binary.LittleEndian.AppendUint32(key, uint32(v))
	}
	key = binary.LittleEndian.AppendUint32(key, ^uint32(0))
	for _, v := range out {
		key = binary.LittleEndian.AppendUint32(key, uint32(v))
	}
	id, ok := b.ids[string(key)]
	if !ok {
		id = len(b.sets)
		b.ids[string(key)] = id
		b.sets = append(b.sets, to)
		b.outs = append(b.outs, out)
	}
	return id
}

// finish numbers the states anew, those that complete an anchor last.
func (b *builder) finish(start int) *automaton {
	number := make([]uint16, len(b.sets))
	a := &automaton{next: make([]uint16, len(b.sets)<<8)}
	n := 0
	for _, completes := range []bool{false, true} {
		if completes {
			a.hit = uint16(n)
		}
		for s, out := range b.outs {
			if len(out) > 0 == completes {
				number[s] = uint16(n)
				n++
				if completes {
					a.out = append(a.out, out)
				}
			}
		}
	}
	for s, row := range b.rows {
		for c, to := range row {
			a.next[int(number[s])<<8|c] = number[to]
		}
	}
	a.start = number[start]
	return a
}
