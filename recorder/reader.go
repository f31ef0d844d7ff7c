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

// Reader reads a recording: one in an archive (OpenRecording), or a file of
// asciicast v2 or v3, which has no Session where it is not ours. It is not safe
// for concurrent use.
type Reader struct {
	src       source
	header    cast.Header
	recording policy.Recording
	err       error
}

// source is where a Reader reads from.
type source interface {
	Next() (Frame, error)
	seek(time.Duration) (keyframe []byte, err error)
	skip(time.Duration)
	close() error
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
	r.src.(*plain).file = f
	return r, nil
}

// NewReader reads the header of an asciicast. The error wraps cast.ErrTruncated
// where it is cut off.
func NewReader(in io.Reader) (*Reader, error) {
	c, err := cast.NewReader(in)
	if err != nil {
		return nil, err
	}
	r := &Reader{src: &plain{cast: c}, header: c.Header()}
	if own := c.Header().Extra; len(own) > 0 {
		var e extra
		if err := json.Unmarshal(own, &e); err != nil {
			return nil, fmt.Errorf("the session in the recording's header is damaged: %w", err)
		}
		r.recording.Session = e.Session
	}
	return r, nil
}

// Session returns the session that was recorded, or its zero value for a file
// that is not ours.
func (r *Reader) Session() policy.Session { return r.recording.Session }

// Recording returns the session and its summary. Of a recording that still runs
// the summary has only ID and State, of a file nothing.
func (r *Reader) Recording() policy.Recording { return r.recording }

// Header returns the header of the file, or the one that an asciicast of the
// recording has.
func (r *Reader) Header() cast.Header { return r.header }

// Close closes what OpenFile or OpenRecording opened.
func (r *Reader) Close() error { return r.src.close() }

// Next returns the next event. The error is io.EOF at the end and, for a file,
// wraps cast.ErrTruncated where it is cut off after the last whole event; it
// stays the same from then on, or until the next seek.
func (r *Reader) Next() (Frame, error) {
	if r.err != nil {
		return Frame{}, r.err
	}
	f, err := r.src.Next()
	if err != nil {
		r.err = err
		return Frame{}, err
	}
	return f, nil
}

// errNoSeek says that a file can only be read from its beginning.
var errNoSeek = errors.New("a plain asciicast cannot be read from the middle")

// Seek makes the event at time at, or the first one after it, the next one. It
// reads one segment of the recording.
func (r *Reader) Seek(at time.Duration) error {
	_, err := r.SeekSegment(at)
	if err == nil {
		r.src.skip(at)
	}
	return err
}

// SeekSegment makes the first event of the segment in which time at lies the
// next one, and returns what brings a terminal to the state that it finds, where
// the segment has that: a player then shows the screen at any time after it has
// read the events up to there.
func (r *Reader) SeekSegment(at time.Duration) (keyframe []byte, err error) {
	if keyframe, err = r.src.seek(at); err == nil {
		r.err = nil
	}
	return keyframe, err
}

// plain reads a file.
type plain struct {
	cast *cast.Reader
	file io.Closer // nil where it is the caller's
}

func (p *plain) seek(time.Duration) ([]byte, error) { return nil, errNoSeek }
func (p *plain) skip(time.Duration)                 {}

func (p *plain) close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}

// Next puts the lines together that belong to one event.
func (r *plain) Next() (Frame, error) {
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
func (r *plain) wrap(err error) error {
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
