package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"time"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/sealed"
)

// archived reads a recording out of an archive, one block at a time.
type archived struct {
	ctx     context.Context
	archive Archive
	id      sealed.ID
	keys    sealed.Keys
	rec     policy.Recording
	refs    []sealed.SegmentRef // with times, as far as they are known
	timed   bool                // all refs have times

	next   int // segment to open when the one at hand is read
	object archive.Object
	seg    *sealed.Segment
	blocks []sealed.BlockInfo
	block  int // to be read next
	events []sealed.Event
	after  time.Duration // events before are skipped
}

// OpenRecording opens the recording id in an archive. keys says which keys the
// caller has, out of the recording's key object: with the view key alone, a Frame
// has no bytes where something was hidden, and there is no input.
//
// A recording that still runs, and one that a crash interrupted and nobody has
// recovered, ends after its last segment. The error wraps archive.ErrNotFound
// where there is no such recording, or none that has a segment yet.
func OpenRecording(ctx context.Context, a Archive, id policy.SessionID, keys func(*sealed.KeyObject) (sealed.Keys, error)) (*Reader, error) {
	src := &archived{ctx: ctx, archive: a}
	if err := src.open(id, keys); err != nil {
		src.close()
		return nil, fmt.Errorf("recording %s: %w", id, err)
	}
	h, err := header(src.rec.Session)
	if err != nil {
		src.close()
		return nil, fmt.Errorf("recording %s: %w", id, err)
	}
	return &Reader{src: src, header: h, recording: src.rec}, nil
}

func (a *archived) open(id policy.SessionID, keys func(*sealed.KeyObject) (sealed.Keys, error)) error {
	var err error
	if a.id, err = sealed.ParseID(string(id)); err != nil {
		return err
	}
	data, err := readObject(a.ctx, a.archive, archive.KeyName(string(id)), sealed.MaxKeyObject)
	if err != nil {
		return err
	}
	object, err := sealed.ParseKeyObject(data)
	if err != nil {
		return err
	}
	if object.ID() != a.id {
		return fmt.Errorf("its key object is that of recording %s", object.ID())
	}
	if a.keys, err = keys(object); err != nil {
		return err
	}
	data, err = readObject(a.ctx, a.archive, archive.ManifestName(string(id)), sealed.MaxManifest)
	if errors.Is(err, archive.ErrNotFound) {
		return a.running()
	}
	if err != nil {
		return err
	}
	m, err := readManifest(data, a.keys, a.id)
	if err != nil {
		return err
	}
	public, _, err := sealed.ParseManifest(data)
	if err != nil {
		return err
	}
	a.rec, a.refs, a.timed = *m, public.Segments, true
	return nil
}

// running reads what there is of a recording without a manifest.
func (a *archived) running() error {
	for e, err := range a.archive.List(a.ctx, archive.RecordingPrefix(a.id.String())) {
		if err != nil {
			return err
		}
		if n := uint32(len(a.refs)); e.Name == archive.SegmentName(a.id.String(), n) {
			a.refs = append(a.refs, sealed.SegmentRef{Number: n, Size: e.Size})
		}
	}
	if len(a.refs) == 0 {
		return fmt.Errorf("it has no segment yet: %w", archive.ErrNotFound)
	}
	if err := a.openSegment(0); err != nil {
		return err
	}
	text, err := a.seg.Context(a.keys)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &a.rec.Session); err != nil {
		return fmt.Errorf("the session in segment 0 is damaged: %w", err)
	}
	a.rec.Summary = policy.Summary{ID: a.rec.Session.ID, State: policy.RecordingOpen}
	return nil
}

// openSegment goes to the first block of segment n.
func (a *archived) openSegment(n int) error {
	a.close()
	name := archive.SegmentName(a.id.String(), uint32(n))
	o, err := a.archive.Open(a.ctx, name)
	if err != nil {
		return err
	}
	a.object = o
	seg, err := sealed.Open(o, o.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	info := seg.Info()
	if info.ID != a.id || info.Number != uint32(n) {
		return fmt.Errorf("%s: it is segment %d of recording %s", name, info.Number, info.ID)
	}
	a.refs[n].From, a.refs[n].To = info.From, info.To
	a.seg, a.blocks, a.block, a.events, a.next = seg, seg.Blocks(), 0, nil, n+1
	return nil
}

// Next returns the next event.
func (a *archived) Next() (Frame, error) {
	for {
		for len(a.events) > 0 {
			e := &a.events[0]
			a.events = a.events[1:]
			if e.Time < a.after {
				continue
			}
			f, err := frameOf(e)
			if err != nil {
				return f, fmt.Errorf("recording %s, segment %d at %s: %w", a.id, a.next-1, clock(e.Time), err)
			}
			return f, nil
		}
		if err := a.read(); err != nil {
			if err != io.EOF {
				err = fmt.Errorf("recording %s: %w", a.id, err)
			}
			return Frame{}, err
		}
	}
}

// read gets the events of the next block that has some after the place to begin.
func (a *archived) read() error {
	if err := a.ctx.Err(); err != nil {
		return context.Cause(a.ctx)
	}
	for a.seg == nil || a.block == len(a.blocks) {
		if a.next >= len(a.refs) {
			return io.EOF
		}
		if err := a.openSegment(a.next); err != nil {
			return err
		}
	}
	b := a.block
	a.block++
	if a.blocks[b].To < a.after {
		return nil
	}
	events, err := a.seg.Events(b, a.keys)
	if err != nil {
		return fmt.Errorf("%s: %w", archive.SegmentName(a.id.String(), uint32(a.next-1)), err)
	}
	a.events = events
	return nil
}

// seek goes to the segment in which the recording is at time at, and returns its
// keyframe.
func (a *archived) seek(at time.Duration) ([]byte, error) {
	if len(a.refs) == 0 {
		return nil, nil
	}
	n, err := a.find(at)
	if err != nil {
		return nil, err
	}
	if a.seg == nil || a.next != n+1 {
		if err := a.openSegment(n); err != nil {
			return nil, err
		}
	}
	a.block, a.events, a.after = 0, nil, 0
	return a.seg.Keyframe(a.keys)
}

// skip leaves out the events before at.
func (a *archived) skip(at time.Duration) { a.after = at }

// find returns the last segment that begins at or before at, or the first.
func (a *archived) find(at time.Duration) (int, error) {
	var failed error
	n := sort.Search(len(a.refs), func(i int) bool {
		if !a.timed && failed == nil && a.refs[i].To == 0 {
			failed = a.openSegment(i)
		}
		return a.refs[i].From > at
	})
	return max(n-1, 0), failed
}

func (a *archived) close() error {
	o := a.object
	a.object, a.seg, a.events = nil, nil, nil
	if o == nil {
		return nil
	}
	return o.Close()
}
