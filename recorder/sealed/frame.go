package sealed

import (
	"crypto/cipher"
	"encoding/binary"
)

// The types of frames, in the order in which they stand in a segment.
const (
	frameContext  = 1
	frameKeyframe = 2
	frameView     = 3 // the view track of a block
	frameRaw      = 4 // the raw track of the block before
	frameFooter   = 5 // index and counts, in clear
)

const (
	frameHeaderSize = 32
	tagSize         = 16
	flagZstd        = 1 // the plain text was compressed
)

// frameHeader is what stands in clear before each frame's body. It is
// additional data of the body's AEAD.
type frameHeader struct {
	kind, flags byte
	body        uint32 // bytes that follow, tag included
	plain       uint32 // bytes after decompression
	events      uint32 // events of this track
	from, to    uint64 // time of the first and last event, microseconds
}

func (h frameHeader) append(b []byte) []byte {
	b = append(b, h.kind, h.flags, 0, 0)
	b = binary.BigEndian.AppendUint32(b, h.body)
	b = binary.BigEndian.AppendUint32(b, h.plain)
	b = binary.BigEndian.AppendUint32(b, h.events)
	b = binary.BigEndian.AppendUint64(b, h.from)
	return binary.BigEndian.AppendUint64(b, h.to)
}

// parseFrameHeader reads the header at byte at of a segment and holds it to the
// limits.
func parseFrameHeader(b []byte, at int64) (frameHeader, error) {
	be := binary.BigEndian
	h := frameHeader{
		kind: b[0], flags: b[1], body: be.Uint32(b[4:]), plain: be.Uint32(b[8:]),
		events: be.Uint32(b[12:]), from: be.Uint64(b[16:]), to: be.Uint64(b[24:]),
	}
	switch {
	case h.kind < frameContext || h.kind > frameFooter:
		return h, fault(segment, at, ErrDamaged, "%d is no type of a frame", h.kind)
	case h.flags&^flagZstd != 0 || b[2] != 0 || b[3] != 0 || h.kind == frameFooter && h.flags != 0:
		return h, fault(segment, at+1, ErrDamaged, "reserved bits of a frame are not zero")
	case h.plain > MaxPlain:
		return h, fault(segment, at+8, ErrDamaged, "a frame of %d bytes is larger than the %d allowed", h.plain, MaxPlain)
	case h.body < tagSize || h.body > MaxPlain+tagSize,
		h.flags&flagZstd == 0 && h.body != h.plain+tagSize,
		h.flags&flagZstd != 0 && h.body >= h.plain+tagSize:
		return h, fault(segment, at+4, ErrDamaged, "a frame of %d bytes cannot hold %d", h.body, h.plain)
	case h.events > MaxBlockEvents:
		return h, fault(segment, at+12, ErrDamaged, "%d events in a frame are more than the %d allowed", h.events, MaxBlockEvents)
	case h.from > h.to || h.to > maxMicros:
		return h, fault(segment, at+16, ErrDamaged, "a frame lasts from %d to %d microseconds", h.from, h.to)
	}
	return h, nil
}

// nonce is that of the frame number n: 4 zero bytes, then n. The key belongs to
// one track of one segment, so no nonce is used twice.
func nonce(n uint32) []byte {
	b := make([]byte, 12)
	binary.BigEndian.PutUint64(b[4:], uint64(n))
	return b
}

// appendFrame seals plain as frame number n. h says what the frame is; its
// sizes and flags are set here.
func appendFrame(dst []byte, a cipher.AEAD, n uint32, h frameHeader, plain []byte) []byte {
	body := plain
	h.plain, h.flags = uint32(len(plain)), 0
	packed := takeBuffer()
	defer giveBuffer(packed)
	if *packed = compress(*packed, plain); len(*packed) < len(plain) {
		body, h.flags = *packed, flagZstd
	}
	h.body = uint32(len(body) + tagSize)
	at := len(dst)
	dst = h.append(dst)
	return a.Seal(dst, nonce(n), body, dst[at:])
}

// openFrame decrypts and decompresses frame number n, which begins at byte at.
// The result lies in the memory of frame, or in that of room, which grows where
// it must.
func openFrame(a cipher.AEAD, n uint32, h frameHeader, frame []byte, at int64, room *[]byte) ([]byte, error) {
	body := frame[frameHeaderSize:]
	body, err := a.Open(body[:0], nonce(n), body, frame[:frameHeaderSize])
	if err != nil {
		return nil, fault(segment, at, ErrDamaged, "a frame of %d bytes does not decrypt", len(frame))
	}
	if h.flags&flagZstd == 0 {
		return body, nil
	}
	if *room, err = decompress(*room, body, int(h.plain)); err != nil {
		return nil, fault(segment, at+frameHeaderSize, ErrDamaged, "%v", err)
	}
	return *room, nil
}
