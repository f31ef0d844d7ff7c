package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Errors of a Keeper.
var (
	ErrHeld    = errors.New("the recording is held")
	ErrNotHeld = errors.New("the recording is not held")
	ErrRunning = errors.New("the recording is not sealed yet; it can be deleted once its session has ended")
	ErrGone    = errors.New("the recording's keys are destroyed already")
)

// Hold keeps a recording from being destroyed.
type Hold struct {
	Reason, By string
	Since      time.Time
}

// Tombstone says that a recording is to be destroyed or, when Done, was.
type Tombstone struct {
	Reason, By string
	At         time.Time
	Done       bool
}

// Marks are the hold and the tombstone of one recording, within a transaction.
type Marks interface {
	Hold() (Hold, bool, error)
	PutHold(Hold) error
	DropHold() error
	Tombstone() (Tombstone, bool, error)
	PutTombstone(Tombstone) error
	DropTombstone() error
}

// Marker keeps marks, authoritatively.
type Marker interface {
	// Mark runs f in a transaction. Nothing else reads or changes the marks of
	// the same recording meanwhile, in no process; what f did is durable once
	// Mark returns nil, and undone otherwise. f may run more than once.
	Mark(ctx context.Context, id string, f func(Marks) error) error
	// Doomed returns the recordings whose tombstone is not done.
	Doomed(ctx context.Context) ([]string, error)
	// Over returns the sealed recordings that have been kept for long enough:
	// for their own retention or, where they have none, for otherwise (never,
	// where that is zero).
	Over(ctx context.Context, now time.Time, otherwise time.Duration) ([]string, error)
}

// Act is what a Keeper does to a recording.
type Act int

// The acts.
const (
	Held Act = iota
	Released
	Shredded
)

// Keeper keeps recordings for as long as they must be kept, and destroys them
// then, by destroying their keys: segments that lie elsewhere, in backups or in
// versions of a store, cannot be opened any more either. A hold wins over a
// destruction in every order (THREATS T39): that of the keys happens in a
// transaction that has seen that there is none.
type Keeper struct {
	Store  Store
	Marker Marker
	// Enter makes an entry in the ledger, durable on return. key is the
	// SHA-256 of the key object in hexadecimal, for Shredded.
	Enter func(ctx context.Context, act Act, id, reason, by, key string) error
	// Forget takes what names people out of the index; nil does nothing. A
	// failure is returned, and the next Expire or Recover tries again.
	Forget func(ctx context.Context, id string) error
	// Retention is how long recordings without one of their own are kept
	// after their end; zero is for ever.
	Retention time.Duration
	Now       func() time.Time // nil is time.Now
}

func (k *Keeper) now() time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return time.Now()
}

// Hold keeps a recording from being destroyed until Unhold. The error is
// ErrGone where it is too late.
func (k *Keeper) Hold(ctx context.Context, id, reason, by string) error {
	return k.Marker.Mark(ctx, id, func(m Marks) error {
		if t, ok, err := m.Tombstone(); err != nil || ok && t.Done {
			return orGone(err)
		}
		if _, ok, err := m.Hold(); err != nil || ok {
			if err == nil {
				err = ErrHeld
			}
			return err
		}
		// What was doomed and is not destroyed yet will not be.
		if err := m.DropTombstone(); err != nil {
			return err
		}
		if err := k.Enter(ctx, Held, id, reason, by, ""); err != nil {
			return err
		}
		return m.PutHold(Hold{Reason: reason, By: by, Since: k.now()})
	})
}

func orGone(err error) error {
	if err == nil {
		return ErrGone
	}
	return err
}

// Unhold lifts a hold. The error is ErrNotHeld where there is none.
func (k *Keeper) Unhold(ctx context.Context, id, reason, by string) error {
	return k.Marker.Mark(ctx, id, func(m Marks) error {
		_, ok, err := m.Hold()
		if err == nil && !ok {
			err = ErrNotHeld
		}
		if err == nil {
			err = k.Enter(ctx, Released, id, reason, by, "")
		}
		if err != nil {
			return err
		}
		return m.DropHold()
	})
}

