package signin

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestNewChecksTheConfiguration(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]Config{
		"issuer":            {ClientID: "c"},
		`"ftp://x"`:         {Issuer: "ftp://x", ClientID: "c"},
		"without query":     {Issuer: "https://x?y", ClientID: "c"},
		"client id":         {Issuer: "https://x"},
		`"openid"`:          {Issuer: "https://x", ClientID: "c", Scopes: []string{"email"}},
		"no such file":      {Issuer: "https://x", ClientID: "c", CAFile: empty + "2"},
		"no PEM":            {Issuer: "https://x", ClientID: "c", CAFile: empty},
		"exclude each othe": {Issuer: "https://x", ClientID: "c", CAFile: empty, HTTPClient: &http.Client{Transport: http.DefaultTransport}},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something about %s", err, want)
		}
	}
}

func TestDiscoveryIsLazySharedAndRetried(t *testing.T) {
	h := newHostile(t)
	h.replies = []func(http.ResponseWriter){tokens(h.good(nil))}
	now := time.Now()
	p := h.provider(func(c *Config) { c.Now = func() time.Time { return now } })
	handler := h.Config.Handler
	down := true
	h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		d := down
		h.mu.Unlock()
		if d {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		handler.ServeHTTP(w, r)
	})
	set := func(d bool) { h.mu.Lock(); down = d; h.mu.Unlock() }
	if h.found != 0 {
		t.Error("New dialled")
	}
	_, err := p.StartDevice(t.Context())
	wantKind(t, err, Unreachable)
	set(false)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := p.StartDevice(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if h.found < 1 || h.found > 5 {
		t.Errorf("looked up %d times", h.found)
	}
	before := h.found
	set(true)
	now = now.Add(2 * discoveryLifetime)
	if m, err := p.discover(t.Context()); err != nil || m.Token == "" {
		t.Errorf("what was found does not outlive a failure: %v", err)
	}
	set(false)
	now = now.Add(2 * discoveryRetry)
	if _, err := p.discover(t.Context()); err != nil || h.found != before+1 {
		t.Errorf("looked up %d times more: %v", h.found-before, err)
	}
}

func TestDiscoveryIsChecked(t *testing.T) {
	for name, meta := range map[string]object{
		"another issuer":      {"issuer": "https://evil.example"},
		"issuer with slash":   {"issuer": "SELF/"},
		"no token endpoint":   {"token_endpoint": nil},
		"no keys":             {"jwks_uri": nil},
		"keys in a file":      {"jwks_uri": "file:///etc/passwd"},
		"odd device endpoint": {"device_authorization_endpoint": "https://a@b/"},
	} {
		h := newHostile(t)
		if meta["issuer"] == "SELF/" {
			meta["issuer"] = h.URL + "/"
		}
		h.meta = meta
		_, err := h.provider().StartDevice(t.Context())
		t.Log(name)
		wantKind(t, err, BadAnswer)
	}
}

