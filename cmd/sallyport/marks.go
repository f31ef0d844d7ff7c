package main

import (
	"context"
	"errors"
	"time"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/catalog"
)

// newKeeper returns what holds and destroys recordings of a store, with its
// marks in the catalog and its acts in the ledger. retention is that of
// recordings that have none of their own.
func newKeeper(store archive.Store, cat *catalog.Catalog, enter func(context.Context, ...policy.Entry) error) *archive.Keeper {
	return &archive.Keeper{
		Store: store, Marker: marker{cat},
		Enter: func(ctx context.Context, act archive.Act, id, reason, by, key string) error {
			e := policy.Entry{Session: policy.SessionID(id), Detail: map[string]string{"reason": reason, "by": by}}
			switch act {
			case archive.Held:
				e.Kind = policy.EntryHold
			case archive.Released:
				e.Kind = policy.EntryUnhold
			case archive.Shredded:
				e.Kind = policy.EntryShred
				e.Ref = map[string]string{"key": key}
			}
			return enter(ctx, e)
		},
		Forget: func(ctx context.Context, id string) error {
			r, err := cat.Recording(ctx, policy.SessionID(id))
			if errors.Is(err, catalog.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			return cat.PutRecording(ctx, expired(r.Session.ID))
		},
	}
}

// expired is what the index holds of a recording whose keys were destroyed: no
// more than its id says.
func expired(id policy.SessionID) policy.Recording {
	return policy.Recording{Session: policy.Session{ID: id, Start: id.Time()},
		Summary: policy.Summary{ID: id, State: policy.RecordingExpired}}
}

// marker keeps the marks of recordings in the catalog.
type marker struct{ *catalog.Catalog }

func (m marker) Mark(ctx context.Context, id string, f func(archive.Marks) error) error {
	return m.Catalog.Mark(ctx, policy.SessionID(id), func(x *catalog.Marks) error { return f(marks{x}) })
}

func (m marker) Doomed(ctx context.Context) ([]string, error) {
	return plain(m.Catalog.Doomed(ctx))
}

func (m marker) Over(ctx context.Context, now time.Time, otherwise time.Duration) ([]string, error) {
	return plain(m.Catalog.Over(ctx, now, otherwise))
}

func plain(ids []policy.SessionID, err error) ([]string, error) {
	var all []string
	for _, id := range ids {
		all = append(all, string(id))
	}
	return all, err
}

// marks are those of one recording.
type marks struct{ *catalog.Marks }

func (m marks) Hold() (archive.Hold, bool, error) {
	h, ok, err := m.Marks.Hold()
	return archive.Hold(h), ok, err
}

func (m marks) PutHold(h archive.Hold) error { return m.Marks.PutHold(catalog.Hold(h)) }

func (m marks) Tombstone() (archive.Tombstone, bool, error) {
	t, ok, err := m.Marks.Tombstone()
	return archive.Tombstone(t), ok, err
}

func (m marks) PutTombstone(t archive.Tombstone) error {
	return m.Marks.PutTombstone(catalog.Tombstone(t))
}
