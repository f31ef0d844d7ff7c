package recorder

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"sallyport/policy"
	"sallyport/recorder/cast"
	"sallyport/recorder/redact"
)

// Limits of what belongs to one event in a file.
const (
	maxMasks    = 100_000
	maxMaskText = 4 << 10 // bytes of one mask
)

// Frame is one event of a recording with all that belongs to it.
type Frame struct {
	Time  time.Duration // since the start
	Code  cast.Code
	Raw   []byte        // the exact bytes of an o, e or i
	Masks []redact.Mask // what the live view hid of Raw
	Text  string        // the data of any other event
}

// View returns Raw as the live view showed it.
func (f Frame) View() []byte { return redact.View(f.Raw, f.Masks) }

// Reader reads a recording. It also reads plain asciicast v2 and v3, which has
// no Session. It is not safe for concurrent use.
type Reader struct {
	cast    *cast.Reader
	file    io.Closer // nil where it is the caller's
	session policy.Session
	err     error
}

// OpenFile opens the recording at path. The error is as for NewReader.
func OpenFile(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.file = f
	return r, nil
}

// NewReader reads the header of a recording. The error wraps cast.ErrTruncated
// where it is cut off.
func NewReader(in io.Reader) (*Reader, error) {
	c, err := cast.NewReader(in)
	if err != nil {
		return nil, err
	}
	r := &Reader{cast: c}
	if own := c.Header().Extra; len(own) > 0 {
		var e extra
		if err := json.Unmarshal(own, &e); err != nil {
			return nil, fmt.Errorf("the session in the recording's header is damaged: %w", err)
		}
		r.session = e.Session
	}
	return r, nil
}

// Session returns the session as the header describes it, or its zero value
// for a file that is not ours.
func (r *Reader) Session() policy.Session { return r.session }

// Header returns the header.
func (r *Reader) Header() cast.Header { return r.cast.Header() }

// Close closes what OpenFile opened.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// Next returns the next event. The error is io.EOF at the end and wraps
// cast.ErrTruncated where the recording is cut off after the last whole event;
// it stays the same from then on.
func (r *Reader) Next() (Frame, error) {
	if r.err != nil {
		return Frame{}, r.err
	}
	f, err := r.next()
	if err != nil {
		r.err = err
		return Frame{}, err
	}
	return f, nil
}

func (r *Reader) next() (Frame, error) {
	var masks []redact.Mask
	var exact []byte
	hasExact := false
	for {
		e, err := r.cast.Next()
		pending := len(masks) > 0 || hasExact
		if err == io.EOF && pending {
			return Frame{}, fmt.Errorf("the event that the last lines belong to is missing: %w", cast.ErrTruncated)
		}
		if err != nil {
			return Frame{}, err
		}
		switch e.Code {
		case cast.CodeMask:
			m, err := parseMask(e.Data)
			if err == nil && (hasExact || len(masks) == maxMasks) {
				err = errors.New("a mask is out of place")
			}
			if err != nil {
				return Frame{}, r.wrap(err)
			}
			masks = append(masks, m)
			continue
		case cast.CodeBytes:
			if hasExact {
				return Frame{}, r.wrap(errors.New("two events give the bytes of one"))
			}
			if exact, err = base64.StdEncoding.DecodeString(e.Data); err != nil {
				return Frame{}, r.wrap(errors.New("bytes are not in base64"))
			}
			hasExact = true
			continue
		}
		f, err := frame(e, masks, exact, hasExact)
		if err != nil {
			return Frame{}, r.wrap(err)
		}
		return f, nil
	}
}

// wrap says near which byte err was found.
func (r *Reader) wrap(err error) error {
	return fmt.Errorf("recording at byte %d: %w", r.cast.Offset(), err)
}

// frame puts an event together with what came before it.
func frame(e cast.Event, masks []redact.Mask, exact []byte, hasExact bool) (Frame, error) {
	f := Frame{Time: e.Time, Code: e.Code}
	switch e.Code {
	case cast.CodeOutput, cast.CodeStderr:
	case cast.CodeInput:
		if len(masks) > 0 {
			return f, errors.New("a mask belongs to input")
		}
	default:
		if hasExact || len(masks) > 0 {
			return f, fmt.Errorf("a mask or bytes belong to an event %q", byte(e.Code))
		}
		f.Text = e.Data
		return f, nil
	}
	if f.Raw = exact; !hasExact {
		f.Raw = []byte(e.Data)
	} else if !sameText(exact, e.Data) {
		return f, errors.New("the text of an event is not that of its bytes")
	}
	end := 0
	for _, m := range masks {
		if m.Off < end || m.Len < 0 || m.Len > len(f.Raw)-m.Off {
			return f, fmt.Errorf("a mask of bytes %d to %d does not fit its event of %d bytes", m.Off, m.Off+m.Len, len(f.Raw))
		}
		end = m.Off + m.Len
	}
	f.Masks = masks
	return f, nil
}

// sameText reports whether text is what is written for raw: U+FFFD for each
// byte that is not UTF-8.
func sameText(raw []byte, text string) bool {
	want := []rune(text)
	for _, r := range string(raw) {
		if len(want) == 0 || want[0] != r {
			return false
		}
		want = want[1:]
	}
	return len(want) == 0
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
