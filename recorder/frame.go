package recorder

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sallyport/recorder/cast"
	"sallyport/recorder/redact"
	"sallyport/recorder/sealed"
)

// maxMaskText limits one mask as it is read, in bytes.
const maxMaskText = 4 << 10

// Frame is one event of a recording with all that belongs to it.
type Frame struct {
	Time time.Duration // since the start
	Code cast.Code
	// Raw is the exact bytes of an o, e or i. It is nil for an o or e with
	// masks where the raw key is missing: View then is all there is.
	Raw   []byte
	Masks []redact.Mask // what the live view hid of Raw
	Text  string        // the data of any other event
	// Undecided marks an o or e that the bastion stopped before deciding what
	// of it may be shown: its view is empty.
	Undecided bool

	view []byte // as it is stored; nil: it is that of Raw and Masks
}

// View returns an o or e as the live view showed it.
func (f Frame) View() []byte {
	switch {
	case f.Undecided:
		return nil
	case f.view != nil:
		return f.view
	}
	return redact.View(f.Raw, f.Masks)
}

// frameOf returns a sealed event as a frame.
func frameOf(e *sealed.Event) (Frame, error) {
	f := Frame{Time: e.Time, Code: e.Code, Raw: e.Raw, Text: e.Text, Undecided: e.Undecided}
	end := 0
	for _, text := range e.Masks {
		m, err := parseMask(text)
		if err == nil && (m.Off < end || m.Len < 0 || e.Raw != nil && m.Len > len(e.Raw)-m.Off) {
			err = fmt.Errorf("a mask of bytes %d to %d does not fit its event", m.Off, m.Off+m.Len)
		}
		if err != nil {
			return f, err
		}
		end = m.Off + m.Len
		f.Masks = append(f.Masks, m)
	}
	if e.Raw == nil && len(f.Masks) > 0 {
		if f.view = e.View; f.view == nil {
			return f, errors.New("an event has neither bytes nor a view")
		}
	}
	return f, nil
}

func parseMask(data string) (redact.Mask, error) {
	var m redact.Mask
	if len(data) > maxMaskText {
		return m, fmt.Errorf("a mask is longer than %d bytes", maxMaskText)
	}
	if err := json.Unmarshal([]byte(data), &m); err != nil {
		return m, fmt.Errorf("a mask is damaged: %w", err)
	}
	return m, nil
}
