package web

import (
	"encoding/json"
	"net/http"

	"sallyport/policy"
)

const (
	apiLimit    = 100 // recordings in an answer when nothing is asked for
	apiMaxLimit = 1000
)

// apiList answers {"sessions": […], "next_offset": N}; the latter is absent at
// the end. It takes the fields of the search form, limit and offset.
func (s *server) apiList(w http.ResponseWriter, r *http.Request, who *signedIn) {
	q := r.URL.Query()
	find, err := parseSearch(q)
	f := find.filter
	if err == nil {
		f.Limit, err = number(q, "limit", apiLimit, 1, apiMaxLimit)
	}
	if err == nil {
		f.Offset, err = number(q, "offset", 0, 0, maxPage*pageSize)
	}
	if err != nil {
		s.fail(w, r, http.StatusBadRequest, sentence(err.Error()))
		return
	}
	limit := f.Limit
	f.Limit++ // one more tells whether there is a next page
	list, err := s.Library.List(r.Context(), viewer(r, who), f)
	if err != nil {
		s.libraryFailed(w, r, err)
		return
	}
	answer := struct {
		Sessions   []policy.Recording `json:"sessions"`
		NextOffset int                `json:"next_offset,omitempty"`
	}{Sessions: list}
	if len(list) > limit {
		answer.Sessions, answer.NextOffset = list[:limit], f.Offset+limit
	}
	if answer.Sessions == nil {
		answer.Sessions = []policy.Recording{}
	}
	s.json(w, r, http.StatusOK, answer)
}

// apiSession answers with the recording, and whether its raw view is allowed.
func (s *server) apiSession(w http.ResponseWriter, r *http.Request, who *signedIn) {
	id, err := recordingID(r)
	var rec policy.Recording
	if err == nil {
		rec, err = s.Library.Show(r.Context(), viewer(r, who), id)
	}
	if err != nil {
		s.libraryFailed(w, r, err)
		return
	}
	s.json(w, r, http.StatusOK, struct {
		policy.Recording
		MayRaw bool `json:"may_raw"`
	}{rec, s.Library.MayRaw(viewer(r, who), rec)})
}

func (s *server) apiUnknown(w http.ResponseWriter, r *http.Request, _ *signedIn) {
	s.fail(w, r, http.StatusNotFound, "There is nothing at this address.")
}

// wellKnown tells machines about this bastion: its keys, for example.
func (s *server) wellKnown(w http.ResponseWriter, r *http.Request) {
	if s.WellKnown == nil {
		s.unknown(w, r)
		return
	}
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin") // all of it is public
	s.json(w, r, http.StatusOK, s.WellKnown)
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(text))
}

// json answers with v. Markup in it is escaped, too.
func (s *server) json(w http.ResponseWriter, _ *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.Log.Error("web answer cannot be encoded", "error", err)
		status, body = http.StatusInternalServerError, []byte(`{"error":"The server could not do this. Its log says why."}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Security-Policy", dataPolicy)
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
