package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	file      *os.File
	reader    *recorder.Reader
	recording policy.Recording
	view      View
	path      string
	missing   int64 // bytes that the manifest knows and the file has not
	queue     []piece
}

// piece is an event and, for o, e and i, its exact bytes in this view.
type piece struct {
	event cast.Event
	bytes []byte
}

// OpenFile opens a file without a server and without a policy: whoever can
// read the file can read it anyway. A manifest beside it is used if there is
// one.
func OpenFile(path string, view View) (*Stream, error) {
	s, err := openStream(path, policy.Recording{}, view)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	session := s.reader.Session()
	s.recording = policy.Recording{Session: session, Summary: policy.Summary{ID: session.ID}}
	if filepath.Base(path) == filepath.Base(recorder.Path("", string(session.ID))) {
		if m, err := recorder.ReadManifest(filepath.Dir(path), session.ID); err == nil {
			s.recording = m
		}
	}
	if err := s.measure(); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// openStream opens the recording r at path, which no error names: it is the
// server's own.
func openStream(path string, r policy.Recording, view View) (*Stream, error) {
	s := &Stream{path: path, recording: r, view: view}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Stream) open() error {
	f, err := os.Open(s.path)
	if err != nil {
		return unreadable(err)
	}
	r, err := recorder.NewReader(f)
	if err != nil {
		f.Close()
		return unreadable(err)
	}
	s.file, s.reader, s.queue = f, r, nil
	if err := s.measure(); err != nil {
		f.Close()
		return err
	}
	return nil
}

// measure finds out whether a whole recording has lost its end: a file that is
// cut between two events looks whole by itself.
func (s *Stream) measure() error {
	s.missing = 0
	if s.recording.Summary.State != policy.RecordingComplete {
		return nil
	}
	info, err := s.file.Stat()
	if err != nil {
		return unreadable(err)
	}
	s.missing = max(0, s.recording.Summary.Size-info.Size())
	return nil
}

// unreadable leaves the file's name out of err.
func unreadable(err error) error {
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
	old := s.file
	if err := s.open(); err != nil {
		return err
	}
	return old.Close()
}

// Close releases the file.
func (s *Stream) Close() error { return s.file.Close() }

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
		if err == io.EOF && s.missing > 0 {
			err = fmt.Errorf("the last %d bytes are missing: %w", s.missing, ErrTruncated)
		}
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
	case cast.CodeResize, cast.CodeMarker, cast.CodeExit, cast.CodeGap: // nobody knows what else may hold
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
