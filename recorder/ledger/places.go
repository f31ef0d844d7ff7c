package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Place is somewhere outside that remembers checkpoints, so that a ledger that
// was rolled back, or made anew, does not go unnoticed.
type Place interface {
	// Name says where it is, without credentials.
	Name() string
	// Send hands it a checkpoint, and returns once it has that.
	Send(ctx context.Context, checkpoint []byte) error
	// Last returns the newest checkpoint that it remembers; nothing where it
	// remembers none or cannot say.
	Last(ctx context.Context) ([]byte, error)
}

// placeTimeout bounds what a place may take.
const placeTimeout = 10 * time.Second

// FilePlace is a file, best on another machine's disk. It never goes back to a
// smaller tree. Its folder must be there: one that is made could hide that a
// disk is not mounted.
func FilePlace(path string, v note.Verifier) Place {
	return &filePlace{path, v, make(chan struct{}, 1)}
}

type filePlace struct {
	path     string
	verifier note.Verifier
	busy     chan struct{} // holds a token while something is asked of the disk
}

func (p *filePlace) Name() string { return p.path }

func (p *filePlace) Send(ctx context.Context, checkpoint []byte) error {
	next, err := OpenCheckpoint(checkpoint, p.verifier)
	if err != nil {
		return err
	}
	return p.ask(ctx, func() error {
		last, err := p.last()
		if err != nil {
			return err
		}
		if last != nil {
			t, err := OpenCheckpoint(last, p.verifier)
			if err != nil {
				return fmt.Errorf("%s holds something else than this ledger's checkpoint: %w", p.path, err)
			}
			if t.N > next.N || t.N == next.N && t.Hash != next.Hash {
				return fmt.Errorf("%w: %s remembers %d entries, and this checkpoint covers %d; once it is known why, move that file away", ErrRolledBack, p.path, t.N, next.N)
			}
		}
		return writeDurably(p.path, checkpoint, 0o644, Options{Write: (*os.File).Write, Sync: (*os.File).Sync, Rename: os.Rename})
	})
}

func (p *filePlace) Last(ctx context.Context) (text []byte, err error) {
	err = p.ask(ctx, func() (err error) {
		text, err = p.last()
		return err
	})
	if err != nil {
		return nil, err // and text may still be written
	}
	return text, nil
}

func (p *filePlace) last() ([]byte, error) {
	text, err := readBounded(p.path, maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		_, err := os.Stat(filepath.Dir(p.path))
		return nil, err
	}
	if len(text) == 0 {
		return nil, err
	}
	return text, err
}

// ask does f, but does not wait for a disk that hangs, as one of another
// machine can for ever. There is one f at a time, which ends when the disk
// answers.
func (p *filePlace) ask(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, placeTimeout, fmt.Errorf("the disk of %s has not answered for %v", p.path, placeTimeout))
	defer cancel()
	select {
	case p.busy <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	go func() {
		err := f()
		<-p.busy
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
