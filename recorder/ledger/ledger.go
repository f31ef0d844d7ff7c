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

// EntryTorn is an entry that the ledger makes itself: what was in its place had
// been cut off by a crash or a full disk, and was taken away. Nobody was told
// that it was durable. Ref: "bytes" and "sha256" of what was there, which is
// kept in a file torn-INDEX-DIGEST.
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
	// not hold all that they and the checkpoint beside it cover does not open,
	// unless Accept is set: then it says so in entries of EntryRollback.
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
	size   int64   // bytes of the file that are in tree
	marks  []int64 // where in the file each markEvery-th leaf begins
	synced int64   // leaves that are durable for certain
	hashed int64   // leaves whose hashes are in the file of hashes
	signed int64   // leaves that a checkpoint covers
	broken error   // of Sync: what the disk holds is unknown, nothing more is added
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
	count  int64     // guarded by omu: leaves
	since  time.Time // guarded by omu: the oldest leaf without a checkpoint came then
	failed error     // guarded by omu: broken, for those without the token
}

// batch is what is written and made durable at once.
type batch struct {
	items []item
	done  chan struct{} // closed once err is set
	err   error
}

// Open opens the ledger in o.Dir, or begins one. The whole tree is computed
// anew from the entries and compared with the checkpoint beside them and with
// o.Remembered. The error wraps ErrAltered, ErrRolledBack, ErrWrongKey or
// ErrUnsigned.
func Open(o Options) (*Ledger, error) {
	if o.Dir == "" || o.Signer == nil || o.Verifier == nil {
		return nil, errors.New("the ledger needs a directory and a key")
	}
	if o.Signer.Name() != o.Verifier.Name() || o.Signer.KeyHash() != o.Verifier.KeyHash() {
		return nil, fmt.Errorf("the ledger in %s cannot be opened: %w: its secret and its public key do not belong together", o.Dir, ErrWrongKey)
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
		l.closeFiles()
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
	add, err := l.check()
	if err != nil {
		return err
	}
	if l.tree.size == 0 && l.latest == nil {
		// Entries without a checkpoint are a sign of tampering, so the first
		// checkpoint comes before the first entry.
		if err := l.sign(); err != nil {
			return err
		}
	}
	for _, it := range add {
		if err := l.store([]item{it}); err != nil {
			return err
		}
	}
	if l.signed < l.tree.size {
		return l.sign()
	}
	return nil
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
	defer func() { <-l.commit }()
	l.commitPending()
	var err error
	if l.signed < l.tree.size {
		err = l.locked(l.sign)
	}
	return errors.Join(err, l.closeFiles())
}

func (l *Ledger) closeFiles() error {
	var err error
	for _, f := range []*os.File{l.file, l.day} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// isClosed reports whether Close was called. The holder of the token may go on
// only where it was not.
func (l *Ledger) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// fail breaks the ledger for good.
func (l *Ledger) fail(err error) error {
	l.broken = err
	l.omu.Lock()
	l.failed = err
	l.omu.Unlock()
	return err
}

// Err returns why nothing can be added any more, or nil. It does not wait for
// a disk that hangs.
func (l *Ledger) Err() error {
	l.omu.Lock()
	defer l.omu.Unlock()
	return l.failed
}
