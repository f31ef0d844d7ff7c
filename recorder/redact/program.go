package redact

import (
	"errors"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// program is a compiled custom rule.
type program struct {
	insts   []syntax.Inst
	start   uint32
	group   bool // group 1 is what to mask
	prefix  int  // characters of the anchor
	literal int  // characters of the whole expression, when it is one literal
	rolling bool // no literal to wait for: any character may begin a match
}

const (
	maxPattern = 4096 // bytes
	maxInsts   = 2000
)

// compileCustom prepares an expression and the anchor that starts it.
func compileCustom(pattern string) (*anchor, error) {
	if len(pattern) > maxPattern {
		return nil, errors.New("the pattern is longer than 4096 bytes")
	}
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	groups := re.MaxCap()
	re = re.Simplify()
	prog, err := syntax.Compile(re)
	if err != nil {
		return nil, err
	}
	p := &program{insts: prog.Inst, start: uint32(prog.Start), group: groups > 0}
	switch {
	case len(p.insts) > maxInsts:
		return nil, errors.New("the pattern is too complex")
	case p.matchesEmpty():
		return nil, errors.New("the pattern matches the empty string")
	}
	a := &anchor{kind: kindCustom, prog: p}
	var lit literal
	whole := lit.read(re)
	switch {
	case lit.text != "" && !whole:
		a.text, a.fold, p.prefix = lit.text, lit.fold, utf8.RuneCountInString(lit.text)
	case whole:
		p.literal = utf8.RuneCountInString(lit.text)
		fallthrough
	default:
		p.rolling, p.prefix = true, 1
		a.first = p.firstBytes()
	}
	return a, nil
}

// literal gathers the text that every match of an expression begins with.
type literal struct {
	text string
	fold bool
}

// read adds what re begins with, and tells whether that is all of re.
func (l *literal) read(re *syntax.Regexp) (whole bool) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpBeginText, syntax.OpEndLine,
		syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return true
	case syntax.OpCapture:
		return l.read(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if !l.read(sub) {
				return false
			}
		}
		return true
	case syntax.OpPlus:
		l.read(re.Sub[0])
	case syntax.OpLiteral:
		return l.add(re)
	}
	return false
}

// add appends a literal as far as the anchors' ASCII case folding can express
// it.
func (l *literal) add(re *syntax.Regexp) bool {
	fold := re.Flags&syntax.FoldCase != 0
	for _, r := range re.Rune {
		cased := unicode.SimpleFold(r) != r
		switch {
		case cased && l.text != "" && l.fold != fold, cased && fold && r >= utf8.RuneSelf:
			return false
		case !utf8.ValidRune(r) || r == newline:
			return false
		}
		if cased {
			l.fold = fold
		}
		l.text += string(r)
	}
	return true
}

// closure visits the instructions that are reached from pc without a
// character, all conditions taken to hold.
func (p *program) closure(pc uint32, seen map[uint32]bool, visit func(*syntax.Inst)) {
	if seen[pc] {
		return
	}
	seen[pc] = true
	switch in := &p.insts[pc]; in.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		p.closure(in.Out, seen, visit)
		p.closure(in.Arg, seen, visit)
	case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
		p.closure(in.Out, seen, visit)
	default:
		visit(in)
	}
}

func (p *program) matchesEmpty() (empty bool) {
	p.closure(p.start, map[uint32]bool{}, func(in *syntax.Inst) {
		empty = empty || in.Op == syntax.InstMatch
	})
	return empty
}

// firstBytes returns the bytes that the first character of a match may begin
// with; for those outside ASCII it is not exact, only complete.
func (p *program) firstBytes() (set byteSet) {
	p.closure(p.start, map[uint32]bool{}, func(in *syntax.Inst) {
		if in.Op == syntax.InstFail {
			return
		}
		for c := range rune(utf8.RuneSelf) {
			if in.MatchRune(c) {
				set.add(byte(c))
			}
		}
		if in.Op == syntax.InstRune1 && in.Rune[0] < utf8.RuneSelf ||
			in.Op == syntax.InstRune && len(in.Rune) > 1 && in.Rune[len(in.Rune)-1] < utf8.RuneSelf {
			return
		}
		for c := 0xc2; c < 0x100; c++ {
			set.add(byte(c))
		}
	})
	return set
}
