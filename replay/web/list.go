package web

import (
	"net/http"
	"strconv"

	"sallyport/policy"
)

const (
	pageSize = 50
	maxPage  = 10_000
)

// listPage is what the template "list" shows.
type listPage struct {
	Search     search
	Error      string
	States     []string // that a recording can have
	Recordings []policy.Recording
	Page       int
	Newer      string // addresses of the neighbouring pages, or ""
	Older      string
}

var states = []string{
	string(policy.RecordingOpen), string(policy.RecordingComplete), string(policy.RecordingInterrupted),
}

// list is the page of all recordings that the viewer may replay.
func (s *server) list(w http.ResponseWriter, r *http.Request, who *signedIn) {
	q := r.URL.Query()
	find, err := parseSearch(q)
	p := listPage{Search: find, Page: 1, States: states}
	if err == nil {
		p.Page, err = number(q, "page", 1, 1, maxPage)
	}
	if err != nil {
		p.Error = sentence(err.Error())
		s.render(w, r, http.StatusBadRequest, "list", p)
		return
	}
	f := find.filter
	f.Limit, f.Offset = pageSize+1, (p.Page-1)*pageSize
	if p.Recordings, err = s.Library.List(r.Context(), viewer(r, who), f); err != nil {
		s.libraryFailed(w, r, err)
		return
	}
	if len(p.Recordings) > pageSize {
		p.Recordings = p.Recordings[:pageSize]
		if p.Page < maxPage {
			p.Older = pageAddress(find, p.Page+1)
		}
	}
	if p.Page > 1 {
		p.Newer = pageAddress(find, p.Page-1)
	}
	s.render(w, r, http.StatusOK, "list", p)
}

func pageAddress(find search, page int) string {
	v := find.values()
	if page > 1 {
		v.Set("page", strconv.Itoa(page))
	}
	if len(v) == 0 {
		return "/"
	}
	return "/?" + v.Encode()
}
