// Package web serves recordings to a browser: server-rendered pages that work
// without script but for the player, a small JSON API, and what machines ask
// for (health, keys). People sign in with OpenID Connect; what each may see is
// the replay library's decision, asked anew for every request.
package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"sallyport/policy"
)

// SignIn is the OpenID Connect client behind /login and /callback. The text of
// the errors is shown to whoever signs in, so it holds neither secrets nor
// internal addresses; what they wrap is only logged. Both methods are called
// concurrently.
type SignIn interface {
	// AuthURL returns the address of the issuer's authorization endpoint for
	// the code flow with PKCE, method S256 (RFC 7636), of verifier.
	AuthURL(ctx context.Context, state, nonce, verifier, redirectURL string) (string, error)
	// Exchange redeems code and returns the user whom the ID token names,
	// after checking the token, its nonce included.
	Exchange(ctx context.Context, code, nonce, verifier, redirectURL string) (policy.User, error)
}

// Config is what the pages need. Library, SignIn and BaseURL are required.
type Config struct {
	Library Library
	SignIn  SignIn
	// BaseURL is how browsers reach the server: http or https, host, maybe a
	// port, no path. With https, cookies are Secure and have the __Host-
	// prefix.
	BaseURL string
	// WellKnown is served as JSON at /.well-known/sallyport.json; nil makes
	// that address absent.
	WellKnown any
	// Ready reports why the server cannot do its work; nil means it always
	// can. Anybody may read the error's method UserMessage() string, if it has
	// one; the rest is only logged.
	Ready func(context.Context) error
	// Metrics answers /metrics, for clients on this machine and those whose
	// address MetricsAllow holds; nil makes that address absent.
	Metrics      http.Handler
	MetricsAllow []netip.Prefix
	// Allow judges a sign-in, once the issuer has named the user, and keeps
	// account of it; nil allows all whom the issuer knows. What the user reads
	// of a refusal is its method UserMessage() string, if it has one.
	Allow func(ctx context.Context, u policy.User, source netip.Addr) error
	// Still decides at every request whether who signed in may go on; nil
	// leaves it to the library's decisions. A user who may not loses the
	// session.
	Still func(u policy.User, source netip.Addr) policy.Decision
	Log   *slog.Logger     // nil logs nothing
	Now   func() time.Time // nil is time.Now
}

type server struct {
	Config
	redirectURL string
	cookies     cookieNames
	sessions    *sessions
	flows       *flows
	pages       *pages
}

// New returns the handler of all routes. It starts no goroutine.
func New(c Config) (http.Handler, error) {
	if c.Library == nil || c.SignIn == nil {
		return nil, errors.New("web: a library and a sign-in are required")
	}
	base, err := parseBase(c.BaseURL)
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Allow == nil {
		c.Allow = func(context.Context, policy.User, netip.Addr) error { return nil }
	}
	if c.Still == nil {
		c.Still = func(policy.User, netip.Addr) policy.Decision { return policy.Decision{Allowed: true} }
	}
	files, err := loadAssets()
	if err != nil {
		return nil, fmt.Errorf("web: static files: %w", err)
	}
	pages, err := loadPages(files)
	if err != nil {
		return nil, fmt.Errorf("web: pages: %w", err)
	}
	var key [32]byte
	rand.Read(key[:])
	s := &server{
		Config:      c,
		redirectURL: base.String() + "/callback",
		cookies:     namesFor(base.Scheme == "https"),
		sessions:    newSessions(c.Now),
		flows:       newFlows(key, c.Now),
		pages:       pages,
	}
	mux := http.NewServeMux()
	for _, r := range s.routes(files) {
		mux.Handle(r.pattern, r.handler)
	}
	return s.secure(mux), nil
}

func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(raw, "/"))
	if err != nil {
		return nil, fmt.Errorf("web: base URL: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Path != "" ||
		u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("web: base URL %q: want http://HOST[:PORT] or https://HOST[:PORT] and nothing more", raw)
	}
	return u, nil
}

// route is an address that the server answers, as a pattern of http.ServeMux.
type route struct {
	pattern string
	handler http.Handler
}

// routes lists all of them. Those that show recordings go through page or api,
// which know who asks.
func (s *server) routes(files assets) []route {
	return []route{
		{"GET /{$}", s.page(s.list)},
		{"GET /sessions/{id}", s.page(s.session)},
		{"GET /sessions/{id}/export", s.page(s.export)},

		{"GET /api/v1/sessions", s.api(s.apiList)},
		{"GET /api/v1/sessions/{id}", s.api(s.apiSession)},
		{"GET /api/v1/sessions/{id}/cast", s.api(s.apiCast)},
		{"/api/", s.api(s.apiUnknown)},

		{"GET /login", http.HandlerFunc(s.login)},
		{"GET /callback", http.HandlerFunc(s.callback)},
		{"GET /logout", http.HandlerFunc(s.askLogout)},
		{"POST /logout", http.HandlerFunc(s.logout)},

		{"GET /static/", files},
		{"GET /.well-known/sallyport.json", http.HandlerFunc(s.wellKnown)},
		{"GET /healthz", http.HandlerFunc(s.healthz)},
		{"GET /readyz", http.HandlerFunc(s.readyz)},
		{"GET /metrics", http.HandlerFunc(s.metrics)},
		{"/", http.HandlerFunc(s.unknown)},
	}
}

// Server returns an HTTP server for the handler with limits on what a client
// may make it wait for and hold: 10 s for a request's header of at most 32 KiB,
// 30 s for a request and for each part of an answer, 2 min between requests.
func Server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      partTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
}

// partTimeout bounds how long a client may take for one part of an answer. A
// long answer extends it with every part (see parts).
const partTimeout = 30 * time.Second
