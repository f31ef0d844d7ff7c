package web

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// healthz says that the process answers.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusOK, "ok\n")
}

// readyz says whether the server can do its work, within two seconds; where it
// cannot, one line says why.
func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.Ready != nil {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := s.Ready(ctx); err != nil {
			s.Log.Warn("not ready", "error", err)
			text := "not ready"
			var m interface{ UserMessage() string }
			if errors.As(err, &m) {
				text += ": " + visible(m.UserMessage())
			}
			plain(w, http.StatusServiceUnavailable, text+"\n")
			return
		}
	}
	plain(w, http.StatusOK, "ready\n")
}

// metrics answers those who may know how busy the server is. For all others
// there is nothing at this address.
func (s *server) metrics(w http.ResponseWriter, r *http.Request) {
	if s.Metrics == nil || !s.mayMeasure(r) {
		s.unknown(w, r)
		return
	}
	s.Metrics.ServeHTTP(w, r)
}

// mayMeasure reports whether r comes from this machine itself or from a listed
// address. What a proxy on this machine passes on is from elsewhere.
func (s *server) mayMeasure(r *http.Request) bool {
	from := source(r)
	if slices.ContainsFunc(s.MetricsAllow, func(p netip.Prefix) bool { return p.Contains(from) }) {
		return true
	}
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"} {
		if len(r.Header.Values(h)) > 0 {
			return false
		}
	}
	return from.IsLoopback()
}
