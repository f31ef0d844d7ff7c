// Package ledger keeps the account of decisions and events: an append-only
// Merkle tree of entries (RFC 6962 hashing) with signed checkpoints (C2SP
// tlog-checkpoint in a signed note), so that nothing in it can be changed or
// taken away unnoticed by whoever remembers a checkpoint (DESIGN, invariant I7).
//
// # Files
//
// entries.jsonl has one leaf a line, in order. A leaf is a JSON object with the
// keys v (1), time (RFC 3339, UTC), kind, and where they apply session, ref (an
// object of strings, public facts) and digest. The leaf's hash is that of the
// line without its line feed: SHA-256(0x00 || line).
//
// bodies/YYYY-MM-DD.jsonl has what names people and places: one line for each
// body, "DIGEST BODY". DIGEST, as in the leaf, is SHA-256 in hexadecimal of the
// body's plain text, a JSON object with the keys salt (32 random bytes in hex),
// user, target, login, source and detail. BODY is base64 (RFC 4648, section 4)
// of a 12-byte nonce and AES-256-GCM under the body key, with the digest's hex
// as additional data. Removing a file erases that day's details; the tree stays
// whole, and without the salt a digest tells nothing.
//
// checkpoint is the newest signed checkpoint: three lines (origin, size, root
// in base64), an empty one, and the signature. It never covers an entry that is
// not durable.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sallyport/policy"
)

// MaxEntry limits a leaf and a body, in bytes.
const MaxEntry = 1 << 20

// checkpointTime is how long an entry may be without a checkpoint that covers it.
const checkpointTime = time.Second

// EntryTorn is an entry that the ledger makes itself: the line before it had
// been cut off by a crash or a full disk, and was removed. Nobody was told that
// it was durable. Ref: "bytes" and "sha256" of what was there.
const EntryTorn policy.EntryKind = "ledger.torn"

// Errors that callers tell apart.
var (
	ErrClosed     = errors.New("the ledger is closed")
	ErrAltered    = errors.New("the ledger was altered")
	ErrRolledBack = errors.New("the ledger was rolled back")
	ErrWrongKey   = errors.New("the checkpoint was not signed with this ledger's key")
	ErrUnsigned   = errors.New("the ledger has no checkpoint")
)

// Options configures a Ledger. Dir, Signer and Verifier are required; the name
// of both is the checkpoints' origin.
type Options struct {
	Dir      string // made with mode 0700
	Signer   note.Signer
	Verifier note.Verifier
	BodyKey  [32]byte
	// Remembered are checkpoints that were kept elsewhere. A ledger that does
	// not hold all of them does not open, unless Accept is set: then it says
	// so in an entry, EntryRollback.
	Remembered [][]byte
	Accept     bool

	Now func() time.Time // nil is time.Now
	// Replaced by tests that inject faults; nil is write(2), fsync(2) and
	// rename(2).
	Write  func(*os.File, []byte) (int, error)
	Sync   func(*os.File) error
	Rename func(old, new string) error
}

// Ledger adds entries. It is safe for concurrent use, also by several
// processes: entries that come while others are made durable go together. One
// goroutine signs checkpoints; Close ends it.
type Ledger struct {
	o    Options
	file *os.File // entries.jsonl

	commit chan struct{} // holds a token for whoever writes
	// Of the holder of the token:
	tree   tree
	size   int64 // bytes of the file that are in tree
	signed int64 // leaves that a checkpoint covers
	broken error // of Sync: what the disk holds is unknown, nothing more is added
	day    *os.File
	dayOf  string

	mu     sync.Mutex
	next   *batch // not yet taken by a committer, nil when empty
	closed bool

	wake chan struct{} // there is something to sign
	stop chan struct{}
	done chan struct{}

	omu    sync.Mutex
	latest []byte // guarded by omu: the newest checkpoint
	news   chan struct{}
	count  int64 // guarded by omu: leaves
	since  time.Time
}

// batch is what is written and made durable at once.
type batch struct {
	items []item
	done  chan struct{} // closed once err is set
	err   error
}

