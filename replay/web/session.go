package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"sallyport/policy"
	"sallyport/recorder/cast"
	"sallyport/replay"
)

const (
	maxMasks   = 500             // shown on a page
	masksLimit = 2 * time.Second // spent reading a recording for them
)

// mask is one place where something was hidden.
type mask struct {
	Time time.Duration
	Rule string
	Len  int           // bytes hidden
	last time.Duration // when its last piece was hidden
}

// maskGap is the longest pause within one place: a secret that is typed or
// arrives in pieces is hidden piece by piece, but people look for the secret.
const maskGap = time.Second

// Seconds is the time as the player takes it.
func (m mask) Seconds() string { return strconv.FormatFloat(m.Time.Seconds(), 'f', 3, 64) }

// masks is what is hidden in a recording.
type masks struct {
	List []mask
	// Rest says why the list is not all of it, or is empty.
	Rest string
}

// add puts one hidden piece to its place.
func (m *masks) add(piece mask) {
	if n := len(m.List); n > 0 && m.List[n-1].Rule == piece.Rule && piece.Time-m.List[n-1].last <= maskGap {
		m.List[n-1].Len += piece.Len
		m.List[n-1].last = piece.Time
		return
	}
	m.List = append(m.List, piece)
}

// sessionPage is what the template "session" shows.
type sessionPage struct {
	policy.Recording
	Raw     bool // the raw view is shown
	MayRaw  bool
	Masks   masks
	Cast    string // address of what the player loads
	StartAt string // seconds, or ""
	Player  bool   // the player was built
}

// View is the parameter that links to the same view carry.
func (p sessionPage) View() string {
	if p.Raw {
		return "raw"
	}
	return "live"
}

// Terminal reports whether there is anything about a terminal to tell.
func (p sessionPage) Terminal() bool { return p.Session.TTY }

// session is the page of one recording.
func (s *server) session(w http.ResponseWriter, r *http.Request, who *signedIn) {
	view, ok := parseView(r)
	if !ok {
		s.fail(w, r, http.StatusBadRequest, "A view is live or raw.")
		return
	}
	v := viewer(r, who)
	id, err := recordingID(r)
	var rec policy.Recording
	if err == nil {
		rec, err = s.Library.Show(r.Context(), v, id)
	}
	if err == nil && view == replay.Raw && !s.Library.MayRaw(v, rec) {
		err = s.refuseRaw(r.Context(), v, id)
	}
	if err != nil {
		s.libraryFailed(w, r, err)
		return
	}
	p := sessionPage{
		Recording: rec,
		Raw:       view == replay.Raw,
		MayRaw:    s.Library.MayRaw(v, rec),
		StartAt:   seconds(r.URL.Query().Get("t")),
		Player:    s.pages.player,
	}
	p.Cast = "/api/v1/sessions/" + string(id) + "/cast?view=" + p.View()
	if rec.Summary.Masks > 0 || rec.Summary.State != policy.RecordingComplete {
		if p.Masks, err = s.findMasks(r.Context(), v, id); err != nil {
			s.libraryFailed(w, r, err)
			return
		}
	}
	s.render(w, r, http.StatusOK, "session", p)
}

// refuseRaw asks for the raw view nevertheless, so that the attempt is on
// account, and returns the refusal.
func (s *server) refuseRaw(ctx context.Context, v replay.Viewer, id policy.SessionID) error {
	st, err := s.Library.Open(ctx, v, id, replay.Raw)
	if err == nil {
		st.Close()
		return replay.ErrForbidden
	}
	return err
}

// seconds returns text when it is a position in a recording, and "" otherwise.
func seconds(text string) string {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f < 1e8) {
		return ""
	}
	return strconv.FormatFloat(f, 'f', 3, 64)
}

// findMasks reads what is hidden in the recording, for a while. That it cannot
// be read, or not to its end, is said in the result and is no error.
func (s *server) findMasks(ctx context.Context, v replay.Viewer, id policy.SessionID) (masks, error) {
	st, err := s.Library.Open(ctx, v, id, replay.Masked)
	if errors.Is(err, replay.ErrNotFound) || errors.Is(err, replay.ErrForbidden) {
		return masks{}, err
	}
	if err != nil {
		s.Log.Error("recording cannot be opened", "session", id, "error", err)
		return masks{Rest: "The recording cannot be read. The server's log says why."}, nil
	}
	defer st.Close()
	var m masks
	until := time.Now().Add(masksLimit)
	for {
		e, err := st.Next()
		switch {
		case err == io.EOF, errors.Is(err, cast.ErrTruncated):
			return m, nil
		case err != nil:
			s.Log.Warn("recording cannot be read for its masks", "session", id, "error", err)
			m.Rest = "The rest of the recording cannot be read."
			return m, nil
		case len(m.List) == maxMasks:
			m.Rest = "There are more; the export as asciicast has the places of all."
			return m, nil
		case time.Now().After(until) || ctx.Err() != nil:
			m.Rest = "The recording is long; places after " + clock(e.Time) + " are not listed."
			return m, nil
		}
		if e.Code != 'k' {
			continue
		}
		var d struct {
			Rule string `json:"rule"`
			Len  int    `json:"len"`
		}
		if json.Unmarshal([]byte(e.Data), &d) == nil {
			m.add(mask{Time: e.Time, Rule: d.Rule, Len: d.Len, last: e.Time})
		}
	}
}
