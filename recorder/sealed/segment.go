package sealed

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Segment is an open segment. Its methods may be called concurrently where its
// ReaderAt may.
type Segment struct {
	r       io.ReaderAt
	size    int64
	head    *segHeader
	rawHead []byte // head as it is stored: the salt of the keys
	foot    *footer
	footAt  int64  // where the footer's frame begins
	rawFoot []byte // that frame, without its tag
	footTag []byte

	mu     sync.Mutex
	proved *[32]byte // the view key that has opened the footer's tag
}

// Open reads the header and the index of a segment of size bytes. It needs no
// key, and so proves nothing: Check does for structure, the keys do for the
// rest, and SHA-256 against ledger or manifest does for all. Errors wrap
// ErrTruncated, ErrDamaged or ErrVersion, and say at which byte.
func Open(r io.ReaderAt, size int64) (*Segment, error) {
	s := &Segment{r: r, size: size}
	head, err := s.read(0, min(size, headerSize))
	if err != nil {
		return nil, err
	}
	if s.head, err = parseHeader(head); err != nil {
		return nil, err
	}
	s.rawHead = head
	if size > MaxSegment {
		return nil, fault(segment, MaxSegment, ErrDamaged, "%d bytes are more than the %d allowed", size, MaxSegment)
	}
	if err := s.openFooter(); err != nil {
		if cut := s.findCut(); cut != nil {
			return nil, cut
		}
		return nil, err
	}
	return s, nil
}

// openFooter reads the end of the segment.
func (s *Segment) openFooter() error {
	const least = headerSize + frameHeaderSize + footerFixed + tagSize + trailerSize
	if s.size < least {
		return fault(segment, s.size, ErrTruncated, "the smallest has %d bytes", least)
	}
	trailer, err := s.read(s.size-trailerSize, trailerSize)
	if err != nil {
		return err
	}
	if string(trailer[8:]) != trailerMagic {
		return fault(segment, s.size-8, ErrDamaged, "it does not end with %s", trailerMagic)
	}
	at := binary.BigEndian.Uint64(trailer)
	if at < headerSize || at > uint64(s.size-trailerSize-frameHeaderSize-tagSize) {
		return fault(segment, s.size-trailerSize, ErrDamaged, "the footer cannot be at byte %d", at)
	}
	s.footAt = int64(at)
	n := s.size - trailerSize - s.footAt
	if n > frameHeaderSize+footerFixed+MaxBlocks*indexEntry+tagSize {
		return fault(segment, s.footAt, ErrDamaged, "a footer of %d bytes is larger than any", n)
	}
	frame, err := s.read(s.footAt, n)
	if err != nil {
		return err
	}
	s.rawFoot, s.footTag = frame[:n-tagSize], frame[n-tagSize:]
	body := s.rawFoot[frameHeaderSize:]
	if s.foot, err = parseFooter(body, s.footAt+frameHeaderSize, s.footAt); err != nil {
		return err
	}
	if want := s.foot.head(len(body)).append(nil); !bytes.Equal(want, s.rawFoot[:frameHeaderSize]) {
		return fault(segment, s.footAt, ErrDamaged, "the footer's header does not fit its index")
	}
	return nil
}

// findCut follows the frames from the start, and returns an error where the
// segment ends before its footer does: that says more than what is wrong with
// its last bytes.
func (s *Segment) findCut() error {
	at := int64(headerSize)
	for range 2*MaxBlocks + 3 {
		b, err := s.read(at, min(s.size-at, frameHeaderSize))
		if err != nil {
			return err
		}
		if len(b) < frameHeaderSize {
			return fault(segment, s.size, ErrTruncated, "the frame at byte %d has no whole header", at)
		}
		h, err := parseFrameHeader(b, at)
		if err != nil {
			return err
		}
		next := at + frameHeaderSize + int64(h.body)
		if h.kind == frameFooter {
			next += trailerSize
		}
		if next > s.size {
			return fault(segment, s.size, ErrTruncated, "the frame at byte %d goes on to byte %d", at, next)
		}
		if h.kind == frameFooter {
			return nil
		}
		at = next
	}
	return nil
}

// read returns n bytes from byte at.
func (s *Segment) read(at, n int64) ([]byte, error) {
	b := make([]byte, n)
	if got, err := s.r.ReadAt(b, at); got < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			return nil, fault(segment, at+int64(got), ErrTruncated, "it should have %d bytes", s.size)
		}
		return nil, fmt.Errorf("segment at byte %d: it cannot be read: %w", at, err)
	}
	return b, nil
}

