package recorder

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/journal"
	"sallyport/recorder/redact"
)

// Defaults of Options.
const (
	DefaultMaxPending   = 1 << 20
	DefaultSegmentBytes = 4 << 20
	DefaultSegmentTime  = time.Minute
	DefaultWaitTime     = 2 * time.Minute
)

// Options configures a Recorder.
type Options struct {
	// Journal keeps every byte until it is in the archive. It belongs to this
	// Recorder alone, which does not close it.
	Journal *journal.Journal

	Archive Archive // where sealed segments go

	// Entry appends to the ledger; the entries are durable when it returns.
	Entry func(context.Context, ...policy.Entry) error

	// Entered says what the ledger holds about recordings. Recover asks, and
	// whoever tries again after Entry failed, so that no entry is made twice.
	// nil is taken for a ledger that holds nothing of them but their starts.
	Entered func(context.Context, []policy.SessionID) (map[policy.SessionID]Entered, error)

	// The recipients of the two keys of each recording (DESIGN, section 5).
	ViewRecipients, RawRecipients []age.Recipient

	// NewMasker makes the masker of one stream of a session; nil masks
	// nothing. What it hides is hidden in the stored view, and from the client
	// too where there is a terminal or the session asks for that
	// (policy.Session.RedactStreams).
	NewMasker func(policy.Session) Masker

	// Keyframe returns what paints the screen of a running session as its
	// events left it, for the segment that begins now. It is called while the
	// recording stands still, and must not call it. nil: there are none.
	Keyframe func(policy.SessionID) []byte

	// Finished is told of a recording that was sealed after its Close had
	// given up waiting for the archive or the ledger. It may be nil.
	Finished func(policy.Recording)

	Now func() time.Time // the clock; nil is time.Now. Its monotonic reading is used
	Log *slog.Logger     // nil logs nothing

	// MaxPending is how many bytes of output of one recording may wait to be
	// stored and delivered; 0 is DefaultMaxPending.
	MaxPending int

	SegmentBytes int           // events after which a segment ends, in bytes; 0 is DefaultSegmentBytes
	SegmentTime  time.Duration // activity after which a segment ends; 0 is DefaultSegmentTime
	WaitTime     time.Duration // how long bytes may wait for their segment; 0 is DefaultWaitTime
}

// Archive is where sealed objects are kept; every archive.Store is one.
type Archive interface {
	// Create stores data under a name, durably when it returns. It returns
	// nil where the same is there already, and archive.ErrExists where
	// something else is.
	Create(ctx context.Context, name string, data []byte) error
	// Open returns archive.ErrNotFound where there is no such object.
	Open(ctx context.Context, name string) (archive.Object, error)
	// List returns the objects whose names begin with prefix, in their order.
	List(ctx context.Context, prefix string) iter.Seq2[archive.Entry, error]
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

// Entered is what the ledger holds about one recording.
type Entered struct {
	Start, End bool
	Segments   int // entries of segments
}

// complete puts the defaults in.
func (o *Options) complete() error {
	switch {
	case o.Journal == nil, o.Archive == nil, o.Entry == nil:
		return errors.New("recorder: a journal, an archive and a ledger are needed")
	case len(o.ViewRecipients) == 0 || len(o.RawRecipients) == 0:
		return errors.New("recorder: recipients of the view key and of the raw key are needed")
	case o.MaxPending < 0:
		return fmt.Errorf("recorder: at most %d pending bytes is too few", o.MaxPending)
	case o.SegmentBytes < 0 || o.SegmentTime < 0 || o.WaitTime < 0:
		return errors.New("recorder: the size and times of segments must not be negative")
	}
	if o.MaxPending == 0 {
		o.MaxPending = DefaultMaxPending
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	o.SegmentBytes = min(o.SegmentBytes, maxSegmentBytes)
	if o.SegmentTime == 0 {
		o.SegmentTime = DefaultSegmentTime
	}
	if o.WaitTime == 0 {
		o.WaitTime = DefaultWaitTime
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
