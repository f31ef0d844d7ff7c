package recorder

import "sync"

// Sizes of line buffers in bytes: what an idle recording keeps, what a busy one
// borrows, and what is too big to be lent again.
const (
	smallLines = 1 << 10
	bigLines   = 64 << 10
	hugeLines  = 2 << 20
)

var lineBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, bigLines)
	return &b
}}

// room returns b with space for n more bytes, borrowing memory for more than a
// small buffer holds.
func room(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	if len(b)+n <= smallLines {
		return append(make([]byte, 0, smallLines), b...)
	}
	if cap(b) >= bigLines {
		return b // append doubles it
	}
	big := append((*lineBuffers.Get().(*[]byte))[:0], b...)
	return big
}

// giveBack returns what of b is worth keeping for the same recording, empty.
func giveBack(b []byte) []byte {
	switch {
	case cap(b) < bigLines:
		return b[:0]
	case cap(b) <= hugeLines:
		b = b[:0]
		lineBuffers.Put(&b)
	}
	return nil
}
