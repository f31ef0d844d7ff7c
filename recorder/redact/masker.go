package redact

import "time"

// Masker decides about one terminal's output as it arrives. It is not safe for
// concurrent use.
type Masker struct {
	rules *Rules
	cols  int
}

// NewMasker returns a masker for a terminal that is cols cells wide; 0 means
// that there is no terminal, so that lines never wrap.
func (r *Rules) NewMasker(cols int) *Masker { return &Masker{rules: r, cols: cols} }

// Feed takes the next bytes of output and returns those about which everything
// is decided.
func (m *Masker) Feed(p []byte, now time.Time) []Chunk {
	if len(p) == 0 {
		return nil
	}
	return []Chunk{{Raw: p}}
}

// Flush decides about all that is held back and returns it.
func (m *Masker) Flush(now time.Time) []Chunk { return nil }

// Deadline returns when Flush must be called, if anything is held back.
func (m *Masker) Deadline() (time.Time, bool) { return time.Time{}, false }

// Resize tells the masker the terminal's new width in cells.
func (m *Masker) Resize(cols int) { m.cols = cols }
