package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/catalog"
)

// ArchiveCatalog is a Catalog that needs no database: it reads the manifests in
// an archive, with the view identity. It writes nothing, so it may be used
// while a server runs. It is safe for concurrent use.
type ArchiveCatalog struct {
	Archive archive.Store
	Keys    Keys

	mu    sync.Mutex
	known map[policy.SessionID]policy.Recording // those with a manifest, which never changes
}

// Recording returns what is known of id. The error is catalog.ErrNotFound
// where the archive has nothing of it.
func (c *ArchiveCatalog) Recording(ctx context.Context, id policy.SessionID) (policy.Recording, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recording(ctx, id)
}

// Recordings returns what matches f, newest first, as a catalog.Catalog does.
func (c *ArchiveCatalog) Recordings(ctx context.Context, f catalog.Filter) ([]policy.Recording, error) {
	if f.Limit < 0 || f.Offset < 0 {
		return nil, fmt.Errorf("list recordings: limit %d and offset %d must not be negative", f.Limit, f.Offset)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []policy.Recording
	for id, err := range archivedIDs(ctx, c.Archive) {
		if err != nil {
			return nil, fmt.Errorf("list recordings: %w", err)
		}
		r, err := c.recording(ctx, id)
		if errors.Is(err, catalog.ErrNotFound) { // it went away meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list recordings: %w", err)
		}
		if matches(f, r) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b policy.Recording) int {
		return cmp.Or(b.Session.Start.Compare(a.Session.Start), cmp.Compare(b.Session.ID, a.Session.ID))
	})
	found = found[min(f.Offset, len(found)):]
	if f.Limit > 0 {
		found = found[:min(f.Limit, len(found))]
	}
	return found, nil
}

// archivedIDs yields the recordings of which an archive has anything, in order.
func archivedIDs(ctx context.Context, store archive.Store) iter.Seq2[policy.SessionID, error] {
	return func(yield func(policy.SessionID, error) bool) {
		var last policy.SessionID
		for e, err := range store.List(ctx, "recordings/") {
			if err != nil {
				yield("", err)
				return
			}
			name, _, _ := strings.Cut(strings.TrimPrefix(e.Name, "recordings/"), "/")
			id, err := policy.ParseSessionID(name)
			if err != nil || id == last {
				continue
			}
			if last = id; !yield(id, nil) {
				return
			}
		}
	}
}

// recording reads one description. The caller holds mu.
func (c *ArchiveCatalog) recording(ctx context.Context, id policy.SessionID) (policy.Recording, error) {
	if _, err := policy.ParseSessionID(string(id)); err != nil {
		return policy.Recording{}, catalog.ErrNotFound // it must not become an object's name
	}
	if r, ok := c.known[id]; ok {
		return r, nil
	}
	r, err := describe(ctx, c.Archive, c.Keys, id)
	if err == nil && r.Summary.State != policy.RecordingOpen {
		if c.known == nil {
			c.known = map[policy.SessionID]policy.Recording{}
		}
		c.known[id] = r
	}
	return r, err
}

// describe reads the description of a recording out of its manifest or, where
// it has none, its first segment. One that cannot be read is described as far
// as its id goes, with the reason. The error is catalog.ErrNotFound, or that of
// ctx.
func describe(ctx context.Context, store archive.Store, keys Keys, id policy.SessionID) (policy.Recording, error) {
	r, err := recorder.OpenRecording(ctx, store, id, keys.unwrap(Masked))
	if err == nil {
		defer r.Close()
		return r.Recording(), nil
	}
	if ctx.Err() != nil {
		return policy.Recording{}, context.Cause(ctx)
	}
	rec := policy.Recording{Session: policy.Session{ID: id, Start: id.Time()},
		Summary: policy.Summary{ID: id, State: policy.RecordingInterrupted, End: policy.End{Reason: err.Error()}}}
	if !errors.Is(err, archive.ErrNotFound) {
		return rec, nil
	}
	for e, listErr := range store.List(ctx, archive.RecordingPrefix(string(id))) {
		if listErr != nil {
			return policy.Recording{}, listErr
		}
		if e.Name == archive.KeyName(string(id)) {
			rec.Summary.State, rec.Summary.End.Reason = policy.RecordingOpen, "nothing of it is sealed yet"
			return rec, nil
		}
		rec.Summary.State, rec.Summary.End.Reason = policy.RecordingExpired, ""
	}
	if rec.Summary.State != policy.RecordingExpired {
		return policy.Recording{}, catalog.ErrNotFound
	}
	return rec, nil
}

// matches reports whether r is among what f selects.
func matches(f catalog.Filter, r policy.Recording) bool {
	s := r.Session
	user := []string{s.User.Name, s.User.Email, s.User.Subject, string(s.User.Principal())}
	all := append(slices.Clone(user), s.Target, string(s.Login), s.Command, string(s.ID))
	return has(f.User, user) && has(f.Target, []string{s.Target}) && has(f.Text, all) &&
		(f.From.IsZero() || !s.Start.Before(f.From.Truncate(time.Microsecond))) &&
		(f.To.IsZero() || s.Start.Before(f.To)) &&
		(f.State == "" || f.State == r.Summary.State)
}

// has reports whether part is within one of texts, whatever the case.
func has(part string, texts []string) bool {
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), strings.ToLower(part)) })
}
