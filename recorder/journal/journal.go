// Package journal is a node's write-ahead log: the records of all sessions in
// one set of files, each record sealed, with group commit. What Append has told
// a Waiter, and what Sync has returned for, survives a power cut; what Write
// has returned for survives the death of the process.
//
// # Files
//
// A file is NNNNNNNNNNNNNNNN.wal, its number in hexadecimal, from 1. Integers
// are big-endian.
//
//	offset size
//	0      8    "SALLYWAL"
//	8      2    version, 1
//	10     2    zero
//	12     4    CRC-32C of the header's 72 bytes, this field taken as zero
//	16     8    the file's number
//	24     32   salt
//	56     16   check value
//	72          records
//
// The file's key is HKDF-SHA256 (RFC 5869) of the journal key with the salt and
// the info "sallyport journal v1" and the number (8 bytes), 48 bytes long: 32 of
// the AES key, 16 of the check value, by which a wrong key is told from damage.
//
// A record is a length (4 bytes: that of what follows) and AES-256-GCM of its
// plain text, tag included. The nonce is four zero bytes and the offset of the
// length in the file (8 bytes); the length is the additional data. The plain
// text is
//
//	0      16   session
//	16     8    sequence
//	24     8    time in nanoseconds
//	32     1    kind
//	33          data
//
// Files are allocated whole, so a length of zero is the end.
//
// The journal goes on in the next file only once all of a file is durable. What
// stands first in that next file is then a link, 0x80000020 in place of the
// length, and 32 bytes sealed as a record is: number and end of the file
// before, 8 bytes each, and the tag. So a file that is followed by a link must
// be whole up to that end. The first file after a start has no link: a crash may
// have cut off the last records of the one before, and these nobody was told
// were durable.
package journal

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Sizes in bytes.
const (
	DefaultFileSize   = 64 << 20
	DefaultReserve    = 1 << 20
	DefaultMaxPending = 8 << 20
	MaxData           = 1 << 20 // of one record
)

const (
	// syncTime is how long a record may be without an fsync.
	syncTime = 100 * time.Millisecond
	// retryTime is how long after a failure the next file is tried again.
	retryTime = time.Second
)

var (
	// ErrFull says that the disk has no space for another file. The journal
	// goes on: AppendClosing still fits, and once there is space, all else.
	ErrFull = errors.New("the journal is full: the disk has no space for its next file")
	// ErrClosed says that the journal was closed.
	ErrClosed = errors.New("the journal is closed")
	// ErrWrongKey says that a file was written with another key.
	ErrWrongKey = errors.New("the journal was written with another key")
)

// ID names a session.
type ID [16]byte

// Record is one entry of the journal. Kind and Data mean what the caller wants.
type Record struct {
	Session ID
	Seq     uint64
	Time    time.Duration
	Kind    byte
	Data    []byte // at most MaxData
}

// LSN is the place of a record's end: the number of the file, and the offset in
// its low 40 bits. It grows from record to record.
type LSN uint64

const (
	offsetBits = 40
	maxNumber  = 1<<(64-offsetBits) - 1 // of a file
)

func lsn(file uint64, offset int64) LSN { return LSN(file<<offsetBits | uint64(offset)) }

// File returns the number of the file that l lies in.
func (l LSN) File() uint64 { return uint64(l) >> offsetBits }

// Waiter is told when records are durable. Committed is called by one goroutine
// at a time and must neither block nor call the journal. An err is final: what
// the disk holds beyond the last upTo is then unknown. A Waiter must be
// comparable, as a pointer is.
type Waiter interface {
	Committed(upTo LSN, err error)
}

// Options configures a Journal. Only Dir and Key are required.
type Options struct {
	Dir      string
	Key      [32]byte
	FileSize int64 // bytes of a file
	Reserve  int64 // bytes at a file's end that only AppendClosing uses
	// MaxPending is how many bytes may wait to be written before Append blocks.
	MaxPending int
	// Replaced by tests that inject faults; nil is write(2), fdatasync(2) and
	// fallocate(2). Sync is also called for the directory.
	Write    func(*os.File, []byte) (int, error)
	Sync     func(*os.File) error
	Allocate func(*os.File, int64) error
	Now      func() time.Time
	// NoSync leaves out every fsync, to measure what they cost. Nothing
	// survives a power cut then.
	NoSync bool
}

// Stats are figures for metrics.
type Stats struct {
	Files      int
	Bytes      int64 // of all files, as allocated, and of the next one
	Records    uint64
	Commits    uint64
	LastCommit time.Duration // how long the last write and fsync took
	Full       bool          // the next file could not be made
}

// Journal is an open journal. It is safe for concurrent use.
//
// Records are put into a batch (under mu); whoever writes takes the batch
// (under wmu) and appends it to the file; the committer, the one goroutine,
// makes what is written durable and tells the waiters. Close ends it. Lock
// order: releasing, wmu, mu.
type Journal struct {
	o    Options
	lock *os.File
	old  []uint64 // files of earlier runs; fixed

	releasing sync.Mutex // one Release at a time

	wmu  sync.Mutex
	file *file // being written; wmu and mu to change it

	mu      sync.Mutex
	space   sync.Cond      // the batch was taken, or the journal failed
	batch   []byte         // sealed records not yet written
	spare   []byte         // memory for the next batch
	waiting map[Waiter]LSN // the last record that each waits for
	end     int64          // offset of the end of batch in file
	written LSN            // in the file
	durable LSN
	synced  sync.Cond // durable grew, or the journal failed or ended
	wanted  bool      // somebody waits for an fsync
	since   time.Time // when the oldest record without an fsync came; zero: all have one
	next    *file     // made ahead
	making  bool      // next is being made
	made    sync.Cond // next was made, or could not be
	full    error     // why next could not be made
	lastTry time.Time // when it was tried
	files   []listed  // in order; the last is file
	stats   Stats
	err     error
	closed  bool
	ended   bool // the committer has gone

	told []Waiter // memory of tell; the committer's

	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}
	failed chan struct{}
}

// listed is a file on the disk.
type listed struct {
	number uint64
	size   int64 // bytes
}

// Durable returns up to where everything is durable.
func (j *Journal) Durable() LSN {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable
}

// Current returns the number of the file that is written.
func (j *Journal) Current() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.number
}

// Failed is closed when the journal cannot go on; Err then says why.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Err returns why the journal cannot go on, or nil while it can.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Stats returns the figures of now.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	s.Files, s.Full = len(j.files), j.full != nil
	for _, f := range j.files {
		s.Bytes += f.size
	}
	if j.next != nil {
		s.Bytes += j.o.FileSize
	}
	return s
}

// fail ends the journal for good. The caller holds mu.
func (j *Journal) fail(err error) {
	if j.err != nil {
		return
	}
	j.err = fmt.Errorf("the journal cannot be written any more: %w", err)
	close(j.failed)
	j.space.Broadcast()
	j.synced.Broadcast()
	j.kick()
}

func (j *Journal) kick() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}
