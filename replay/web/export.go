package web

import (
	"bufio"
	"net/http"

	"sallyport/replay"
)

// exportFormats are the formats that the parameter format may name, with the
// end of the file's name and its content type.
var exportFormats = map[string]struct {
	format    replay.Format
	extension string
	kind      string
}{
	"v3":  {replay.FormatV3, ".cast", "application/x-asciicast"},
	"v2":  {replay.FormatV2, ".v2.cast", "application/x-asciicast"},
	"raw": {replay.FormatRaw, ".raw", "application/octet-stream"},
	"txt": {replay.FormatText, ".txt", "text/plain; charset=utf-8"},
}

// export sends a recording as a file. The parameters are format and view.
func (s *server) export(w http.ResponseWriter, r *http.Request, who *signedIn) {
	view, ok := parseView(r)
	f, known := exportFormats[r.URL.Query().Get("format")]
	if !ok || !known {
		s.fail(w, r, http.StatusBadRequest, "A format is v3, v2, raw or txt, and a view is live or raw.")
		return
	}
	st, err := s.open(r, who, view, s.Library.OpenExport)
	if err != nil {
		s.libraryFailed(w, r, err)
		return
	}
	defer st.Close()
	name := "sallyport-" + string(st.Recording().Session.ID)
	if view == replay.Raw {
		name += "-unmasked"
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Content-Disposition", `attachment; filename="`+name+f.extension+`"`)
	h.Set("Content-Security-Policy", dataPolicy)
	out := bufio.NewWriterSize(newParts(w), 32<<10)
	_, err = replay.Export(out, st, f.format)
	s.finish(out, r, err)
}
