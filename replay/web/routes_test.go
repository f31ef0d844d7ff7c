package web_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/replay/web"
)

// TestEveryRouteChecksRights is THREATS T33: each route, asked by each role.
func TestEveryRouteChecksRights(t *testing.T) {
	w := newWorld(t)
	id := string(w.record(policy.Session{User: ada}, "hello\r\n"))
	absent := string(policy.NewSessionID(filled(policy.Session{}).Start))
	roles := []struct {
		name string
		*client
	}{
		{"anonymous", w.client()}, {"owner", w.signedIn(ada)}, {"other", w.signedIn(bob)}, {"auditor", w.signedIn(audit)},
	}
	const list, page, file = "GET /{$}", "GET /sessions/{id}", "GET /sessions/{id}/export"
	const apiList, api, cast = "GET /api/v1/sessions", "GET /api/v1/sessions/{id}", "GET /api/v1/sessions/{id}/cast"
	rows := []struct {
		pattern, path string
		want          [4]int // anonymous, owner, other, auditor
	}{
		{list, "/", [4]int{303, 200, 200, 200}},
		{list, "/?state=nonsense", [4]int{303, 400, 400, 400}},
		{list, "/?page=0", [4]int{303, 400, 400, 400}},
		{page, "/sessions/" + id, [4]int{303, 200, 404, 200}},
		{page, "/sessions/" + id + "?view=raw", [4]int{303, 403, 404, 200}},
		{page, "/sessions/" + id + "?view=both", [4]int{303, 400, 400, 400}},
		{page, "/sessions/" + absent, [4]int{303, 404, 404, 404}},
		{page, "/sessions/" + absent + "?view=raw", [4]int{303, 404, 404, 404}},
		{page, "/sessions/..%2f..%2fetc%2fpasswd", [4]int{303, 404, 404, 404}},
		{page, "/sessions/" + id + ".cast", [4]int{303, 404, 404, 404}},
		{page, "/sessions/" + strings.ToUpper(id), [4]int{303, 404, 404, 404}},
		{page, "/sessions/%00", [4]int{303, 404, 404, 404}},
		{file, "/sessions/" + id + "/export?format=v3", [4]int{303, 200, 404, 200}},
		{file, "/sessions/" + id + "/export?format=v2", [4]int{303, 200, 404, 200}},
		{file, "/sessions/" + id + "/export?format=txt", [4]int{303, 200, 404, 200}},
		{file, "/sessions/" + id + "/export?format=raw", [4]int{303, 200, 404, 200}},
		{file, "/sessions/" + id + "/export?format=raw&view=raw", [4]int{303, 403, 404, 200}},
		{file, "/sessions/" + id + "/export?format=exe", [4]int{303, 400, 400, 400}},
		{file, "/sessions/" + id + "/export", [4]int{303, 400, 400, 400}},
		{file, "/sessions/" + absent + "/export?format=v3", [4]int{303, 404, 404, 404}},
		{apiList, "/api/v1/sessions", [4]int{401, 200, 200, 200}},
		{apiList, "/api/v1/sessions?limit=1001", [4]int{401, 400, 400, 400}},
		{api, "/api/v1/sessions/" + id, [4]int{401, 200, 404, 200}},
		{api, "/api/v1/sessions/" + absent, [4]int{401, 404, 404, 404}},
		{api, "/api/v1/sessions/%2e%2e%2fx", [4]int{401, 404, 404, 404}},
		{cast, "/api/v1/sessions/" + id + "/cast", [4]int{401, 200, 404, 200}},
		{cast, "/api/v1/sessions/" + id + "/cast?view=live&from=1.5", [4]int{401, 200, 404, 200}},
		{cast, "/api/v1/sessions/" + id + "/cast?view=raw", [4]int{401, 403, 404, 200}},
		{cast, "/api/v1/sessions/" + id + "/cast?from=-1", [4]int{401, 400, 400, 400}},
		{cast, "/api/v1/sessions/" + absent + "/cast?view=raw", [4]int{401, 404, 404, 404}},
		{"/api/", "/api/v1/keys", [4]int{401, 404, 404, 404}},
		{"GET /login", "/login", [4]int{303, 303, 303, 303}},
		{"GET /callback", "/callback?code=1&state=2", [4]int{400, 400, 400, 400}},
		{"GET /logout", "/logout", [4]int{200, 200, 200, 200}},
		{"GET /static/", "/static/style.css", [4]int{200, 200, 200, 200}},
		{"GET /static/", "/static/dist/.keep", [4]int{404, 404, 404, 404}},
		{"GET /static/", "/static/../web.go", [4]int{307, 307, 307, 307}},
		{"GET /static/", "/static/", [4]int{404, 404, 404, 404}},
		{"GET /.well-known/sallyport.json", "/.well-known/sallyport.json", [4]int{200, 200, 200, 200}},
		{"GET /healthz", "/healthz", [4]int{200, 200, 200, 200}},
		{"GET /readyz", "/readyz", [4]int{200, 200, 200, 200}},
		{"GET /metrics", "/metrics", [4]int{404, 404, 404, 404}}, // none are configured here
		{"/", "/nothing", [4]int{404, 404, 404, 404}},
	}
	missing := web.Patterns()
	for _, row := range rows {
		missing = slices.DeleteFunc(missing, func(p string) bool { return p == row.pattern })
		for i, role := range roles {
			resp, body := role.get(row.path)
			if resp.StatusCode != row.want[i] {
				t.Errorf("%s as %s: %d, want %d: %.200s", row.path, role.name, resp.StatusCode, row.want[i], body)
			}
			checkHeaders(t, row.path, resp)
			if resp.StatusCode != 200 && strings.Contains(body, "hello") {
				t.Errorf("%s as %s shows the recording", row.path, role.name)
			}
		}
	}
	// TestSignOutWantsTheForm has this one.
	missing = slices.DeleteFunc(missing, func(p string) bool { return p == "POST /logout" })
	if len(missing) > 0 {
		t.Errorf("routes without a row: %q", missing)
	}
}

