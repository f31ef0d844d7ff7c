package sealed

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"sallyport/recorder/cast"
)

const (
	segment      = "segment" // in errors
	segMagic     = "SALLYSEG"
	headerSize   = 116
	footerFixed  = 64 // bytes of a footer before the index
	indexEntry   = 32
	trailerSize  = 16
	trailerMagic = "SALLYEND"
	maxMicros    = uint64(cast.MaxTime / time.Microsecond)
)

// Header says which piece of which recording a segment is.
type Header struct {
	ID                ID
	Number            uint32        // from 0
	Prev              [32]byte      // SHA-256 of the segment before, zeros for number 0
	FirstSeq, NextSeq uint64        // the journal's sequence numbers covered, NextSeq is the first that is not
	From, To          time.Duration // of the first and last event; both zero without events
}

// Info describes a segment.
type Info struct {
	Header
	SHA256                               [32]byte // of the whole object; zero from Open, which does not read it all
	Size                                 int64    // bytes of the object
	Events, Masks                        int64    // events with input, without masks; masks
	OutputBytes, StderrBytes, InputBytes int64    // raw bytes of o, e and i
}

// BlockInfo describes one block: a run of events that are read together.
type BlockInfo struct {
	From, To time.Duration // of the first and the last event
	Events   int           // with input
	Offset   int64         // where its view frame begins, in bytes
	ViewSize int64         // bytes of its view frame
	RawSize  int64         // bytes of its raw frame, 0 where nothing is hidden
}

// segHeader is the head of a segment as it is stored.
type segHeader struct {
	id          ID
	number      uint32
	prev        [32]byte
	salt        [16]byte
	viewC, rawC check
}

// append serializes h. The result is also the salt of the segment's keys.
func (h *segHeader) append(b []byte) []byte {
	at := len(b)
	b = append(b, segMagic...)
	b = binary.BigEndian.AppendUint16(b, Version)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint32(b, h.number)
	b = append(b, h.id[:]...)
	b = append(b, h.prev[:]...)
	b = append(b, h.salt[:]...)
	b = append(b, h.viewC[:]...)
	b = append(b, h.rawC[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// parseHeader reads the head of a segment. The checksum is no protection: it
// tells a damaged key check value from a wrong key.
func parseHeader(b []byte) (*segHeader, error) {
	if err := preamble(segment, segMagic, b, headerSize); err != nil {
		return nil, err
	}
	if crc32.Checksum(b[:headerSize-4], castagnoli) != binary.BigEndian.Uint32(b[headerSize-4:]) {
		return nil, fault(segment, 0, ErrDamaged, "the header's checksum is wrong")
	}
	return &segHeader{
		number: binary.BigEndian.Uint32(b[12:]), id: ID(b[16:32]), prev: [32]byte(b[32:64]),
		salt: [16]byte(b[64:80]), viewC: check(b[80:96]), rawC: check(b[96:112]),
	}, nil
}

// footer is the last frame of a segment.
type footer struct {
	firstSeq, nextSeq         uint64
	events, masks             uint64
	output, stderr, input     uint64
	contextSize, keyframeSize uint32 // bytes of these frames, 0 where there is none
	index                     []block
}

// block is one entry of the index.
type block struct {
	at, view, raw, events uint32 // offset, sizes of the frames in bytes, events with input
	from, to              uint64 // microseconds
}

func (f *footer) append(b []byte) []byte {
	be := binary.BigEndian
	for _, n := range []uint64{f.firstSeq, f.nextSeq, f.events, f.masks, f.output, f.stderr, f.input} {
		b = be.AppendUint64(b, n)
	}
	b = be.AppendUint32(b, f.contextSize)
	b = be.AppendUint32(b, f.keyframeSize)
	for _, e := range f.index {
		for _, n := range []uint32{e.at, e.view, e.raw, e.events} {
			b = be.AppendUint32(b, n)
		}
		b = be.AppendUint64(b, e.from)
		b = be.AppendUint64(b, e.to)
	}
	return b
}

// parseFooter reads a footer that begins at byte at and whose frame begins at
// byte end: there the frames that the index names must end, without a gap.
func parseFooter(b []byte, at, end int64) (*footer, error) {
	be := binary.BigEndian
	if len(b) < footerFixed || (len(b)-footerFixed)%indexEntry != 0 {
		return nil, fault(segment, at, ErrDamaged, "a footer of %d bytes", len(b))
	}
	f := &footer{
		firstSeq: be.Uint64(b), nextSeq: be.Uint64(b[8:]), events: be.Uint64(b[16:]), masks: be.Uint64(b[24:]),
		output: be.Uint64(b[32:]), stderr: be.Uint64(b[40:]), input: be.Uint64(b[48:]),
		contextSize: be.Uint32(b[56:]), keyframeSize: be.Uint32(b[60:]),
		index: make([]block, 0, (len(b)-footerFixed)/indexEntry),
	}
	next, last, events := int64(headerSize)+int64(f.contextSize)+int64(f.keyframeSize), uint64(0), uint64(0)
	for o := footerFixed; o < len(b); o += indexEntry {
		e := block{
			at: be.Uint32(b[o:]), view: be.Uint32(b[o+4:]), raw: be.Uint32(b[o+8:]), events: be.Uint32(b[o+12:]),
			from: be.Uint64(b[o+16:]), to: be.Uint64(b[o+24:]),
		}
		where := at + int64(o)
		switch {
		case int64(e.at) != next:
			return nil, fault(segment, where, ErrDamaged, "the index has a block at byte %d instead of %d", e.at, next)
		case !frameFits(e.view) || e.raw != 0 && !frameFits(e.raw):
			return nil, fault(segment, where+4, ErrDamaged, "the index has frames of %d and %d bytes", e.view, e.raw)
		case e.events == 0 || e.events > MaxBlockEvents:
			return nil, fault(segment, where+12, ErrDamaged, "the index has a block of %d events", e.events)
		case e.from < last || e.to < e.from || e.to > maxMicros:
			return nil, fault(segment, where+16, ErrDamaged, "the index has a block from %d to %d microseconds", e.from, e.to)
		}
		next, last, events = next+int64(e.view)+int64(e.raw), e.to, events+uint64(e.events)
		f.index = append(f.index, e)
	}
	switch {
	case next != end:
		return nil, fault(segment, at, ErrDamaged, "the index ends at byte %d and the frames at byte %d", next, end)
	case f.nextSeq < f.firstSeq:
		return nil, fault(segment, at, ErrDamaged, "it covers the journal from %d to %d", f.firstSeq, f.nextSeq)
	case f.events != events:
		return nil, fault(segment, at+16, ErrDamaged, "%d events are counted and %d are in the index", f.events, events)
	case max(f.masks, f.output, f.stderr, f.input) > MaxSegment*MaxPlain:
		return nil, fault(segment, at+24, ErrDamaged, "its counts are larger than a segment")
	}
	for i, n := range []uint32{f.contextSize, f.keyframeSize} {
		if n != 0 && !frameFits(n) {
			return nil, fault(segment, at+56+4*int64(i), ErrDamaged, "a frame of %d bytes", n)
		}
	}
	return f, nil
}

// frameFits reports whether a frame can have n bytes.
func frameFits(n uint32) bool {
	return n >= frameHeaderSize+tagSize && n <= frameHeaderSize+tagSize+MaxPlain
}

func micros(us uint64) time.Duration { return time.Duration(us) * time.Microsecond }
