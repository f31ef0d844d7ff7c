package sealed

import (
	"fmt"
	"time"
	"unicode/utf8"

	"sallyport/recorder/cast"
)

// Event is one event of a recording.
//
// Who has the view key only gets no i, an o or e with masks without its Raw,
// and a g in the place of an undecided o or e.
type Event struct {
	Time time.Duration // since the session's start; kept in whole microseconds
	Code cast.Code
	// Raw is the exact bytes of an o, e or i. It is nil for an o or e with
	// masks where the raw key is missing.
	Raw []byte
	// View is what the view shows of an o or e that has masks, and nil for any
	// other event: its view is Raw.
	View []byte
	// Masks is the JSON of each mask of an o or e, in order. It is part of the
	// view.
	Masks []string
	// Undecided marks an o or e that was in the journal while redaction's
	// decision about it was not: it is under the raw key only.
	Undecided bool
	// Text is the data of any other event: UTF-8.
	Text string
}

// masked reports whether the view of e is not its bytes.
func (e *Event) masked() bool { return len(e.Masks) > 0 }

// hidden reports whether the raw track holds e.
func (e *Event) hidden() bool {
	return e.Code == cast.CodeInput || e.Undecided || e.masked()
}

// isOutput reports whether c is an event with bytes that the client saw.
func isOutput(c cast.Code) bool { return c == cast.CodeOutput || c == cast.CodeStderr }

// maskSize is the most bytes that the line of a mask takes.
func maskSize(m string) int {
	n := 32
	for i := range len(m) {
		switch c := m[i]; {
		case c == '"' || c == '\\':
			n += 2
		case c < 0x20 || c > 0x7e:
			n += 6
		default:
			n++
		}
	}
	return n
}

// valid reports what keeps e from being stored. Nothing is guessed: an event
// with masks and without a view would otherwise show what they hide.
func (e *Event) valid() error {
	size := 0
	for _, m := range e.Masks {
		size += maskSize(m)
		if !utf8.ValidString(m) {
			return fmt.Errorf("a mask is not UTF-8")
		}
	}
	out := isOutput(e.Code)
	switch {
	case max(len(e.Raw), len(e.View), len(e.Text)) > MaxEvent:
		return fmt.Errorf("it is larger than %d bytes", MaxEvent)
	case size > MaxMasks:
		return fmt.Errorf("its %d masks are larger than %d bytes", len(e.Masks), MaxMasks)
	case e.Code < 0x20 || e.Code > 0x7e || e.Code == cast.CodeMask || e.Code == cast.CodeBytes:
		return fmt.Errorf("%q is no code of an event", byte(e.Code))
	case !utf8.ValidString(e.Text):
		return fmt.Errorf("its text is not UTF-8")
	case (e.masked() || e.View != nil || e.Undecided) && !out:
		return fmt.Errorf("only o and e have masks, a view or an open decision")
	case e.masked() != (e.View != nil):
		return fmt.Errorf("masks and a view of what they leave go together")
	case e.Undecided && e.masked():
		return fmt.Errorf("an undecided event has no masks")
	case (out || e.Code == cast.CodeInput) && e.Text != "":
		return fmt.Errorf("o, e and i have bytes and no text")
	case !out && e.Code != cast.CodeInput && e.Raw != nil:
		return fmt.Errorf("only o, e and i have bytes")
	}
	return nil
}