// Info describes the segment. Its SHA256 is zero: Open does not read the whole.
func (s *Segment) Info() Info { return s.foot.info(s.head, s.size) }

// Blocks describes the blocks, in order of time.
func (s *Segment) Blocks() []BlockInfo {
	out := make([]BlockInfo, len(s.foot.index))
	for i, e := range s.foot.index {
		out[i] = BlockInfo{
			From: micros(e.from), To: micros(e.to), Events: int(e.events),
			Offset: int64(e.at), ViewSize: int64(e.view), RawSize: int64(e.raw),
		}
	}
	return out
}

// Check reads the header of every frame and compares it with the index. It
// needs no key.
func (s *Segment) Check() error {
	next := int64(headerSize)
	for _, f := range []struct {
		kind byte
		size uint32
	}{{frameContext, s.foot.contextSize}, {frameKeyframe, s.foot.keyframeSize}} {
		if f.size == 0 {
			continue
		}
		b, err := s.read(next, frameHeaderSize)
		if err == nil {
			_, err = checkFrame(b, next, f.kind, f.size, nil)
		}
		if err != nil {
			return err
		}
		next += int64(f.size)
	}
	for i := range s.foot.index {
		if err := s.checkBlock(&s.foot.index[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Segment) checkBlock(e *block) error {
	b, err := s.read(int64(e.at), frameHeaderSize)
	if err != nil {
		return err
	}
	view, err := checkFrame(b, int64(e.at), frameView, e.view, e)
	if err != nil || e.raw == 0 {
		if err == nil && view.events != e.events {
			err = fault(segment, int64(e.at)+12, ErrDamaged, "%d events are %d in the index", view.events, e.events)
		}
		return err
	}
	at := int64(e.at) + int64(e.view)
	if b, err = s.read(at, frameHeaderSize); err != nil {
		return err
	}
	_, err = checkFrame(b, at, frameRaw, e.raw, e)
	return err
}

// checkFrame parses the frame header at byte at and compares it with what the
// index says.
func checkFrame(b []byte, at int64, kind byte, size uint32, e *block) (frameHeader, error) {
	h, err := parseFrameHeader(b, at)
	switch {
	case err != nil:
	case h.kind != kind:
		err = fault(segment, at, ErrDamaged, "a frame of type %d is in the place of one of type %d", h.kind, kind)
	case h.body+frameHeaderSize != size:
		err = fault(segment, at+4, ErrDamaged, "a frame of %d bytes has %d in the index", h.body+frameHeaderSize, size)
	case e == nil && (h.events != 0 || h.from != 0 || h.to != 0):
		err = fault(segment, at+12, ErrDamaged, "a frame without events announces some")
	case e != nil && (h.events > e.events || h.from != e.from || h.to != e.to):
		err = fault(segment, at+12, ErrDamaged, "events and times of a frame are others in the index")
	}
	return h, err
}

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
	return openFrame(a, n, h, b, at)
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
	at, number := int64(e.at), s.frame(block)
	h, plain, err := openTrack(view, number, frameView, b[:e.view], at, e)
	if err != nil {
		return nil, err
	}
	events, err := viewEvents(plain, h, int(e.events))
	if err == nil && e.raw == 0 && len(events) != int(e.events) {
		err = errors.New("it has not as many events as the index says")
	}
	if err != nil {
		return nil, fault(segment, at, ErrDamaged, "%v", err)
	}
	if !k.HasRaw || e.raw == 0 {
		return events, nil
	}
	at += int64(e.view)
	h, plain, err = openTrack(newGCM(k.Raw, s.rawHead, infoRaw), number+1, frameRaw, b[e.view:], at, e)
	if err != nil {
		return nil, err
	}
	raw, err := rawEvents(plain, h)
	if err == nil {
		events, err = merge(events, raw, int(e.events))
	}
	if err != nil {
		return nil, fault(segment, at, ErrDamaged, "%v", err)
	}
	return events, nil
}

// openTrack checks and decrypts one frame of a block.
func openTrack(a cipher.AEAD, n uint32, kind byte, b []byte, at int64, e *block) (frameHeader, []byte, error) {
	h, err := checkFrame(b, at, kind, uint32(len(b)), e)
	if err != nil {
		return h, nil, err
	}
	plain, err := openFrame(a, n, h, b, at)
	return h, plain, err
}
