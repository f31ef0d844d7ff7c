package recorder

import (
	"sync"

	"sallyport/recorder/journal"
)

// Sizes of a queue's pieces in bytes. A session that only echoes keys never
// needs more than the small ones.
const (
	smallPiece = 1 << 10
	bigPiece   = 32 << 10
)

var (
	smallPieces = sync.Pool{New: func() any { return &piece{buf: make([]byte, smallPiece)} }}
	bigPieces   = sync.Pool{New: func() any { return &piece{buf: make([]byte, bigPiece)} }}
)

// piece is a part of a queue's memory; buf[from:to] waits.
type piece struct {
	buf      []byte
	from, to int
	next     *piece
}

func (s *piece) release() {
	s.from, s.to, s.next = 0, 0, nil
	if len(s.buf) == smallPiece {
		smallPieces.Put(s)
	} else {
		bigPieces.Put(s)
	}
}

// mark says that a queue's bytes up to end are durable once lsn is.
type mark struct {
	lsn journal.LSN
	end int64
}

const (
	maxMarks  = 256
	keptMarks = 16 // that an idle queue has room for
)

// queue holds the view of one stream between Output and Next. Positions count
// bytes since the start of the stream: taken <= durable <= end.
type queue struct {
	head, tail *piece
	taken      int64 // given out by take
	durable    int64 // on disk, together with what was decided about it
	end        int64 // pushed
	marks      []mark
	closed     bool // nothing more is pushed
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
	pool := &bigPieces
	if q.head == nil && n <= smallPiece {
		pool = &smallPieces
	}
	s := pool.Get().(*piece)
	if q.tail == nil {
		q.head = s
	} else {
		q.tail.next = s
	}
	q.tail = s
}

// mark says that what was pushed so far becomes durable with lsn, which is
// later than that of any call before.
func (q *queue) mark(lsn journal.LSN) {
	if n := len(q.marks); n >= maxMarks {
		q.marks[n-1] = mark{lsn, q.end} // later than need be, and never too early
		return
	}
	q.marks = append(q.marks, mark{lsn, q.end})
}

// commit notes that all up to lsn is durable.
func (q *queue) commit(lsn journal.LSN) {
	n := 0
	for n < len(q.marks) && q.marks[n].lsn <= lsn {
		q.durable = q.marks[n].end
		n++
	}
	if n == 0 {
		return
	}
	q.marks = q.marks[:copy(q.marks, q.marks[n:])]
	if len(q.marks) == 0 && cap(q.marks) > keptMarks {
		q.marks = nil
	}
	q.ready.Signal()
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