// Open opens the ledger in o.Dir, or begins one. The whole tree is computed
// anew from the entries and compared with the checkpoint beside them and with
// o.Remembered. The error wraps ErrAltered, ErrRolledBack or ErrWrongKey.
func Open(o Options) (*Ledger, error) {
	if o.Dir == "" || o.Signer == nil || o.Verifier == nil {
		return nil, errors.New("the ledger needs a directory and a key")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Write == nil {
		o.Write = (*os.File).Write
	}
	if o.Sync == nil {
		o.Sync = (*os.File).Sync
	}
	if o.Rename == nil {
		o.Rename = os.Rename
	}
	l := &Ledger{o: o, commit: make(chan struct{}, 1), wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), news: make(chan struct{})}
	if err := l.open(); err != nil {
		if l.file != nil {
			l.file.Close()
		}
		return nil, fmt.Errorf("the ledger in %s cannot be opened: %w", o.Dir, err)
	}
	go l.signLoop()
	return l, nil
}

func (l *Ledger) open() error {
	if err := os.MkdirAll(filepath.Join(l.o.Dir, bodiesDir), 0o700); err != nil {
		return err
	}
	var err error
	l.file, err = os.OpenFile(filepath.Join(l.o.Dir, entriesName), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(l.o.Dir), l.o.Dir} {
		if err := l.syncDir(dir); err != nil {
			return err
		}
	}
	if err := lock(l.file); err != nil {
		return err
	}
	defer unlock(l.file)
	bad, err := l.check()
	if err != nil {
		return err
	}
	for _, e := range bad {
		if err := l.store([]item{e}); err != nil {
			return err
		}
	}
	if l.signed < l.tree.size || l.latest == nil {
		return l.sign()
	}
	return nil
}

func (l *Ledger) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return l.o.Sync(d)
}

// Append adds entries, in order and together, with the time of now where they
// have none. They are durable on return. After an error, or where ctx ends
// first, they may or may not be in the ledger. A full disk can be got over; a
// failure to make entries durable is returned for every entry from then on.
func (l *Ledger) Append(ctx context.Context, entries ...policy.Entry) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	items := make([]item, 0, len(entries))
	for _, e := range entries {
		it, err := l.item(e)
		if err != nil {
			return fmt.Errorf("the entry cannot be added to the ledger: %w", err)
		}
		items = append(items, it)
	}
	if len(items) == 0 {
		return nil
	}
	b, err := l.enqueue(items)
	if err != nil {
		return err
	}
	select {
	case l.commit <- struct{}{}:
		l.commitPending()
		<-l.commit
		return b.err // by this commit, or by one before it
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *Ledger) enqueue(items []item) (*batch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if l.next == nil {
		l.next = &batch{done: make(chan struct{})}
	}
	l.next.items = append(l.next.items, items...)
	return l.next, nil
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
	if b.err = l.locked(func() error { return l.store(b.items) }); b.err != nil {
		b.err = fmt.Errorf("the ledger in %s cannot be written: %w", l.o.Dir, b.err)
	}
	close(b.done)
}

// locked runs f while no other process adds anything, knowing what others have
// added. The caller holds the token.
func (l *Ledger) locked(f func() error) error {
	if l.broken != nil {
		return l.broken
	}
	if err := lock(l.file); err != nil {
		return err
	}
	defer unlock(l.file)
	torn, err := l.catchUp()
	if err != nil {
		return err
	}
	if torn != nil {
		if err := l.store([]item{*torn}); err != nil {
			return err
		}
	}
	return f()
}

// Close makes durable what is pending, signs a checkpoint and closes the files.
func (l *Ledger) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	<-l.done
	l.commit <- struct{}{}
	l.commitPending()
	var err error
	if l.signed < l.tree.size {
		err = l.locked(l.sign)
	}
	err = errors.Join(err, l.file.Close())
	if l.day != nil {
		err = errors.Join(err, l.day.Close())
	}
	<-l.commit
	return err
}
