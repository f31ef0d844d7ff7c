package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/cast"
	"sallyport/recorder/redact"
)

// ErrTruncated is what errors wrap where a recording is cut off.
var ErrTruncated = cast.ErrTruncated

// Stream reads one recording in one view. It is not safe for concurrent use.
type Stream struct {
	open      func() (*recorder.Reader, error)
	reader    *recorder.Reader
	recording policy.Recording
	view      View
	queue     []piece
}

// piece is an event and, for o, e and i, its exact bytes in this view.
type piece struct {
	event cast.Event
	bytes []byte
}

// OpenFile opens a file of asciicast without a server and without a policy:
// whoever can read the file can read it anyway.
func OpenFile(path string, view View) (*Stream, error) {
	return newStream(view, func() (*recorder.Reader, error) { return recorder.OpenFile(path) })
}

func newStream(view View, open func() (*recorder.Reader, error)) (*Stream, error) {
	r, err := open()
	if err != nil {
		return nil, unreadable(err)
	}
	rec := r.Recording()
	rec.Summary.ID = rec.Session.ID
	s := &Stream{open: open, reader: r, view: view, recording: rec}
	// What cannot be read from its first event on is known before anything of
	// it has been given out.
	if err := s.fill(); err != nil && err != io.EOF && !errors.Is(err, ErrTruncated) {
		r.Close()
		return nil, unreadable(err)
	}
	return s, nil
}

// unreadable leaves the names of the server's own files out of err.
func unreadable(err error) error {
	if errors.Is(err, ErrSealed) || errors.Is(err, errNothingYet) {
		return err
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("the recording cannot be read: %w", err)
}

// Recording describes what is read.
func (s *Stream) Recording() policy.Recording { return s.recording }

// Header returns the asciicast header of the stored recording.
func (s *Stream) Header() cast.Header { return s.reader.Header() }

// Rewind starts again at the first event. It is the same look, so it is not
// entered again.
func (s *Stream) Rewind() error {
	r, err := s.open()
	if err != nil {
		return unreadable(err)
	}
	old := s.reader
	s.reader, s.queue = r, nil
	return old.Close()
}

// Seek makes the event at time at, or the first one after it, the next one.
func (s *Stream) Seek(at time.Duration) error {
	s.queue = nil
	return s.reader.Seek(at)
}

// Close releases what is open.
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
	if err := s.fill(); err != nil {
		return piece{}, err
	}
	p := s.queue[0]
	s.queue = s.queue[1:]
	return p, nil
}

// fill reads until something is queued.
func (s *Stream) fill() error {
	for len(s.queue) == 0 {
		f, err := s.reader.Next()
		if err != nil {
			return err
		}
		if err := s.push(f); err != nil {
			return err
		}
	}
	return nil
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
		} else if f.Undecided {
			s.queue = append(s.queue, piece{event: cast.Event{Time: f.Time, Code: cast.CodeGap, Data: undecided}})
		} else {
			s.pushBytes(f, f.View())
		}
	case cast.CodeResize, cast.CodeMarker, cast.CodeExit, cast.CodeGap: // nobody knows what else may hold
		s.queue = append(s.queue, piece{event: cast.Event{Time: f.Time, Code: f.Code, Data: f.Text}})
	}
	return nil
}

// undecided stands in the masked view for output that came in the moment in
// which the bastion stopped.
const undecided = "output that redaction had not judged when the bastion stopped"

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
