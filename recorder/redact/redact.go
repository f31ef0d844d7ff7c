package redact

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Defaults of Config.
const (
	DefaultHoldBytes = 512
	DefaultHoldTime  = 40 * time.Millisecond
)

const (
	maxCustom    = 256
	maxRuleName  = 100
	maxHoldBytes = 64 << 10
	maxHoldTime  = time.Second
)

// Config says what to mask. The zero value masks with all built-in rules.
type Config struct {
	Disable   []string      // names of built-in rules that are switched off
	Custom    []CustomRule  // the administrator's own
	HoldBytes int           // most bytes held back, at most 65536; 0 means DefaultHoldBytes
	HoldTime  time.Duration // longest time that a byte is held back, at most 1 s; 0 means DefaultHoldTime
}

// CustomRule masks what an RE2 expression matches within one line of text, or
// its group 1 if it has one.
//
// An expression that begins with literal text (\bACME-[0-9]+) waits for that
// text, the anchor, which stays visible; what the rest matches is masked as it
// arrives. Any other expression ([0-9]{16}) holds back whatever may begin a
// match, for at most HoldTime, and shows it when that is over.
type CustomRule struct {
	Name    string
	Pattern string
}

// Rules is a compiled Config. It never changes, so any number of maskers, in
// any number of goroutines, may share it.
type Rules struct {
	names     []string
	anchors   []anchor
	auto      *automaton
	rolling   bool // a custom rule has no literal to wait for
	holdBytes int
	holdTime  time.Duration
}

// Builtin returns the names of the built-in rules.
func Builtin() []string {
	names := make([]string, len(builtins))
	for i, b := range builtins {
		names[i] = b.name
	}
	return names
}

// Compile checks and prepares a configuration. The error names the rule and
// what is wrong with it.
func Compile(c Config) (*Rules, error) {
	r := &Rules{holdBytes: c.HoldBytes, holdTime: c.HoldTime}
	if err := r.bounds(); err != nil {
		return nil, err
	}
	for _, name := range c.Disable {
		if !slices.Contains(Builtin(), name) {
			return nil, fmt.Errorf("redact: there is no built-in rule %q to disable; there are %s",
				name, strings.Join(Builtin(), ", "))
		}
	}
	for _, b := range builtins {
		if !slices.Contains(c.Disable, b.name) {
			r.add(b.name, b.anchors)
		}
	}
	if err := r.addCustom(c.Custom); err != nil {
		return nil, err
	}
	patterns := make([][]byteSet, len(r.anchors))
	for i, a := range r.anchors {
		if patterns[i] = literalSets(a.text, a.fold, a.edge); a.text == "" {
			patterns[i] = []byteSet{a.first}
		}
	}
	auto, err := buildAutomaton(patterns)
	if err != nil {
		return nil, fmt.Errorf("redact: %w", err)
	}
	r.auto = auto
	return r, nil
}

func (r *Rules) bounds() error {
	if r.holdBytes == 0 {
		r.holdBytes = DefaultHoldBytes
	}
	if r.holdTime == 0 {
		r.holdTime = DefaultHoldTime
	}
	switch {
	case r.holdBytes < 0 || r.holdBytes > maxHoldBytes:
		return fmt.Errorf("redact: hold-back of %d bytes is not between 1 and %d", r.holdBytes, maxHoldBytes)
	case r.holdTime < 0 || r.holdTime > maxHoldTime:
		return fmt.Errorf("redact: hold-back of %v is not between 0 and %v", r.holdTime, maxHoldTime)
	}
	return nil
}

func (r *Rules) add(name string, anchors []anchor) {
	for _, a := range anchors {
		a.rule = len(r.names)
		r.anchors = append(r.anchors, a)
	}
	r.names = append(r.names, name)
}

func (r *Rules) addCustom(rules []CustomRule) error {
	if len(rules) > maxCustom {
		return fmt.Errorf("redact: %d custom rules are more than the %d allowed", len(rules), maxCustom)
	}
	used := Builtin()
	for i, c := range rules {
		switch {
		case c.Name == "":
			return fmt.Errorf("redact: custom rule %d has no name", i+1)
		case len(c.Name) > maxRuleName:
			return fmt.Errorf("redact: the name of custom rule %d is longer than %d bytes", i+1, maxRuleName)
		case slices.Contains(used, c.Name):
			return fmt.Errorf("redact: there are two rules named %q", c.Name)
		}
		used = append(used, c.Name)
		a, err := compileCustom(c.Pattern)
		if err != nil {
			return fmt.Errorf("redact: custom rule %q: %w", c.Name, err)
		}
		r.add(c.Name, []anchor{*a})
		r.rolling = r.rolling || a.prog.rolling
	}
	return nil
}
