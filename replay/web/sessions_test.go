package web

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/policy"
)

type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *fakeClock { return &fakeClock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func user(n int) policy.User {
	return policy.User{Issuer: "https://idp", Subject: fmt.Sprint(n), Email: fmt.Sprintf("u%d@example.com", n)}
}

func TestSessionEndsAfterEightHours(t *testing.T) {
	clock := newClock()
	s := newSessions(clock.now)
	cookie := s.start(user(1)).String()
	clock.add(sessionLifetime - time.Second)
	if who := s.find(cookie); who == nil || who.User.Subject != "1" {
		t.Fatalf("a session within its lifetime: %+v", who)
	}
	clock.add(time.Second) // use does not prolong it
	if who := s.find(cookie); who != nil || len(s.byHash) != 0 {
		t.Errorf("a session past its lifetime: %+v, %d held", who, len(s.byHash))
	}
}

func TestSessionKeepsOnlyTheHash(t *testing.T) {
	s := newSessions(newClock().now)
	tok := s.start(user(1))
	for h := range s.byHash {
		if h == tok {
			t.Error("the token itself is kept")
		}
	}
	if s.find(tok.String()).CSRF() == tok.String() {
		t.Error("the form token is the session token")
	}
}

func TestTamperedCookieOpensNothing(t *testing.T) {
	s := newSessions(newClock().now)
	good := s.start(user(1)).String()
	bad := []string{"", "x", good + "A", good[:len(good)-1], good + "=", strings.ToUpper(good), " " + good,
		strings.Repeat("A", len(good)), strings.Repeat("A", 1<<16), "../" + good}
	for i := range good {
		c := byte('A')
		if good[i] == c {
			c = 'B'
		}
		bad = append(bad, good[:i]+string(c)+good[i+1:])
	}
	for _, cookie := range bad {
		if s.find(cookie) != nil {
			t.Errorf("cookie %.60q opens the session of %q", cookie, good)
		}
		s.end(cookie)
	}
	if s.find(good) == nil {
		t.Error("the session was ended by a wrong cookie")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	clock := newClock()
	s := newSessions(clock.now)
	var mine []token
	for range maxUserSessions + 1 {
		mine = append(mine, s.start(user(1)))
		clock.add(time.Second)
	}
	if s.find(mine[0].String()) != nil {
		t.Error("the oldest session of a user survives too many newer ones")
	}
	for _, tok := range mine[1:] {
		if s.find(tok.String()) == nil {
			t.Error("a newer session of the user is gone")
		}
	}
	clock.add(sessionLifetime)
	s.start(user(2))
	if len(s.byHash) != 1 {
		t.Errorf("%d sessions held, want the expired ones gone", len(s.byHash))
	}
}

func TestFlowOpensOnlyAsSealed(t *testing.T) {
	clock := newClock()
	f := newFlows([32]byte{1}, clock.now)
	want := f.begin("/sessions/x")
	cookie, err := f.seal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.open(cookie); err != nil || got != want {
		t.Fatalf("open = %+v, %v; want %+v", got, err, want)
	}
	if strings.Contains(cookie, want.Verifier) {
		t.Error("the verifier can be read in the cookie")
	}
	for i := range cookie {
		c := byte('A')
		if cookie[i] == c {
			c = 'Z'
		}
		// The last character carries bits that decoding drops.
		if _, err := f.open(cookie[:i] + string(c) + cookie[i+1:]); err == nil && i < len(cookie)-1 {
			t.Fatalf("a cookie changed at %d opens", i)
		}
	}
	for _, bad := range []string{"", "A", strings.Repeat("A", 100), cookie[:len(cookie)/2]} {
		if _, err := f.open(bad); err == nil {
			t.Errorf("cookie %q opens", bad)
		}
	}
	if _, err := newFlows([32]byte{2}, clock.now).open(cookie); err == nil {
		t.Error("a cookie of another process opens")
	}
	clock.add(flowLifetime)
	if _, err := f.open(cookie); err == nil {
		t.Error("an expired cookie opens")
	}
}

func TestLocalPath(t *testing.T) {
	for next, want := range map[string]string{
		"/":                             "/",
		"/sessions/abc?view=raw&t=1.5":  "/sessions/abc?view=raw&t=1.5",
		"/?q=a%2Fb":                     "/?q=a%2Fb",
		"":                              "/",
		"sessions/abc":                  "/",
		"//evil.example":                "/",
		"///evil.example":               "/",
		"/\\evil.example":               "/",
		"\\\\evil.example":              "/",
		"/%5cevil.example":              "/",
		"/%2fevil.example":              "/",
		"https://evil.example/":         "/",
		"javascript:alert(1)":           "/",
		"/\t/evil.example":              "/",
		"/\n/evil.example":              "/",
		"/a b":                          "/",
		"/\u00e9":                       "/",
		"/login":                        "/",
		"/login?next=/":                 "/",
		"/callback?code=1":              "/",
		"/logout":                       "/",
		"/" + strings.Repeat("a", 1000): "/",
	} {
		if got := localPath(next); got != want {
			t.Errorf("localPath(%.40q) = %q, want %q", next, got, want)
		}
	}
}
