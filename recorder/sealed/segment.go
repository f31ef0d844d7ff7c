package sealed

import (
	"bytes"
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
