package web_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"sallyport/policy"
	"sallyport/replay"
	"sallyport/replay/web"
)

// nobody signs nobody in.
type nobody struct{}

func (nobody) AuthURL(context.Context, string, string, string, string) (string, error) {
	return "", errors.New("nobody signs in here")
}

func (nobody) Exchange(context.Context, string, string, string, string) (policy.User, error) {
	return policy.User{}, errors.New("nobody signs in here")
}

type shut struct{ error }

func (shut) UserMessage() string { return "the disk is\nalmost full" }

func newHealth(t *testing.T, change func(*web.Config)) http.Handler {
	t.Helper()
	c := web.Config{Library: &replay.Library{}, SignIn: nobody{}, BaseURL: "http://b.example", Log: slog.New(slog.DiscardHandler),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "sallyport_up 1\n") })}
	change(&c)
	h, err := web.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ask(h http.Handler, path, from string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://b.example"+path, nil)
	r.RemoteAddr = from
	for _, name := range header {
		r.Header.Set(name, "x")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestMetricsAreForThisMachineAndThoseAllowed(t *testing.T) {
	h := newHealth(t, func(c *web.Config) { c.MetricsAllow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	for _, tc := range []struct {
		from   string
		header []string
		code   int
	}{
		{"127.0.0.1:1", nil, 200}, {"[::1]:1", nil, 200}, {"[::ffff:127.0.0.1]:1", nil, 200}, {"192.0.2.9:1", nil, 200}, {"[::ffff:192.0.2.9]:1", nil, 200},
		{"198.51.100.1:1", nil, 404}, {"[2001:db8::1]:1", nil, 404}, {"nonsense", nil, 404},
		// A proxy on this machine passes on what comes from elsewhere.
		{"127.0.0.1:1", []string{"X-Forwarded-For"}, 404}, {"127.0.0.1:1", []string{"Forwarded"}, 404}, {"127.0.0.1:1", []string{"Via"}, 404},
		{"192.0.2.9:1", []string{"X-Forwarded-For"}, 200},
	} {
		if w := ask(h, "/metrics", tc.from, tc.header...); w.Code != tc.code || (w.Body.String() == "sallyport_up 1\n") != (tc.code == 200) {
			t.Errorf("%s %v: %d %.80q, want %d", tc.from, tc.header, w.Code, w.Body.String(), tc.code)
		}
	}
	off := newHealth(t, func(c *web.Config) { c.Metrics = nil })
	if w := ask(off, "/metrics", "127.0.0.1:1"); w.Code != 404 {
		t.Errorf("without metrics: %d", w.Code)
	}
}

func TestReadyzSaysWhyInOneLine(t *testing.T) {
	var why error
	h := newHealth(t, func(c *web.Config) { c.Ready = func(context.Context) error { return why } })
	for _, tc := range []struct {
		why  error
		code int
		body string
	}{
		{nil, 200, "ready\n"},
		{errors.New("open /var/lib/x: permission denied"), 503, "not ready\n"},
		{shut{errors.New("/var/lib/x has 3 bytes")}, 503, "not ready: the disk is␊almost full\n"},
	} {
		why = tc.why
		if w := ask(h, "/readyz", "198.51.100.1:1"); w.Code != tc.code || w.Body.String() != tc.body {
			t.Errorf("%v: %d %q", tc.why, w.Code, w.Body.String())
		}
	}
}
