package journal

import (
	"bytes"
	"errors"
	"io"
)

// window is how much of a file is in memory while it is read, in bytes: more
// than the largest record.
const window = 2 * MaxData

// source reads a file through a window.
type source struct {
	r    io.ReaderAt
	size int64
	buf  []byte
	at   int64 // offset of buf in the file
}

func newSource(r io.ReaderAt, size int64) *source { return &source{r: r, size: size} }

// bytes returns up to n bytes, at most a window, from at on, fewer only at the
// end of the file. They are valid until the next call.
func (s *source) bytes(at int64, n int) ([]byte, error) {
	if at >= s.size {
		return nil, nil
	}
	n = int(min(int64(n), s.size-at))
	if at < s.at || at+int64(n) > s.at+int64(len(s.buf)) {
		if s.buf == nil {
			s.buf = make([]byte, min(window, s.size))
		}
		s.buf = s.buf[:min(int64(cap(s.buf)), s.size-at)]
		got, err := s.r.ReadAt(s.buf, at)
		if s.at, s.buf = at, s.buf[:got]; got < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // it became shorter
			}
			return nil, err
		}
	}
	return s.buf[at-s.at:][:n], nil
}

var zeros [64 << 10]byte

// nonZero returns the offset of the first byte from at on that is not zero, or
// the file's size.
func (s *source) nonZero(at int64) (int64, error) {
	for at < s.size {
		p, err := s.bytes(at, len(zeros))
		if err != nil {
			return at, err
		}
		if bytes.Equal(p, zeros[:len(p)]) {
			at += int64(len(p))
			continue
		}
		for i, b := range p {
			if b != 0 {
				return at + int64(i), nil
			}
		}
	}
	return s.size, nil
}
