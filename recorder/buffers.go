package recorder

import "sync"

// Sizes of buffers for journal records in bytes: what a recording keeps, and
// what it borrows for a piece of output.
const (
	ownBuffer = 256
	bigBuffer = maxPiece + 4<<10
)

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, bigBuffer)
	return &b
}}

// buffer lends memory for about n bytes: own, where that is enough.
func buffer(own []byte, n int) []byte {
	if n <= ownBuffer {
		if own == nil {
			own = make([]byte, 0, ownBuffer)
		}
		return own[:0]
	}
	return (*buffers.Get().(*[]byte))[:0]
}

// giveBack returns what of b the recording keeps.
func giveBack(own, b []byte) []byte {
	switch {
	case cap(b) <= 2*ownBuffer:
		return b[:0]
	case cap(b) >= bigBuffer && cap(b) <= 4*bigBuffer:
		b = b[:0]
		buffers.Put(&b)
	}
	return own
}
