// Package recorder keeps the record of sessions: every byte is on disk before
// anybody sees it (DESIGN, invariant I1). A recording is one file of asciicast
// v3 in a directory, and a manifest beside it once it has ended.
//
// Events come in this order: the masks (k) of what follows, its exact bytes (b)
// where it is not UTF-8, then the output (o), standard error (e) or input (i)
// itself. A Reader puts them together again.
package recorder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"sallyport/policy"
	"sallyport/recorder/redact"
)

// DefaultMaxPending is the default of Options.MaxPending, in bytes.
const DefaultMaxPending = 1 << 20

// ErrClosed is returned for what comes after a recording or its stream was
// closed.
var ErrClosed = errors.New("the recording is closed")

// Options configures a Recorder.
type Options struct {
	Dir string // where recordings are kept; made with mode 0700

	// NewMasker makes the masker of one stream of a session; nil masks
	// nothing. Streams without a terminal have one only where the session
	// asks for it (policy.Session.RedactStreams).
	NewMasker func(policy.Session) Masker

	Now func() time.Time // the clock; nil is time.Now. Its monotonic reading is used

	// Write and Sync are how files are written and made durable, directories
	// included; nil is write(2) and fdatasync(2). After an error of either, a
	// recording ends: what the disk holds is then unknown.
	Write func(*os.File, []byte) (int, error)
	Sync  func(*os.File) error

	// MaxPending is how many bytes of output of one recording may wait to be
	// stored and delivered, in bytes; 0 is DefaultMaxPending.
	MaxPending int
}

// Masker decides what of a stream the live view hides; *redact.Masker is one.
// The Raw of all chunks, one after the other, is what was fed. A chunk ends
// within a UTF-8 sequence only where Flush must end it there; its memory is the
// masker's until the next call. Calls never overlap.
type Masker interface {
	Feed(p []byte, now time.Time) []redact.Chunk
	Flush(now time.Time) []redact.Chunk
	Deadline() (time.Time, bool)
	Resize(cols int)
}

// Recorder makes recordings in one directory, which belongs to it alone. It is
// safe for concurrent use.
type Recorder struct {
	o Options

	mu   sync.Mutex
	open map[policy.SessionID]bool // recordings that Recover leaves alone
}

// New returns a Recorder for o.Dir, which it makes.
func New(o Options) (*Recorder, error) {
	if o.Dir == "" {
		return nil, errors.New("recorder: no directory for recordings is given")
	}
	if o.MaxPending < 0 {
		return nil, fmt.Errorf("recorder: at most %d pending bytes is too few", o.MaxPending)
	}
	if o.MaxPending == 0 {
		o.MaxPending = DefaultMaxPending
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Write == nil {
		o.Write = (*os.File).Write
	}
	if o.Sync == nil {
		o.Sync = datasync
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("recorder: the directory for recordings cannot be made: %w", err)
	}
	return &Recorder{o: o, open: map[policy.SessionID]bool{}}, nil
}

// Path returns the file of the recording id in dir. The id must be one that
// policy.ParseSessionID accepts.
func Path(dir, id string) string { return filepath.Join(dir, id+castExt) }

const (
	castExt     = ".cast"
	manifestExt = ".json"
	stagedExt   = ".json.tmp"
)

// Open starts the recording of s. When it returns, the file with its header is
// durable and space for the manifest is set aside; on an error nothing is left
// behind. The caller must Close the recording.
func (r *Recorder) Open(ctx context.Context, s policy.Session) (*Recording, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if _, err := policy.ParseSessionID(string(s.ID)); err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	start := r.o.Now()
	if s.Start.IsZero() {
		s.Start = start
	}
	header, err := appendHeader(nil, s)
	if err != nil {
		return nil, fmt.Errorf("recorder: the recording of session %s cannot be opened: %w", s.ID, err)
	}
	r.setOpen(s.ID, true)
	file, err := r.create(s.ID, header)
	if err != nil {
		r.setOpen(s.ID, false)
		return nil, fmt.Errorf("recorder: the recording of session %s cannot be opened: %w", s.ID, err)
	}
	return newRecording(r, s, start, file, header), nil
}

func (r *Recorder) setOpen(id policy.SessionID, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if open {
		r.open[id] = true
	} else {
		delete(r.open, id)
	}
}

func (r *Recorder) isOpen(id policy.SessionID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[id]
}

// create makes the file of a recording durable, with its header.
func (r *Recorder) create(id policy.SessionID, header []byte) (*os.File, error) {
	path := Path(r.o.Dir, string(id))
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err = r.reserve(id, len(header)); err == nil {
		err = r.writeAll(file, header)
	}
	if err == nil {
		err = r.o.Sync(file)
	}
	if err == nil {
		err = r.syncDir()
	}
	if err != nil {
		file.Close()
		os.Remove(path)
		os.Remove(r.staged(id))
		return nil, err
	}
	return file, nil
}

// writeAll writes p to f.
func (r *Recorder) writeAll(f *os.File, p []byte) error {
	n, err := r.o.Write(f, p)
	if err == nil && n < len(p) {
		err = fmt.Errorf("%d of %d bytes were written", n, len(p))
	}
	return err
}

// syncDir makes the names in the directory durable.
func (r *Recorder) syncDir() error {
	d, err := os.Open(r.o.Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return r.o.Sync(d)
}
