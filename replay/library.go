// Package replay finds, opens and exports recordings for those who may see
// them. Every look is an entry in the ledger before the first byte is given.
package replay

import (
	"context"
	"errors"
	"net/netip"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/catalog"
	"sallyport/recorder/sealed"
)

// ErrNotFound says that there is no such recording, or that the viewer may not
// replay it: the two look alike.
var ErrNotFound = errors.New("no such recording")

// ErrForbidden says that the viewer may see the masked view, but not the raw one.
var ErrForbidden = errors.New("the raw view of this recording is not for you")

// ErrExpired says that the recording was there and its keys were destroyed.
var ErrExpired = errors.New("the recording has expired: its keys were destroyed")

// ErrSealed says that whoever asks has not the identity that opens the raw view.
var ErrSealed = errors.New("the raw view is sealed, and not for this server: whoever holds the raw identity opens it with `sallyport export --raw --identity FILE --dir DATA`")

// View says which copy of a recording is asked for.
type View int

// The views. Raw shows what redaction hid and what was typed.
const (
	Masked View = iota
	Raw
)

func (v View) String() string {
	if v == Raw {
		return "raw"
	}
	return "masked"
}

// Viewer is who asks, and from where.
type Viewer struct {
	User policy.User
	// Local is somebody on the machine itself: file permissions have decided
	// already. Via then names the account.
	Local  bool
	Source netip.Addr
	Via    string // ssh, web, or the local account
}

// Catalog is what a Library asks of the index. Both methods may be called
// concurrently; Recording's error is catalog.ErrNotFound for an unknown id.
type Catalog interface {
	Recording(ctx context.Context, id policy.SessionID) (policy.Recording, error)
	Recordings(ctx context.Context, f catalog.Filter) ([]policy.Recording, error)
}

// Keys are the identities that open recordings. Without Raw, what redaction hid
// and what was typed stays sealed.
type Keys struct {
	View, Raw []age.Identity
}

// unwrap opens what of a recording's keys these identities can open, and view
// needs. Who holds the raw identity alone can open the masked view too.
func (k Keys) unwrap(view View) func(*sealed.KeyObject) (sealed.Keys, error) {
	return func(o *sealed.KeyObject) (sealed.Keys, error) {
		if view == Raw {
			if len(k.Raw) == 0 {
				return sealed.Keys{}, ErrSealed
			}
			return o.Unwrap(k.View, k.Raw)
		}
		keys, err := o.Unwrap(k.View, nil)
		if err == nil || len(k.Raw) == 0 {
			return keys, err
		}
		both, rawErr := o.Unwrap(nil, k.Raw)
		if rawErr != nil {
			return sealed.Keys{}, err
		}
		return sealed.Keys{View: both.View, HasView: true}, nil
	}
}

// Library is the recordings of one archive.
type Library struct {
	Archive recorder.Archive
	Keys    Keys
	Catalog Catalog
	// Flush makes all of a running recording up to now part of the archive;
	// nil where the recordings of another process are read. Its error is that
	// the recording does not run here.
	Flush  func(context.Context, policy.SessionID) error
	Decide func(policy.Request) policy.Decision
	// Target returns a target by name; one that is no longer configured comes
	// back with its name only, so that policies can still judge it.
	Target func(name string) policy.Target
	// Audit returns once the entry is durable. What cannot be entered is not
	// shown. Viewers from elsewhere are told no more than that, so Audit logs
	// why it failed.
	Audit func(context.Context, policy.Entry) error
}

// listChunk is how many rows are asked for at a time, since the viewer may see
// only some of them.
const listChunk = 200

// List returns what v may replay, newest first. Limit and Offset of f count
// what v may see.
func (l *Library) List(ctx context.Context, v Viewer, f catalog.Filter) ([]policy.Recording, error) {
	limit, skip := f.Limit, f.Offset
	f.Limit, f.Offset = listChunk, 0
	var out []policy.Recording
	for {
		rows, err := l.Catalog.Recordings(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if !l.may(v, r, policy.ActionReplay) {
				continue
			}
			if skip > 0 {
				skip--
				continue
			}
			out = append(out, r)
			if limit > 0 && len(out) == limit {
				return out, nil
			}
		}
		if len(rows) < listChunk {
			return out, nil
		}
		f.Offset += len(rows)
	}
}

// Show returns one recording's description. Asking for one that v may not
// replay is an entry.
func (l *Library) Show(ctx context.Context, v Viewer, id policy.SessionID) (policy.Recording, error) {
	r, err := l.Catalog.Recording(ctx, id)
	if errors.Is(err, catalog.ErrNotFound) {
		return policy.Recording{}, ErrNotFound
	}
	if err == nil && !l.may(v, r, policy.ActionReplay) {
		return policy.Recording{}, l.refuse(ctx, v, r, Masked, ErrNotFound)
	}
	return r, err
}

