package sealed

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// One encoder serves the whole process: a live one costs megabytes, and sealing
// is background work. A block is compressed at once and needs no other.
var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression),
		zstd.WithWindowSize(512<<10), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	if err != nil {
		panic(err) // only for options that contradict each other
	}
	return e
})

var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(max(MaxPlain, MaxPrivate)), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err) // only for options that contradict each other
	}
	return d
})

// compress replaces dst by plain, compressed as one zstd frame (RFC 8878).
func compress(dst, plain []byte) []byte { return encoder().EncodeAll(plain, dst[:0]) }

// decompress replaces dst by the size bytes that packed stands for. It takes no
// more memory than that, whatever packed says.
func decompress(dst, packed []byte, size int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(packed); err != nil {
		return dst, fmt.Errorf("the compressed data has no header: %w", err)
	}
	if h.Skippable || !h.HasFCS || h.FrameContentSize != uint64(size) {
		return dst, fmt.Errorf("the compressed data does not announce the %d bytes that it should be", size)
	}
	if cap(dst) < size {
		dst = make([]byte, 0, size)
	}
	plain, err := decoder().DecodeAll(packed, dst[:0:size])
	if err != nil {
		return dst, fmt.Errorf("the compressed data is damaged: %w", err)
	}
	if len(plain) != size {
		return dst, fmt.Errorf("the compressed data holds %d bytes, not %d", len(plain), size)
	}
	return plain, nil
}

// maxKept is the largest buffer, in bytes, that is lent again.
const maxKept = 1 << 20

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func takeBuffer() *[]byte { return buffers.Get().(*[]byte) }

func giveBuffer(b *[]byte) {
	if cap(*b) <= maxKept {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}