func TestUnreachable(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	gone := srv.URL
	srv.Close()
	for _, issuer := range []string{gone, "https://issuer.invalid"} {
		p, err := New(Config{Issuer: issuer, ClientID: "c"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.StartDevice(t.Context())
		wantKind(t, err, Unreachable)
		_, err = p.AuthURL(t.Context(), "s", "n", strings.Repeat("v", 43), "https://bastion/callback")
		wantKind(t, err, Unreachable)
	}
}

func TestSilentIssuer(t *testing.T) {
	stop := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
	defer srv.Close()
	defer close(stop)
	p, err := New(Config{Issuer: srv.URL, ClientID: "c", HTTPClient: &http.Client{Timeout: 100 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = p.StartDevice(t.Context())
	wantKind(t, err, Unreachable)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestPrivateCA(t *testing.T) {
	h := newHostile(t)
	srv, file := newTLS(t, h.Config.Handler)
	h.meta = object{"issuer": srv.URL, "token_endpoint": srv.URL + "/token", "jwks_uri": srv.URL + "/keys", "authorization_endpoint": srv.URL + "/a",
		"device_authorization_endpoint": srv.URL + "/device"}
	h.device = object{"verification_uri": srv.URL + "/activate", "verification_uri_complete": nil}
	h.replies = []func(http.ResponseWriter){tokens(h.good(object{"iss": srv.URL}))}
	p := h.provider(func(c *Config) { c.Issuer, c.CAFile = srv.URL, file })
	d, err := p.StartDevice(t.Context())
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	if u, err := d.Wait(t.Context()); err != nil || u.Issuer != srv.URL {
		t.Errorf("got %+v, %v (%v)", u, err, errors.Unwrap(err))
	}
	_, err = h.provider(func(c *Config) { c.Issuer = srv.URL }).StartDevice(t.Context())
	wantKind(t, err, Unreachable)

	h.meta["token_endpoint"] = h.URL + "/token"
	_, err = h.provider(func(c *Config) { c.Issuer, c.CAFile = srv.URL, file }).StartDevice(t.Context())
	wantKind(t, err, BadAnswer)
	h.meta["token_endpoint"] = srv.URL + "/token"
	h.device["verification_uri"] = h.URL + "/activate"
	_, err = h.provider(func(c *Config) { c.Issuer, c.CAFile = srv.URL, file }).StartDevice(t.Context())
	wantKind(t, err, BadAnswer)
}

// TestSecretsDoNotFollowRedirections sends every POST elsewhere.
func TestSecretsDoNotFollowRedirections(t *testing.T) {
	h := newHostile(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request went on") }))
	defer elsewhere.Close()
	h.start = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}
	_, err := h.provider(func(c *Config) { c.ClientSecret = "s3cret" }).StartDevice(t.Context())
	wantKind(t, err, Unreachable)
}

func TestCodeFlow(t *testing.T) {
	h := newHostile(t)
	p := h.provider()
	verifier, redirect := strings.Repeat("v", 43), "https://bastion.example.com/callback"
	to, err := p.AuthURL(t.Context(), "st&te", "n0nce", verifier, redirect)
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(to)
	q := u.Query()
	for k, want := range map[string]string{"tenant": "1", "response_type": "code", "client_id": "sallyport", "redirect_uri": redirect,
		"state": "st&te", "nonce": "n0nce", "code_challenge_method": "S256", "scope": "openid profile email"} {
		if q.Get(k) != want {
			t.Errorf("%s is %q, want %q", k, q.Get(k), want)
		}
	}
	if q.Get("code_challenge") == verifier || len(q.Get("code_challenge")) != 43 {
		t.Errorf("challenge %q", q.Get("code_challenge"))
	}
	exchange := func(reply func(http.ResponseWriter), nonce string) error {
		h.mu.Lock()
		h.replies = []func(http.ResponseWriter){reply}
		h.mu.Unlock()
		_, err := p.Exchange(t.Context(), "code", nonce, verifier, redirect)
		return err
	}
	if err := exchange(tokens(h.good(object{"nonce": "n0nce"})), "n0nce"); err != nil {
		t.Error(err, errors.Unwrap(err))
	}
	f := h.forms()[0]
	if f.Get("code_verifier") != verifier || f.Get("code") != "code" || f.Get("redirect_uri") != redirect || f.Get("grant_type") != "authorization_code" {
		t.Errorf("asked with %v", f)
	}
	refused(t, exchange(tokens(h.good(object{"nonce": "other"})), "n0nce"), "nonce")
	refused(t, exchange(tokens(h.good(nil)), "n0nce"), "nonce")
	refused(t, exchange(tokens(h.good(object{"nonce": []string{"n0nce"}})), "n0nce"), "nonce")
	wantKind(t, exchange(oauthErr(400, "invalid_grant"), "n0nce"), Expired)
	wantKind(t, exchange(oauthErr(401, "invalid_client"), "n0nce"), ClientRejected)
	for name, err := range map[string]error{
		"no nonce":       exchange(tokens(h.good(nil)), ""),
		"short verifier": func() error { _, err := p.Exchange(t.Context(), "c", "n", "v", redirect); return err }(),
		"no state":       func() error { _, err := p.AuthURL(t.Context(), "", "n", verifier, redirect); return err }(),
		"odd redirect":   func() error { _, err := p.AuthURL(t.Context(), "s", "n", verifier, "javascript:x"); return err }(),
	} {
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	_, err = p.Exchange(t.Context(), "", "n", verifier, redirect)
	wantKind(t, err, Denied)
}
