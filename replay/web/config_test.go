package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/replay"
	"sallyport/replay/web"
)

func TestNewChecksItsConfiguration(t *testing.T) {
	ok := web.Config{Library: &replay.Library{}, SignIn: &idp{}}
	for _, base := range []string{"", "example.com", "ftp://example.com", "https://", "https://h/path", "https://h?q", "https://u@h", "http://h:x", "https://h/#f"} {
		c := ok
		c.BaseURL = base
		if _, err := web.New(c); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("base URL %q: %v", base, err)
		}
	}
	for _, base := range []string{"https://example.com", "https://example.com/", "http://127.0.0.1:8080"} {
		c := ok
		c.BaseURL = base
		if _, err := web.New(c); err != nil {
			t.Errorf("base URL %q: %v", base, err)
		}
	}
	if _, err := web.New(web.Config{BaseURL: "https://example.com"}); err == nil {
		t.Error("a configuration without a library was taken")
	}
}

func TestHTTPSCookiesAreBoundToTheHost(t *testing.T) {
	h, err := web.New(web.Config{Library: &replay.Library{}, SignIn: newIDP(t), BaseURL: "https://bastion.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/login", nil))
	resp := w.Result()
	c := cookieOf(resp, web.SecureCookies.FlowCookie())
	if c == nil || !c.Secure || !strings.HasPrefix(c.Name, "__Host-") || c.Path != "/" || c.Domain != "" {
		t.Errorf("cookie %+v", c)
	}
	if !strings.HasPrefix(web.SecureCookies.SessionCookie(), "__Host-") {
		t.Errorf("session cookie %q", web.SecureCookies.SessionCookie())
	}
	if resp.Header.Get("Strict-Transport-Security") == "" {
		t.Error("no Strict-Transport-Security")
	}
	to, _ := resp.Location()
	if got := to.Query().Get("redirect_uri"); got != "https://bastion.example.com/callback" {
		t.Errorf("redirect_uri %q", got)
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	if _, body := c.get("/healthz"); body != "ok\n" {
		t.Errorf("healthz: %q", body)
	}
	w.mu.Lock()
	w.ready = errors.New("disk /secret/path is full")
	w.mu.Unlock()
	if resp, body := c.get("/readyz"); resp.StatusCode != 503 || body != "not ready\n" {
		t.Errorf("readyz: %d %q", resp.StatusCode, body)
	}
	if _, body := c.get("/.well-known/sallyport.json"); body != `{"client_ca":"ssh-ed25519 AAAA"}`+"\n" {
		t.Errorf("well-known: %q", body)
	}
}

func TestServerHasLimits(t *testing.T) {
	s := web.Server(http.NotFoundHandler())
	for name, d := range map[string]time.Duration{
		"ReadHeaderTimeout": s.ReadHeaderTimeout, "ReadTimeout": s.ReadTimeout, "WriteTimeout": s.WriteTimeout, "IdleTimeout": s.IdleTimeout,
	} {
		if d <= 0 || d > 5*time.Minute {
			t.Errorf("%s is %v", name, d)
		}
	}
	if s.MaxHeaderBytes <= 0 || s.MaxHeaderBytes > 64<<10 {
		t.Errorf("MaxHeaderBytes is %d", s.MaxHeaderBytes)
	}
}
