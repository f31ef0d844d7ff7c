package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/replay/web"
)

func cookieOf(resp *http.Response, name string) *http.Cookie {
	for _, c := range resp.Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func TestSignInLeadsBack(t *testing.T) {
	w := newWorld(t)
	id := w.record(policy.Session{User: ada}, "hello\r\n")
	c := w.client()
	w.idp.as(ada)
	if status, body := c.follow("/sessions/" + string(id)); status != 200 || !strings.Contains(body, string(id)) {
		t.Errorf("after the sign-in: %d %.300s", status, body)
	}
	for _, next := range []string{"//evil.example/", "https://evil.example/", "/\\evil.example"} {
		resp, _ := w.signedIn(ada).get("/login?next=" + url.QueryEscape(next))
		to, _ := resp.Location()
		resp, _ = c.get(to.String())
		back, _ := resp.Location()
		r := c.request("GET", back.String(), nil)
		// The flow cookie is that of another client here, so begin anew.
		resp, _ = c.do(r)
		if resp.StatusCode != 400 {
			t.Errorf("finishing another browser's sign-in: %d", resp.StatusCode)
		}
		resp, _ = c.get("/login?next=" + url.QueryEscape(next))
		to, _ = resp.Location()
		resp, _ = c.get(to.String())
		back, _ = resp.Location()
		resp, _ = c.get(back.String())
		if got := resp.Header.Get("Location"); got != "/" {
			t.Errorf("next=%q leads to %q", next, got)
		}
	}
}

func TestCookies(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	w.idp.as(ada)
	resp, _ := c.get("/login")
	flow := cookieOf(resp, web.PlainCookies.FlowCookie())
	if flow == nil || !flow.HttpOnly || flow.SameSite != http.SameSiteLaxMode || flow.MaxAge != 600 || flow.Path != "/" {
		t.Fatalf("sign-in cookie %+v", flow)
	}
	to, _ := resp.Location()
	resp, _ = c.get(to.String())
	back, _ := resp.Location()
	resp, _ = c.get(back.String())
	session := cookieOf(resp, web.PlainCookies.SessionCookie())
	if session == nil || !session.HttpOnly || session.SameSite != http.SameSiteLaxMode || session.MaxAge != 8*3600 || session.Domain != "" {
		t.Errorf("session cookie %+v", session)
	}
	if gone := cookieOf(resp, flow.Name); gone == nil || gone.MaxAge >= 0 {
		t.Errorf("the sign-in cookie is kept: %+v", gone)
	}

	// The same answer of the issuer does not sign in twice.
	if resp, _ := c.get(back.String()); resp.StatusCode != 400 {
		t.Errorf("a replayed callback: %d", resp.StatusCode)
	}
	// A session cookie that is sent twice is not believed.
	r := w.client().request("GET", "/", nil)
	r.Header.Set("Cookie", session.Name+"="+session.Value+"; "+session.Name+"="+session.Value)
	if resp, _ := w.client().do(r); resp.StatusCode != 303 {
		t.Errorf("a doubled cookie: %d", resp.StatusCode)
	}
	// Nor is one that was tampered with.
	for _, v := range []string{session.Value[:42] + "x", session.Value + "x", "x", "../../x"} {
		r := w.client().request("GET", "/api/v1/sessions", nil)
		r.Header.Set("Cookie", session.Name+"="+v)
		if resp, _ := w.client().do(r); resp.StatusCode != 401 {
			t.Errorf("cookie %q: %d", v, resp.StatusCode)
		}
	}
}

// TestSignInChangesTheSession holds that a planted or older session does not
// become the new user's.
func TestSignInChangesTheSession(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn(bob)
	u, _ := url.Parse(w.base)
	before := c.Jar.Cookies(u)[0].Value
	w.idp.as(ada)
	c.follow("/login")
	if after := c.Jar.Cookies(u)[0].Value; after == before {
		t.Error("the session token is the same after another sign-in")
	}
	r := w.client().request("GET", "/api/v1/sessions", nil)
	r.Header.Set("Cookie", web.PlainCookies.SessionCookie()+"="+before)
	if resp, _ := w.client().do(r); resp.StatusCode != 401 {
		t.Errorf("the session from before still opens: %d", resp.StatusCode)
	}
}

func TestSignInFailures(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name string
		path func(*client) string
		want string
	}{
		{"no cookie", func(*client) string { return "/callback?code=a&state=b" }, "expired or was begun in another browser"},
		{"wrong state", func(c *client) string {
			c.get("/login")
			return "/callback?code=code-0&state=" + strings.Repeat("A", 43)
		}, "another browser"},
		{"unknown code", func(c *client) string {
			resp, _ := c.get("/login")
			to, _ := resp.Location()
			return "/callback?code=none&state=" + url.QueryEscape(to.Query().Get("state"))
		}, "The identity provider does not know this sign-in."},
	} {
		c := w.client()
		resp, body := c.get(tt.path(c))
		if resp.StatusCode/100 != 4 || !strings.Contains(body, tt.want) || cookieOf(resp, web.PlainCookies.SessionCookie()) != nil {
			t.Errorf("%s: %d %s, want %q and no session", tt.name, resp.StatusCode, body, tt.want)
		}
	}

	w.idp.as(ghost)
	status, body := w.client().follow("/")
	if status != 403 || !strings.Contains(body, "Ghosts are &lt;b&gt;not&lt;/b&gt; allowed here.") || strings.Contains(body, "internal detail") {
		t.Errorf("a user whom policy refuses: %d %s", status, body)
	}
	w.idp.as(policy.User{})
	if status, body = w.client().follow("/"); status != 403 || !strings.Contains(body, "named nobody") {
		t.Errorf("a token that names nobody: %d %s", status, body)
	}
	w.idp.deny = true
	status, body = w.client().follow("/")
	if status != 403 || !strings.Contains(body, "The identity provider refused the sign-in.") || strings.Contains(body, "pwned") {
		t.Errorf("a refused sign-in: %d %s", status, body)
	}
}

