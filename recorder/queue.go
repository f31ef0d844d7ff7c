package recorder

import "sync"

// Sizes of segments in bytes. A session that only echoes keys never needs more
// than the small ones.
const (
	smallSegment = 1 << 10
	bigSegment   = 32 << 10
)

var (
	smallSegments = sync.Pool{New: func() any { return &segment{buf: make([]byte, smallSegment)} }}
	bigSegments   = sync.Pool{New: func() any { return &segment{buf: make([]byte, bigSegment)} }}
)

// segment is a piece of a queue's memory; buf[from:to] waits.
type segment struct {
	buf      []byte
	from, to int
	next     *segment
}

func (s *segment) release() {
	s.from, s.to, s.next = 0, 0, nil
	if len(s.buf) == smallSegment {
		smallSegments.Put(s)
	} else {
		bigSegments.Put(s)
	}
}

// queue holds the view of one stream between Output and Next. Positions count
// bytes since the start of the stream: taken <= durable <= written <= end.
type queue struct {
	head, tail *segment
	taken      int64 // given out by take
	durable    int64 // on disk
	written    int64 // in the file
	end        int64 // pushed
	closed     bool  // nothing more is pushed
	ready      sync.Cond
}

// push appends p.
func (q *queue) push(p []byte) {
	q.end += int64(len(p))
	for len(p) > 0 {
		if q.tail == nil || q.tail.to == len(q.tail.buf) {
			q.grow(len(p))
		}
		n := copy(q.tail.buf[q.tail.to:], p)
		q.tail.to += n
		p = p[n:]
	}
}

func (q *queue) grow(n int) {
	pool := &bigSegments
	if q.head == nil && n <= smallSegment {
		pool = &smallSegments
	}
	s := pool.Get().(*segment)
	if q.tail == nil {
		q.head = s
	} else {
		q.tail.next = s
	}
	q.tail = s
}

// take returns the next durable bytes, or nothing. They hold until the next
// call, which takes their memory back.
func (q *queue) take() []byte {
	q.reuse()
	if q.durable == q.taken {
		return nil
	}
	s := q.head
	n := min(s.to-s.from, int(q.durable-q.taken))
	p := s.buf[s.from : s.from+n : s.from+n]
	s.from += n
	q.taken += int64(n)
	return p
}

// reuse releases the head once all of it was taken and is not in use any more.
func (q *queue) reuse() {
	s := q.head
	if s == nil || s.from < s.to {
		return
	}
	if q.head = s.next; q.head == nil {
		q.tail = nil
	}
	s.release()
}
