package ledger

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxCheckpoint limits a checkpoint, in bytes.
const maxCheckpoint = 16 << 10

// formatCheckpoint returns the text of a checkpoint (C2SP tlog-checkpoint).
func formatCheckpoint(origin string, t tlog.Tree) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, t.N, base64.StdEncoding.EncodeToString(t.Hash[:]))
}

// OpenCheckpoint checks the signature of a checkpoint and returns the tree that
// it covers. The error wraps ErrWrongKey where v's key has not signed it.
func OpenCheckpoint(text []byte, v note.Verifier) (tlog.Tree, error) {
	if len(text) > maxCheckpoint {
		return tlog.Tree{}, fmt.Errorf("a checkpoint of %d bytes is too large", len(text))
	}
	n, err := note.Open(text, note.VerifierList(v))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return tlog.Tree{}, ErrWrongKey
	case errors.As(err, &invalid):
		return tlog.Tree{}, fmt.Errorf("%w: its checkpoint has a bad signature", ErrAltered)
	case err != nil:
		return tlog.Tree{}, fmt.Errorf("it is no signed checkpoint: %w", err)
	}
	return parseCheckpoint(n.Text, v.Name())
}

func parseCheckpoint(text, origin string) (tlog.Tree, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] != origin {
		return tlog.Tree{}, errors.New("it is no checkpoint of this ledger")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	root, rootErr := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || size < 0 || lines[1] != strconv.FormatInt(size, 10) || rootErr != nil || len(root) != tlog.HashSize {
		return tlog.Tree{}, errors.New("the checkpoint is damaged")
	}
	return tlog.Tree{N: size, Hash: tlog.Hash(root)}, nil
}

// signLoop signs what was added, at most once in checkpointTime.
func (l *Ledger) signLoop() {
	defer close(l.done)
	for {
		select {
		case <-l.stop:
			return
		case <-l.wake:
		}
		select {
		case <-l.stop:
			return
		case <-time.After(checkpointTime):
		}
		l.commit <- struct{}{}
		if l.signed < l.tree.size {
			if err := l.locked(l.sign); err != nil && l.broken == nil {
				l.again() // it is not durable yet, and is tried again
			}
		}
		<-l.commit
	}
}

func (l *Ledger) again() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// sign signs the tree as it is and publishes the checkpoint: staged, durable,
// renamed. The caller has the lock.
func (l *Ledger) sign() error {
	if l.synced < l.tree.size {
		// Some were written by a process that may have died before its fsync.
		if err := l.o.Sync(l.file); err != nil {
			return l.fail(err)
		}
		l.synced = l.tree.size
	}
	_ = l.writeHashes() // what this leaves out, the next one writes
	t := tlog.Tree{N: l.tree.size, Hash: l.tree.root()}
	text, err := note.Sign(&note.Note{Text: formatCheckpoint(l.o.Verifier.Name(), t)}, l.o.Signer)
	if err != nil {
		return err
	}
	path := filepath.Join(l.o.Dir, checkpointName)
	if err := writeDurably(path, text, 0o600, l.o); err != nil {
		return fmt.Errorf("the checkpoint: %w", err)
	}
	l.signed = t.N
	l.omu.Lock()
	defer l.omu.Unlock()
	l.latest, l.since, l.count = text, time.Time{}, t.N
	close(l.news)
	l.news = make(chan struct{})
	return nil
}

// Checkpoint signs all that is durable now and returns the checkpoint.
func (l *Ledger) Checkpoint(ctx context.Context) ([]byte, error) {
	select {
	case l.commit <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-l.commit }()
	if l.isClosed() {
		return nil, ErrClosed
	}
	err := l.locked(func() error {
		if l.signed == l.tree.size {
			return nil
		}
		return l.sign()
	})
	if err != nil {
		return nil, fmt.Errorf("the ledger in %s cannot be signed: %w", l.o.Dir, err)
	}
	latest, _ := l.Latest()
	return latest, nil
}

// Latest returns the newest checkpoint, and a channel that is closed when there
// is a newer one.
func (l *Ledger) Latest() ([]byte, <-chan struct{}) {
	l.omu.Lock()
	defer l.omu.Unlock()
	return l.latest, l.news
}

// Stats are figures for metrics.
type Stats struct {
	Size     int64         // entries
	Unsigned time.Duration // how long the oldest entry has been without a checkpoint
}

// Stats returns the figures of now.
func (l *Ledger) Stats() Stats {
	l.omu.Lock()
	defer l.omu.Unlock()
	s := Stats{Size: l.count}
	if !l.since.IsZero() {
		s.Unsigned = l.o.Now().Sub(l.since)
	}
	return s
}