func checkHeaders(t *testing.T, path string, resp *http.Response) {
	t.Helper()
	h := resp.Header
	csp := h.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(csp, part) {
			t.Errorf("%s: content policy %q lacks %q", path, csp, part)
		}
	}
	if strings.Contains(csp, "unsafe-inline") || strings.Contains(csp, "'unsafe-eval'") || strings.Contains(csp, "*") {
		t.Errorf("%s: content policy %q lets too much in", path, csp)
	}
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
	} {
		if h.Get(name) != want {
			t.Errorf("%s: %s is %q, want %q", path, name, h.Get(name), want)
		}
	}
	if !strings.HasPrefix(path, "/static/") && h.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: Cache-Control is %q", path, h.Get("Cache-Control"))
	}
}

// TestMethods asks with methods that no route has.
func TestMethods(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn(ada)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		for _, path := range []string{"/", "/sessions/x", "/login", "/healthz"} {
			if resp, _ := c.do(c.request(method, path, nil)); resp.StatusCode/100 != 4 {
				t.Errorf("%s %s: %d", method, path, resp.StatusCode)
			}
		}
	}
}

// TestForbiddenLooksAbsent compares the two answers, byte for byte.
func TestForbiddenLooksAbsent(t *testing.T) {
	w := newWorld(t)
	id := w.record(policy.Session{User: ada}, "hello\r\n")
	absent := policy.NewSessionID(filled(policy.Session{}).Start)
	c := w.signedIn(bob)
	for _, form := range []string{"/sessions/%s", "/sessions/%s/export?format=v3", "/api/v1/sessions/%s", "/api/v1/sessions/%s/cast?view=raw"} {
		r1, b1 := c.get(fmt.Sprintf(form, id))
		r2, b2 := c.get(fmt.Sprintf(form, absent))
		if r1.StatusCode != r2.StatusCode || csrfless(b1) != csrfless(b2) {
			t.Errorf("%s: %d %q for a forbidden one, %d %q for an absent one", form, r1.StatusCode, b1, r2.StatusCode, b2)
		}
	}
}

func csrfless(body string) string {
	before, after, found := strings.Cut(body, `name="csrf" value="`)
	if !found {
		return body
	}
	_, after, _ = strings.Cut(after, `"`)
	return before + after
}

// TestViewsAreOnAccount holds that what is watched, and what is refused, leaves
// an entry.
func TestViewsAreOnAccount(t *testing.T) {
	w := newWorld(t)
	id := w.record(policy.Session{User: ada}, "hello\r\n")
	owner, other, auditor := w.signedIn(ada), w.signedIn(bob), w.signedIn(audit)
	for _, tt := range []struct {
		*client
		path string
		user policy.User
	}{
		{owner, "/api/v1/sessions/%s/cast", ada},
		{auditor, "/api/v1/sessions/%s/cast?view=raw", audit},
		{owner, "/sessions/%s/export?format=v3", ada},
		{owner, "/api/v1/sessions/%s/cast?view=raw", ada},
		{owner, "/sessions/%s?view=raw", ada},
	} {
		w.account()
		path := fmt.Sprintf(tt.path, id)
		resp, _ := tt.get(path)
		found := false
		for _, e := range w.account() {
			found = found || e.Session == id && e.User != nil && e.User.Subject == tt.user.Subject
		}
		if !found {
			t.Errorf("%s as %s (%d) left no entry", path, tt.user, resp.StatusCode)
		}
	}
	// Who asks for others' recordings, or guesses at them, is in the log.
	for _, form := range []string{"/sessions/%s", "/sessions/%s/export?format=v3", "/api/v1/sessions/%s", "/api/v1/sessions/%s/cast"} {
		w.logged()
		path := fmt.Sprintf(form, id)
		other.get(path)
		if line := w.logged(); !strings.Contains(line, "recording refused") || !strings.Contains(line, "user="+string(bob.Principal())) ||
			!strings.Contains(line, string(id)) {
			t.Errorf("%s as %s logs %q", path, bob, line)
		}
	}
}