// Shred destroys the keys of a sealed recording, and then its segments. The
// manifest stays: without the keys it names nobody. The error is ErrHeld,
// ErrRunning, ErrGone, or why it could not be done; what is begun is finished
// by Recover.
func (k *Keeper) Shred(ctx context.Context, id, reason, by string) error {
	if _, err := ReadAll(ctx, k.Store, ManifestName(id), maxManifest); err != nil {
		if errors.Is(err, ErrNotFound) {
			return k.notSealed(ctx, id)
		}
		return err
	}
	err := k.Marker.Mark(ctx, id, func(m Marks) error {
		if t, ok, err := m.Tombstone(); err != nil || ok {
			if err == nil && t.Done {
				err = ErrGone
			}
			return err
		}
		if h, ok, err := m.Hold(); err != nil || ok {
			return held(h, err)
		}
		return m.PutTombstone(Tombstone{Reason: reason, By: by, At: k.now()})
	})
	if err != nil {
		return err
	}
	return k.finish(ctx, id)
}

// maxManifest limits what is read to see that there is a manifest, in bytes.
const maxManifest = 64 << 20

func held(h Hold, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w by %s since %s: %s", ErrHeld, h.By, h.Since.UTC().Format(time.DateOnly), h.Reason)
}

// notSealed says why there is no manifest.
func (k *Keeper) notSealed(ctx context.Context, id string) error {
	for e, err := range k.Store.List(ctx, RecordingPrefix(id)) {
		if err != nil {
			return err
		}
		_ = e
		return ErrRunning
	}
	return fmt.Errorf("recording %s: %w", id, ErrNotFound)
}

// finish destroys what is doomed.
func (k *Keeper) finish(ctx context.Context, id string) error {
	err := k.Marker.Mark(ctx, id, func(m Marks) error {
		t, ok, err := m.Tombstone()
		if err != nil || !ok || t.Done {
			if err == nil && !ok {
				err = fmt.Errorf("%w: somebody held it just now", ErrHeld)
			}
			return err
		}
		if h, ok, err := m.Hold(); err != nil || ok {
			return held(h, errors.Join(err, m.DropTombstone()))
		}
		key, err := ReadAll(ctx, k.Store, KeyName(id), maxManifest)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		sum := ""
		if err == nil {
			digest := sha256.Sum256(key)
			sum = hex.EncodeToString(digest[:])
		}
		if err := k.Enter(ctx, Shredded, id, t.Reason, t.By, sum); err != nil {
			return err
		}
		if err := k.Store.Delete(ctx, KeyName(id)); err != nil {
			return err
		}
		t.Done = true
		return m.PutTombstone(t)
	})
	if err != nil {
		return err
	}
	return k.sweep(ctx, id)
}

// sweep removes what a destroyed recording leaves behind.
func (k *Keeper) sweep(ctx context.Context, id string) error {
	var failed []error
	for e, err := range k.Store.List(ctx, RecordingPrefix(id)) {
		if err == nil && e.Name != ManifestName(id) && e.Name != KeyName(id) {
			err = k.Store.Delete(ctx, e.Name)
		}
		failed = append(failed, err)
	}
	if k.Forget != nil {
		failed = append(failed, k.Forget(ctx, id))
	}
	return errors.Join(failed...)
}

// Expire destroys the recordings that have been kept for long enough and are
// not held, and returns their ids. One that fails does not keep the others; the
// joined errors are returned.
func (k *Keeper) Expire(ctx context.Context, now time.Time) ([]string, error) {
	over, err := k.Marker.Over(ctx, now, k.Retention)
	if err != nil {
		return nil, err
	}
	var gone []string
	var failed []error
	for _, id := range over {
		if ctx.Err() != nil {
			return gone, errors.Join(append(failed, context.Cause(ctx))...)
		}
		err := k.Shred(ctx, id, "its retention is over", "the bastion")
		switch {
		case err == nil:
			gone = append(gone, id)
		case errors.Is(err, ErrGone):
			failed = append(failed, k.sweep(ctx, id)) // the index had it still
		case !errors.Is(err, ErrHeld):
			failed = append(failed, fmt.Errorf("recording %s: %w", id, err))
		}
	}
	return gone, errors.Join(failed...)
}

// Recover finishes what a crash interrupted.
func (k *Keeper) Recover(ctx context.Context) error {
	doomed, err := k.Marker.Doomed(ctx)
	failed := []error{err}
	for _, id := range doomed {
		if err := k.finish(ctx, id); err != nil && !errors.Is(err, ErrHeld) {
			failed = append(failed, fmt.Errorf("recording %s: %w", id, err))
		}
	}
	return errors.Join(failed...)
}
