package recorder

import (
	"sync"

	"sallyport/recorder/archive"
	"sallyport/recorder/sealed"
)

// maxSegmentBytes limits Options.SegmentBytes: with masks, a segment holds its
// events twice, and as JSON they may take six times their size.
const maxSegmentBytes = 8 << 20

// segments turns the batches of one recording into segments, one after the
// other. It is used by one goroutine at a time.
type segments struct {
	id       sealed.ID
	keys     sealed.Keys
	context  []byte         // the session as JSON, for segment 0
	w        *sealed.Writer // nil: the next segment has no block yet
	number   uint32
	prev     [32]byte // SHA-256 of the segment before
	first    uint64   // sequence of the first journal record that belongs to it
	keyframe []byte   // for the segment that begins
}

// segment is a finished segment on its way into the archive.
type segment struct {
	name string
	data []byte
	info sealed.Info
}

// eventLists lends memory for batch.sealed.
var eventLists = sync.Pool{New: func() any { return new([]sealed.Event) }}

// block seals a batch, whose memory is free afterwards.
func (s *segments) block(b *batch) error {
	if len(b.events) == 0 {
		return nil
	}
	list := eventLists.Get().(*[]sealed.Event)
	events, err := b.sealed((*list)[:0])
	if err == nil {
		err = s.begin().Block(events)
	}
	clear(events)
	if *list = events[:0]; cap(events) <= 2*blockEvents {
		eventLists.Put(list)
	}
	b.release()
	return err
}

// begin returns the writer of the current segment.
func (s *segments) begin() *sealed.Writer {
	if s.w == nil {
		s.w = sealed.NewWriter(s.id, s.number, s.prev, s.keys)
		if s.number == 0 {
			s.w.Context(s.context)
		}
		if len(s.keyframe) > 0 {
			s.w.Keyframe(s.keyframe)
		}
		s.keyframe = nil
	}
	return s.w
}

// cut ends the current segment before the journal record next. It returns nil
// where there is nothing in it, unless force is set.
func (s *segments) cut(next uint64, force bool) (*segment, error) {
	if s.w == nil && !force {
		s.first = next
		return nil, nil
	}
	data, info, err := s.begin().Finish(s.first, next)
	if err != nil {
		return nil, err
	}
	seg := &segment{name: archive.SegmentName(s.id.String(), s.number), data: data, info: info}
	s.w, s.first, s.prev = nil, next, info.SHA256
	s.number++
	s.context = nil
	return seg, nil
}
