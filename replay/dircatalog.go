package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/catalog"
)

// DirCatalog is a Catalog that needs no database: it reads the manifests in a
// directory of recordings and, where there is none, the header of the recording
// itself. It writes nothing, so it may be used while a server runs. It is safe
// for concurrent use.
type DirCatalog struct {
	Dir string
	// Running says that a server is at work on Dir: a recording without a
	// manifest is then open, and otherwise interrupted.
	Running bool

	mu    sync.Mutex
	known map[policy.SessionID]policy.Recording // those with a manifest, which never changes
}

// Recording returns what is known of id. The error is catalog.ErrNotFound
// where there is neither a manifest nor a recording.
func (c *DirCatalog) Recording(_ context.Context, id policy.SessionID) (policy.Recording, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recording(id)
}

// Recordings returns what matches f, newest first, as a catalog.Catalog does.
func (c *DirCatalog) Recordings(ctx context.Context, f catalog.Filter) ([]policy.Recording, error) {
	if f.Limit < 0 || f.Offset < 0 {
		return nil, fmt.Errorf("list recordings: limit %d and offset %d must not be negative", f.Limit, f.Offset)
	}
	ids, err := c.ids()
	if err != nil {
		return nil, fmt.Errorf("list recordings: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []policy.Recording
	for _, id := range ids {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		r, err := c.recording(id)
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

// ids returns the recordings that have a file of either kind.
func (c *DirCatalog) ids() ([]policy.SessionID, error) {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return nil, err
	}
	var ids []policy.SessionID
	for _, e := range entries {
		name, isCast := strings.CutSuffix(e.Name(), ".cast")
		name, isManifest := strings.CutSuffix(name, ".json")
		id, err := policy.ParseSessionID(name)
		if err == nil && isCast != isManifest && e.Type().IsRegular() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// recording reads one description. The caller holds mu.
func (c *DirCatalog) recording(id policy.SessionID) (policy.Recording, error) {
	if _, err := policy.ParseSessionID(string(id)); err != nil {
		return policy.Recording{}, catalog.ErrNotFound // it must not become a file's name
	}
	if r, ok := c.known[id]; ok {
		return r, nil
	}
	r, err := recorder.ReadManifest(c.Dir, id)
	if err == nil {
		if c.known == nil {
			c.known = map[policy.SessionID]policy.Recording{}
		}
		c.known[id] = r
		return r, nil
	}
	return c.fromHeader(id, err)
}

// fromHeader describes a recording that has no manifest, or one that cannot be
// read because of why.
func (c *DirCatalog) fromHeader(id policy.SessionID, why error) (policy.Recording, error) {
	var reason string
	if !errors.Is(why, fs.ErrNotExist) {
		reason = why.Error()
	}
	r, err := recorder.OpenFile(recorder.Path(c.Dir, string(id)))
	if errors.Is(err, fs.ErrNotExist) && reason == "" {
		return policy.Recording{}, catalog.ErrNotFound
	}
	found := policy.Recording{Session: policy.Session{ID: id, Start: startOf(id)},
		Summary: policy.Summary{ID: id, State: policy.RecordingInterrupted}}
	switch {
	case err != nil:
		reason = err.Error()
	case r.Session().ID != id:
		reason = "its header is that of another recording"
	default:
		found.Session = r.Session()
		if c.Running && reason == "" {
			found.Summary.State = policy.RecordingOpen
		}
	}
	if err == nil {
		r.Close()
	}
	found.Summary.End.Reason = reason
	return found, nil
}

// startOf returns when id was made: an id begins with 48 bits of milliseconds.
func startOf(id policy.SessionID) time.Time {
	ms := int64(0)
	for i, c := range []byte(id)[:10] { // 50 bits
		ms = ms<<5 | int64(strings.IndexByte("0123456789abcdefghjkmnpqrstvwxyz", c))
		if i == 9 {
			ms >>= 2
		}
	}
	return time.UnixMilli(ms).UTC()
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
