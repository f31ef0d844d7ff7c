package web

import (
	"context"
	"errors"
	"net/http"

	"sallyport/policy"
	"sallyport/recorder/catalog"
	"sallyport/replay"
)

// Library is what the pages call of a replay.Library. It decides by policy for
// every call who may see what, and keeps account of what was seen: the pages
// add no right of their own.
type Library interface {
	// List returns what v may replay, newest first.
	List(ctx context.Context, v replay.Viewer, f catalog.Filter) ([]policy.Recording, error)
	// Show returns one recording, or replay.ErrNotFound when there is none
	// or v may not replay it.
	Show(ctx context.Context, v replay.Viewer, id policy.SessionID) (policy.Recording, error)
	// Open reads one recording. The error is replay.ErrNotFound as for Show,
	// or replay.ErrForbidden when v may see the masked view but not this one.
	Open(ctx context.Context, v replay.Viewer, id policy.SessionID, view replay.View) (*replay.Stream, error)
	// OpenExport is Open for a copy that leaves: the entry says so.
	OpenExport(ctx context.Context, v replay.Viewer, id policy.SessionID, view replay.View) (*replay.Stream, error)
	// MayRaw reports whether Open would allow the raw view.
	MayRaw(v replay.Viewer, r policy.Recording) bool
}

// viewer is how the library sees who asks.
func viewer(r *http.Request, who *signedIn) replay.Viewer {
	return replay.Viewer{User: who.User, Source: source(r), Via: "web"}
}

// recordingID returns the id in the path, when it is one at all.
func recordingID(r *http.Request) (policy.SessionID, error) {
	id, err := policy.ParseSessionID(r.PathValue("id"))
	if err != nil {
		return "", replay.ErrNotFound
	}
	return id, nil
}

// parseView reads the parameter view: "live" (also when absent) or "raw".
func parseView(r *http.Request) (replay.View, bool) {
	switch r.URL.Query().Get("view") {
	case "", "live":
		return replay.Masked, true
	case "raw":
		return replay.Raw, true
	}
	return replay.Masked, false
}

// libraryFailed answers for an error of the library. Absent and forbidden
// recordings look alike.
func (s *server) libraryFailed(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, replay.ErrForbidden) || errors.Is(err, replay.ErrNotFound) {
		s.refused(r)
	}
	switch {
	case errors.Is(err, replay.ErrForbidden):
		s.fail(w, r, http.StatusForbidden, "You may watch this recording, but not its raw view.")
	case errors.Is(err, replay.ErrNotFound):
		s.fail(w, r, http.StatusNotFound, "There is no such recording, or you may not see it.")
	case r.Context().Err() != nil:
		// The client has gone; nobody reads an answer.
	default:
		s.internal(w, r, err)
	}
}

// refused logs that somebody asked for a recording that is absent or not
// theirs to see. Whoever guesses at others' recordings shows up here.
func (s *server) refused(r *http.Request) {
	if who := current(r); who != nil {
		s.Log.Warn("recording refused", "user", who.User.Principal(), "name", who.User.String(),
			"recording", clip(40, r.PathValue("id")), "path", clip(200, r.URL.Path), "source", source(r))
	}
}

// internal logs err and says only that something went wrong.
func (s *server) internal(w http.ResponseWriter, r *http.Request, err error) {
	s.Log.Error("web request failed", "path", r.URL.Path, "error", err)
	s.fail(w, r, http.StatusInternalServerError, "The server could not do this. Its log says why.")
}
