package sealed

import (
	"crypto/cipher"
	"fmt"
)

// prove checks that the keys fit, and the index with the view key, once.
func (s *Segment) prove(k Keys) (cipher.AEAD, error) {
	if !k.HasView {
		return nil, fmt.Errorf("segment %d of recording %s: the view key is needed: %w", s.head.number, s.head.id, ErrNoKey)
	}
	if err := k.fits(s.head.id, s.head.viewC, s.head.rawC); err != nil {
		return nil, err
	}
	a := newGCM(k.View, s.rawHead, infoView)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proved != nil && *s.proved == k.View {
		return a, nil
	}
	if _, err := a.Open(nil, nonce(s.frame(len(s.foot.index))), s.footTag, s.rawFoot); err != nil {
		return nil, fault(segment, s.footAt, ErrDamaged, "the footer is not what was written")
	}
	s.proved = &k.View
	return a, nil
}

// frame returns the number of block's view frame; that of the footer for the
// block after the last.
func (s *Segment) frame(block int) uint32 {
	n := uint32(block)
	if s.foot.contextSize > 0 {
		n++
	}
	if s.foot.keyframeSize > 0 {
		n++
	}
	for _, e := range s.foot.index[:block] {
		if e.raw > 0 {
			n++
		}
	}
	return n
}

// Context returns what Writer.Context gave, and nil where it gave nothing.
func (s *Segment) Context(k Keys) ([]byte, error) {
	return s.early(k, frameContext, headerSize, s.foot.contextSize, 0)
}

// Keyframe returns what Writer.Keyframe gave, and nil where it gave nothing.
func (s *Segment) Keyframe(k Keys) ([]byte, error) {
	n := uint32(0)
	if s.foot.contextSize > 0 {
		n = 1
	}
	return s.early(k, frameKeyframe, headerSize+int64(s.foot.contextSize), s.foot.keyframeSize, n)
}

func (s *Segment) early(k Keys, kind byte, at int64, size, n uint32) ([]byte, error) {
	a, err := s.prove(k)
	if err != nil || size == 0 {
		return nil, err
	}
	b, err := s.read(at, int64(size))
	if err != nil {
		return nil, err
	}
	h, err := checkFrame(b, at, kind, size, nil)
	if err != nil {
		return nil, err
	}
	return openFrame(a, n, h, b, at, new([]byte))
}

// Events returns the events of a block: all of them with both keys, what
// watchers may see with the view key. Their bytes share memory that belongs to
// the caller.
func (s *Segment) Events(block int, k Keys) ([]Event, error) {
	if block < 0 || block >= len(s.foot.index) {
		return nil, fmt.Errorf("segment %d of recording %s has no block %d", s.head.number, s.head.id, block)
	}
	view, err := s.prove(k)
	if err != nil {
		return nil, err
	}
	e := &s.foot.index[block]
	n := int64(e.view)
	if k.HasRaw {
		n += int64(e.raw)
	}
	b, err := s.read(int64(e.at), n)
	if err != nil {
		return nil, err
	}
	number := s.frame(block)
	events, err := openTrack(view, number, frameView, b[:e.view], e, viewEvents)
	if err != nil || !k.HasRaw || e.raw == 0 {
		return events, err
	}
	raw, err := openTrack(newGCM(k.Raw, s.rawHead, infoRaw), number+1, frameRaw, b[e.view:], e, rawEvents)
	if err != nil {
		return nil, err
	}
	if events, err = merge(events, raw, int(e.events)); err != nil {
		return nil, fault(segment, int64(e.at)+int64(e.view), ErrDamaged, "%v", err)
	}
	return events, nil
}

// openTrack checks and decrypts frame number n, one track of the block e, and
// has its events read.
func openTrack[E any](a cipher.AEAD, n uint32, kind byte, b []byte, e *block, read func([]byte, frameHeader) ([]E, error)) ([]E, error) {
	at := int64(e.at)
	if kind == frameRaw {
		at += int64(e.view)
	}
	h, err := checkFrame(b, at, kind, uint32(len(b)), e)
	if err != nil {
		return nil, err
	}
	room := takeBuffer()
	defer giveBuffer(room)
	plain, err := openFrame(a, n, h, b, at, room)
	if err != nil {
		return nil, err
	}
	events, err := read(plain, h)
	if err != nil {
		return nil, fault(segment, at, ErrDamaged, "%v", err)
	}
	return events, nil
}