// MayRaw reports whether Open would allow v the raw view of r.
func (l *Library) MayRaw(v Viewer, r policy.Recording) bool {
	return l.may(v, r, policy.ActionReplay) && l.may(v, r, policy.ActionReplayRaw)
}

func (l *Library) may(v Viewer, r policy.Recording, a policy.Action) bool {
	if v.Local {
		return true
	}
	target := l.Target(r.Session.Target)
	if target.Address == "" { // no longer configured: what it was then counts
		target.Labels = r.Session.Labels
	}
	return l.Decide(policy.Request{User: v.User, Action: a, Target: target,
		Login: r.Session.Login, Owner: r.Session.User, Source: v.Source}).Allowed
}

// Open opens a recording for v to watch, who must Close it. The error is
// ErrNotFound, ErrForbidden, or why the look could not be entered or the file
// not be read.
func (l *Library) Open(ctx context.Context, v Viewer, id policy.SessionID, view View) (*Stream, error) {
	return l.open(ctx, v, id, view, policy.EntryView)
}

// OpenExport is Open for a copy that leaves: the entry says so.
func (l *Library) OpenExport(ctx context.Context, v Viewer, id policy.SessionID, view View) (*Stream, error) {
	return l.open(ctx, v, id, view, policy.EntryExport)
}

func (l *Library) open(ctx context.Context, v Viewer, id policy.SessionID, view View, kind policy.EntryKind) (*Stream, error) {
	r, err := l.Catalog.Recording(ctx, id)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	if !l.may(v, r, policy.ActionReplay) {
		return nil, l.refuse(ctx, v, r, view, ErrNotFound)
	}
	if view == Raw && !l.MayRaw(v, r) {
		return nil, l.refuse(ctx, v, r, view, ErrForbidden)
	}
	if err := l.Audit(ctx, l.entry(kind, v, r, view)); err != nil {
		return nil, &entryError{err: err, detail: v.Local}
	}
	if r.Summary.State == policy.RecordingOpen && l.Flush != nil {
		_ = l.Flush(ctx, id) // what cannot be flushed now is there later
	}
	return l.stream(ctx, r, view)
}

// stream opens the recording r.
func (l *Library) stream(ctx context.Context, r policy.Recording, view View) (*Stream, error) {
	if r.Summary.State == policy.RecordingExpired {
		return nil, ErrExpired
	}
	s, err := newStream(view, func() (*recorder.Reader, error) {
		reader, err := recorder.OpenRecording(ctx, l.Archive, r.Session.ID, l.Keys.unwrap(view))
		if errors.Is(err, ErrSealed) {
			return nil, ErrSealed
		}
		if errors.Is(err, archive.ErrNotFound) && r.Summary.State == policy.RecordingOpen {
			return nil, errNothingYet
		}
		return reader, err
	})
	if err != nil {
		return nil, err
	}
	s.recording = r
	return s, nil
}

// errNothingYet says that a session has just begun.
var errNothingYet = errors.New("nothing of this session is in the archive yet; try again in a minute")

// entryError says that a look could not be entered; with detail, also why.
type entryError struct {
	err    error
	detail bool
}

func (e *entryError) Error() string {
	const what = "the recording is not shown, because that cannot be entered in the ledger"
	if e.detail {
		return what + ": " + e.err.Error()
	}
	return what
}

func (e *entryError) Unwrap() error { return e.err }

// refuse enters that v asked for what is not theirs. The answer is the same
// where that fails: it must not tell that the recording exists.
func (l *Library) refuse(ctx context.Context, v Viewer, r policy.Recording, view View, answer error) error {
	_ = l.Audit(ctx, l.entry(policy.EntryDeny, v, r, view)) // Audit logs its failures, and nothing is shown anyway
	return answer
}

func (l *Library) entry(kind policy.EntryKind, v Viewer, r policy.Recording, view View) policy.Entry {
	e := policy.Entry{Kind: kind, Session: r.Session.ID, Target: r.Session.Target, Login: r.Session.Login,
		Detail: map[string]string{"view": view.String(), "via": v.Via, "owner": r.Session.User.String()}}
	if kind == policy.EntryDeny {
		e.Detail["action"] = string(policy.ActionReplay)
		if view == Raw {
			e.Detail["action"] = string(policy.ActionReplayRaw)
		}
	}
	if !v.Local {
		e.User = &v.User
	}
	if v.Source.IsValid() {
		e.Source = v.Source.String()
	}
	return e
}
