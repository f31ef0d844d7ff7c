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
	"net/url"
	"strings"
	"time"

	"sallyport/policy"
)

// SignIn is the OpenID Connect client behind /login and /callback. The text of
// the errors is shown to whoever signs in, so it holds neither secrets nor
// internal addresses; what they wrap is only logged.
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
	// Ready reports why the server cannot do its work; nil means it always can.
	Ready func(context.Context) error
	// Allow decides whether a user may use the web at all (the action
	// signIn), at sign-in and at every request after it; nil allows all whom
	// the issuer knows.
	Allow func(policy.User) policy.Decision
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
		c.Allow = func(policy.User) policy.Decision { return policy.Decision{Allowed: true} }
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
	return s.secure(s.routes(files)), nil
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

// routes lists every address that the server answers. Those that show
// recordings go through page or api, which know who asks.
func (s *server) routes(files assets) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page(s.list))
	mux.HandleFunc("GET /sessions/{id}", s.page(s.session))
	mux.HandleFunc("GET /sessions/{id}/export", s.page(s.export))

	mux.HandleFunc("GET /api/v1/sessions", s.api(s.apiList))
	mux.HandleFunc("GET /api/v1/sessions/{id}", s.api(s.apiSession))
	mux.HandleFunc("GET /api/v1/sessions/{id}/cast", s.api(s.apiCast))
	mux.HandleFunc("/api/", s.api(s.apiUnknown))

	mux.HandleFunc("GET /login", s.login)
	mux.HandleFunc("GET /callback", s.callback)
	mux.HandleFunc("GET /logout", s.askLogout)
	mux.HandleFunc("POST /logout", s.logout)

	mux.Handle("GET /static/", files)
	mux.HandleFunc("GET /.well-known/sallyport.json", s.wellKnown)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("/", s.unknown)
	return mux
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
