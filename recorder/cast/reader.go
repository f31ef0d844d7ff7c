package cast

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// Reader reads a recording of either version, event by event, in bounded
// memory. It is not safe for concurrent use.
type Reader struct {
	in     *bufio.Reader
	header Header
	buf    []byte // a line that did not fit into in's buffer
	text   []byte // an event's data while it is put together
	line   int    // number of the line read last
	offset int64  // where that line begins, in bytes
	next   int64  // where the next line begins
	at     time.Duration
	err    error // what ended the reading
}

// NewReader reads the header of r. The error wraps ErrTruncated where the
// header is cut off or there is nothing at all.
func NewReader(r io.Reader) (*Reader, error) {
	c := &Reader{in: bufio.NewReaderSize(r, 32<<10)}
	line, whole, err := c.readLine(MaxHeader)
	if err == io.EOF {
		err = ErrTruncated
	}
	if err == nil {
		err = parseHeader(line, &c.header)
		if err != nil && !whole && unfinished(line) {
			err = ErrTruncated
		}
	}
	if err != nil {
		return nil, c.wrap(err)
	}
	return c, nil
}

// Header returns the header.
func (r *Reader) Header() Header { return r.header }

// Next returns the next event. The error is io.EOF at the end, wraps
// ErrTruncated where the last line is cut off, and otherwise names the line and
// what is wrong with it; it stays the same from then on.
//
// Empty lines and comments (#) are skipped. Times of version 2 that go back are
// those of the event before.
func (r *Reader) Next() (Event, error) {
	if r.err != nil {
		return Event{}, r.err
	}
	for {
		line, whole, err := r.readLine(MaxLine)
		if err == io.EOF {
			r.err = io.EOF
			return Event{}, r.err
		}
		if err != nil {
			r.err = r.wrap(err)
			return Event{}, r.err
		}
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		e, err := r.parse(line)
		if err != nil && !whole {
			err = ErrTruncated
		}
		if err != nil {
			r.err = r.wrap(err)
			return Event{}, r.err
		}
		r.at = e.Time
		return e, nil
	}
}

// Offset returns where the line read last begins, in bytes.
func (r *Reader) Offset() int64 { return r.offset }

// wrap says where err happened.
func (r *Reader) wrap(err error) error {
	return fmt.Errorf("asciicast line %d at byte %d: %w", r.line, r.offset, err)
}

// readLine returns the next line without its end and white space around it,
// and whether it had an end. The error is io.EOF where nothing is left.
func (r *Reader) readLine(limit int) (line []byte, whole bool, err error) {
	r.line++
	r.offset = r.next
	r.buf = r.buf[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		r.next += int64(len(part))
		if len(r.buf)+len(part) > limit {
			return nil, false, fmt.Errorf("the line is longer than %d bytes", limit)
		}
		if err == nil && len(r.buf) == 0 {
			return bytes.TrimSpace(part), true, nil
		}
		r.buf = append(r.buf, part...)
		switch {
		case err == nil:
			return bytes.TrimSpace(r.buf), true, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && len(r.buf) > 0:
			return bytes.TrimSpace(r.buf), false, nil
		default:
			return nil, false, err
		}
	}
}
