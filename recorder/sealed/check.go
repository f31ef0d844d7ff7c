package sealed

// Check reads the header of every frame and compares it with the index. It
// needs no key.
func (s *Segment) Check() error {
	at := int64(headerSize)
	for _, f := range []struct {
		kind byte
		size uint32
	}{{frameContext, s.foot.contextSize}, {frameKeyframe, s.foot.keyframeSize}} {
		if f.size == 0 {
			continue
		}
		if err := s.checkAt(at, f.kind, f.size, nil); err != nil {
			return err
		}
		at += int64(f.size)
	}
	for i := range s.foot.index {
		e := &s.foot.index[i]
		if err := s.checkAt(int64(e.at), frameView, e.view, e); err != nil {
			return err
		}
		if e.raw == 0 {
			continue
		}
		if err := s.checkAt(int64(e.at)+int64(e.view), frameRaw, e.raw, e); err != nil {
			return err
		}
	}
	return nil
}

// checkAt checks the header of the frame at byte at.
func (s *Segment) checkAt(at int64, kind byte, size uint32, e *block) error {
	b, err := s.read(at, frameHeaderSize)
	if err != nil {
		return err
	}
	_, err = checkFrame(b, at, kind, size, e)
	return err
}

// checkFrame parses the frame header at byte at and compares it with what the
// index says: the frame's type and size and, for a block, its entry e.
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
	case e == nil:
	case h.events > e.events, e.raw == 0 && h.events != e.events:
		err = fault(segment, at+12, ErrDamaged, "%d events of a frame are %d in the index", h.events, e.events)
	case h.from != e.from || h.to != e.to:
		err = fault(segment, at+16, ErrDamaged, "a frame has other times in the index")
	}
	return h, err
}
