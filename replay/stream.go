package replay

import (
	"encoding/json"
	"strings"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/cast"
	"sallyport/recorder/redact"
)

// ErrTruncated is what errors wrap where a recording is cut off.
var ErrTruncated = cast.ErrTruncated

// Stream reads one recording in one view. It is not safe for concurrent use.
type Stream struct {
	reader    *recorder.Reader
	recording policy.Recording
	view      View
	path      string
	queue     []piece
}

// piece is an event and, for o, e and i, its exact bytes in this view.
type piece struct {
	event cast.Event
	bytes []byte
}

// OpenFile opens a file without a server and without a policy: whoever can
// read the file can read it anyway.
func OpenFile(path string, view View) (*Stream, error) {
	r, err := recorder.OpenFile(path)
	if err != nil {
		return nil, err
	}
	s := r.Session()
	return &Stream{reader: r, path: path, view: view, recording: policy.Recording{Session: s, Summary: policy.Summary{ID: s.ID}}}, nil
}

// Recording describes what is read.
func (s *Stream) Recording() policy.Recording { return s.recording }

// Header returns the asciicast header of the stored recording.
func (s *Stream) Header() cast.Header { return s.reader.Header() }

// Rewind starts again at the first event. It is the same look, so it is not
// entered again.
func (s *Stream) Rewind() error {
	r, err := recorder.OpenFile(s.path)
	if err != nil {
		return err
	}
	err = s.reader.Close()
	s.reader, s.queue = r, nil
	return err
}

// Close releases the file.
func (s *Stream) Close() error { return s.reader.Close() }

// Next returns the next event: o, e, r, m, x and g, a k before the event that
// it hid something of, and i in the raw view only. Text is valid UTF-8. The
// error is io.EOF at the end, and wraps cast.ErrTruncated where the recording
// is cut off.
func (s *Stream) Next() (cast.Event, error) {
	p, err := s.next()
	return p.event, err
}

func (s *Stream) next() (piece, error) {
	for len(s.queue) == 0 {
		f, err := s.reader.Next()
		if err != nil {
			return piece{}, err
		}
		if err := s.push(f); err != nil {
			return piece{}, err
		}
	}
	p := s.queue[0]
	s.queue = s.queue[1:]
	return p, nil
}

// push queues what this view shows of f.
func (s *Stream) push(f recorder.Frame) error {
	switch f.Code {
	case cast.CodeInput:
		if s.view == Raw {
			s.pushBytes(f, f.Raw)
		}
	case cast.CodeOutput, cast.CodeStderr:
		for _, m := range f.Masks {
			if err := s.pushMask(f, m); err != nil {
				return err
			}
		}
		if s.view == Raw {
			s.pushBytes(f, f.Raw)
		} else {
			s.pushBytes(f, f.View())
		}
	default:
		s.queue = append(s.queue, piece{event: cast.Event{Time: f.Time, Code: f.Code, Data: f.Text}})
	}
	return nil
}

func (s *Stream) pushBytes(f recorder.Frame, b []byte) {
	text := strings.ToValidUTF8(string(b), "\uFFFD")
	s.queue = append(s.queue, piece{event: cast.Event{Time: f.Time, Code: f.Code, Data: text}, bytes: b})
}

func (s *Stream) pushMask(f recorder.Frame, m redact.Mask) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	s.queue = append(s.queue, piece{event: cast.Event{Time: f.Time, Code: cast.CodeMask, Data: string(data)}})
	return nil
}
