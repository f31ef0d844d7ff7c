package web

import (
	"net/http"
	"strings"
)

// contentPolicy lets pages run and show what this server itself serves, and
// nothing else: no inline script or style, no plug-ins, no frames, no other
// host. The player compiles WebAssembly, hence wasm-unsafe-eval; images as
// data: URLs are what browsers make of forms' own icons.
const contentPolicy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; " +
	"img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

// dataPolicy is for answers that are no pages: a browser that is made to show
// one must not run anything of it.
const dataPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

// secure sets the headers of every answer, and refuses requests that change
// something and come from another site.
func (s *server) secure(next http.Handler) http.Handler {
	csrf := http.NewCrossOriginProtection()
	csrf.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusForbidden, "This request came from another site.")
	}))
	next = csrf.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		h.Set("Cache-Control", "no-store")
		if strings.HasPrefix(s.redirectURL, "https:") {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// fail answers with a page, or with JSON below /api/, that says text and
// nothing that the client sent.
func (s *server) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		s.json(w, r, status, map[string]string{"error": text})
		return
	}
	s.render(w, r, status, "message", message{Heading: http.StatusText(status), Text: text})
}

// unknown answers for every address that is no route.
func (s *server) unknown(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, http.StatusNotFound, "There is nothing at this address.")
}
