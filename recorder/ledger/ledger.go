// Package ledger keeps the account of decisions and events: a file to which
// entries are only ever added, one JSON object a line, each durable before
// Append returns (DESIGN, invariant I7).
package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"sallyport/policy"
)

// MaxEntry limits one line, in bytes.
const MaxEntry = 1 << 20

// EntryTorn is an entry that the ledger makes itself: the line before it was
// cut off by a crash or a full disk. Nobody was told that it was durable.
const EntryTorn policy.EntryKind = "ledger.torn"

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("the ledger is closed")

// Ledger adds entries to a file. It is safe for concurrent use, also by several
// processes: entries that come while others are made durable go together.
type Ledger struct {
	path string
	file *os.File
	now  func() time.Time
	// Replaced by tests.
	write func(*os.File, []byte) (int, error)
	sync  func(*os.File) error

	commit chan struct{} // holds a token for whoever commits
	// Of the holder of the token:
	doubt  bool  // the file may not end with a whole line
	broken error // of Sync: what the disk holds is unknown, nothing more is added

	mu     sync.Mutex
	next   *batch // not yet taken by a committer, nil when empty
	closed bool
}

// batch is what is written and made durable at once.
type batch struct {
	lines []byte
	done  chan struct{} // closed once err is set
	err   error
}

// Open opens the ledger at path, which it makes with mode 0600 if there is
// none. A last line that a crash cut off is neither an error nor removed: the
// first Append ends it and adds an entry EntryTorn after it.
func Open(path string) (*Ledger, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the ledger cannot be opened: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the ledger cannot be opened: %w", err)
	}
	if err := syncDir(dir); err != nil {
		file.Close()
		return nil, fmt.Errorf("the ledger cannot be opened: %w", err)
	}
	return &Ledger{
		path: path, file: file, now: time.Now, write: (*os.File).Write, sync: (*os.File).Sync,
		commit: make(chan struct{}, 1), doubt: true,
	}, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Append adds e, with the time of now where it has none. It is durable on
// return. After an error, or where ctx ends first, it may or may not be in the
// ledger. A full disk can be got over; a failure to make an entry durable is
// returned for every entry from then on.
func (l *Ledger) Append(ctx context.Context, e policy.Entry) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b, err := l.enqueue(e)
	if err != nil {
		return err
	}
	select {
	case l.commit <- struct{}{}:
		l.commitPending()
		<-l.commit
		// Now b is done: by this commit, or by one before it.
		return b.err
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enqueue adds e to the batch that is committed next.
func (l *Ledger) enqueue(e policy.Entry) (*batch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	line, err := l.line(e)
	if err != nil {
		return nil, err
	}
	if l.next == nil {
		l.next = &batch{done: make(chan struct{})}
	}
	l.next.lines = append(l.next.lines, line...)
	return l.next, nil
}

// line returns e as it is stored.
func (l *Ledger) line(e policy.Entry) ([]byte, error) {
	if e.Time.IsZero() {
		e.Time = l.now()
	}
	e.Time = e.Time.UTC().Round(0)
	line, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("the entry cannot be added to the ledger: %w", err)
	}
	if len(line) >= MaxEntry {
		return nil, fmt.Errorf("the entry cannot be added to the ledger: it has %d bytes, more than the %d allowed", len(line), MaxEntry-1)
	}
	return append(line, '\n'), nil
}

// commitPending makes the pending batch durable. The caller holds the token.
func (l *Ledger) commitPending() {
	l.mu.Lock()
	b := l.next
	l.next = nil
	l.mu.Unlock()
	if b == nil {
		return
	}
	if b.err = l.store(b.lines); b.err != nil {
		b.err = fmt.Errorf("the ledger %s cannot be written: %w", l.path, b.err)
	}
	close(b.done)
}

// store writes lines after the last whole line, and makes them durable.
func (l *Ledger) store(lines []byte) error {
	if l.broken != nil {
		return l.broken
	}
	if err := lock(l.file); err != nil {
		return err
	}
	defer unlock(l.file)
	if l.doubt {
		torn, err := l.torn()
		if err != nil {
			return err
		}
		lines = append(torn, lines...)
	}
	l.doubt = true
	if err := l.add(lines); err != nil {
		return err
	}
	if err := l.sync(l.file); err != nil {
		l.broken = err
		return err
	}
	l.doubt = false
	return nil
}

// add writes lines, or takes back what it could write of them.
func (l *Ledger) add(lines []byte) error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	n, err := l.write(l.file, lines)
	if err == nil && n < len(lines) {
		err = io.ErrShortWrite
	}
	if err != nil {
		// Nobody was told that these are in the ledger. Where this fails
		// too, the next entry ends the line.
		l.file.Truncate(info.Size())
	}
	return err
}

// torn returns what must be added to a file that does not end with a whole
// line.
func (l *Ledger) torn() ([]byte, error) {
	tail, err := tail(l.file)
	if err != nil || len(tail) == 0 {
		return nil, err
	}
	var e policy.Entry
	if json.Unmarshal(tail, &e) == nil && e.Kind != "" {
		return []byte{'\n'}, nil // only the end of the line is missing
	}
	line, err := l.line(policy.Entry{Kind: EntryTorn, Detail: map[string]string{"bytes": strconv.Itoa(len(tail))}})
	return append([]byte{'\n'}, line...), err
}

// tail returns what follows the last end of a line in f, of which it looks at
// no more than one line can have.
func tail(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	for n := int64(4 << 10); ; n *= 4 {
		n = min(n, size, MaxEntry)
		buf := make([]byte, n)
		if _, err := f.ReadAt(buf, size-n); err != nil && err != io.EOF {
			return nil, err
		}
		if i := bytes.LastIndexByte(buf, '\n'); i >= 0 {
			return buf[i+1:], nil
		}
		if n == size || n == MaxEntry {
			return buf, nil
		}
	}
}

// Close makes durable what is pending and closes the file.
func (l *Ledger) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	b := l.next
	l.mu.Unlock()
	l.commit <- struct{}{}
	l.commitPending()
	err := l.file.Close()
	<-l.commit
	if b != nil {
		err = errors.Join(b.err, err)
	}
	return err
}