func TestLockedUserIsOutAtOnce(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn(ada)
	w.mu.Lock()
	w.locked = ada
	w.mu.Unlock()
	if resp, _ := c.get("/api/v1/sessions"); resp.StatusCode != 403 {
		t.Errorf("a locked user: %d", resp.StatusCode)
	}
	w.mu.Lock()
	w.locked = policy.User{}
	w.mu.Unlock()
	if resp, _ := c.get("/api/v1/sessions"); resp.StatusCode != 401 {
		t.Errorf("the session of a locked user lives on: %d", resp.StatusCode)
	}
}

// TestSignOutWantsTheForm is the route POST /logout, for each role and from
// another site.
func TestSignOutWantsTheForm(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn(ada)
	_, body := c.get("/logout")
	_, rest, _ := strings.Cut(body, `name="csrf" value="`)
	csrf, _, found := strings.Cut(rest, `"`)
	if !found {
		t.Fatalf("no form: %s", body)
	}
	other := w.signedIn(ada)
	good := url.Values{"csrf": {csrf}}
	type try struct {
		name   string
		c      *client
		form   url.Values
		header http.Header
		want   int
	}
	for _, tt := range []try{
		{"no token", c, url.Values{}, nil, 403},
		{"wrong token", c, url.Values{"csrf": {strings.Repeat("A", 43)}}, nil, 403},
		{"another session's token", other, good, nil, 403},
		{"another site", c, good, http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		{"another origin", c, good, http.Header{"Origin": {"https://evil.example"}}, 403},
		{"a huge form", c, url.Values{"csrf": {strings.Repeat("A", 1<<20)}}, nil, 403},
		{"anonymous", w.client(), good, nil, 303},
		{"the form", c, good, nil, 303},
	} {
		if tt.name == "the form" {
			if resp, _ := c.get("/api/v1/sessions"); resp.StatusCode != 200 {
				t.Fatalf("the session ended before: %d", resp.StatusCode)
			}
		}
		r := tt.c.request("POST", "/logout", tt.form)
		for k, v := range tt.header {
			r.Header[k] = v
		}
		if resp, _ := tt.c.do(r); resp.StatusCode != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, resp.StatusCode, tt.want)
		}
	}
	if resp, _ := c.get("/api/v1/sessions"); resp.StatusCode != 401 {
		t.Errorf("signed out, and yet %d", resp.StatusCode)
	}
	if resp, _ := other.get("/api/v1/sessions"); resp.StatusCode != 200 {
		t.Errorf("another browser's session ended, too: %d", resp.StatusCode)
	}
}
