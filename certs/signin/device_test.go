package signin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is time that passes only while somebody waits.
type clock struct {
	mu     sync.Mutex
	pauses []time.Duration
}

func (c *clock) wait(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pauses = append(c.pauses, d)
	return nil
}

func wantKind(t *testing.T, err error, want Kind) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != want {
		t.Errorf("got %v (%v), want kind %d", err, errors.Unwrap(err), want)
		return
	}
	s := e.Error()
	if strings.Count(s, ".") != 1 || !strings.HasSuffix(s, ".") || strings.Contains(s, "127.0.0.1") || strings.Contains(s, "secret") || e.UserMessage() != s {
		t.Errorf("%q is not one sentence for the user", s)
	}
	if d := fmt.Sprint(e.Err); printable(d) != d || strings.Contains(d, "s3cret") || strings.Contains(d, "the-device-code") {
		t.Errorf("%q is not fit to log", d)
	}
}

func TestDevicePolling(t *testing.T) {
	h := newHostile(t)
	pending, slow := oauthErr(400, "authorization_pending"), oauthErr(400, "slow_down")
	busy := func(w http.ResponseWriter) { http.Error(w, "<html>busy</html>", http.StatusServiceUnavailable) }
	cut := func(w http.ResponseWriter) {
		c, _, _ := w.(http.Hijacker).Hijack()
		c.Close()
	}
	for _, c := range []struct {
		name    string
		device  object
		replies []func(http.ResponseWriter)
		pauses  []time.Duration // in seconds
		kind    Kind            // zero: signed in
	}{
		{"at once", nil, nil, []time.Duration{5}, 0},
		{"pending", nil, []func(http.ResponseWriter){pending, pending}, []time.Duration{5, 5, 5}, 0},
		{"slow_down adds up", nil, []func(http.ResponseWriter){slow, pending, slow, pending}, []time.Duration{5, 10, 10, 15, 15}, 0},
		{"no interval", object{"interval": nil}, nil, []time.Duration{5}, 0},
		{"interval 0", object{"interval": 0}, nil, []time.Duration{5}, 0},
		{"negative interval", object{"interval": -3}, nil, []time.Duration{5}, 0},
		{"short interval", object{"interval": 0.01}, nil, []time.Duration{5}, 0},
		{"interval as a string", object{"interval": "2", "expires_in": "60"}, nil, []time.Duration{2}, 0},
		{"interval of a year", object{"interval": 3e7}, nil, []time.Duration{60}, 0},
		{"out of reach for a while", nil, []func(http.ResponseWriter){cut, busy, pending}, []time.Duration{5, 10, 20, 5}, 0},
		{"out of reach for good", nil, []func(http.ResponseWriter){busy, cut, busy, busy, busy}, []time.Duration{5, 10, 20, 40}, Unreachable},
		{"too many requests", nil, []func(http.ResponseWriter){oauthErr(429, "")}, []time.Duration{5, 10}, 0},
		{"denied", nil, []func(http.ResponseWriter){pending, oauthErr(400, "access_denied")}, []time.Duration{5, 5}, Denied},
		{"denied with status 200", nil, []func(http.ResponseWriter){oauthErr(200, "access_denied")}, []time.Duration{5}, Denied},
		{"expired there", nil, []func(http.ResponseWriter){oauthErr(400, "expired_token")}, []time.Duration{5}, Expired},
		{"code used", nil, []func(http.ResponseWriter){oauthErr(400, "invalid_grant")}, []time.Duration{5}, Expired},
		{"client gone", nil, []func(http.ResponseWriter){oauthErr(401, "invalid_client")}, []time.Duration{5}, ClientRejected},
		{"no such grant", nil, []func(http.ResponseWriter){oauthErr(400, "unsupported_grant_type")}, []time.Duration{5}, NoDeviceFlow},
		{"nonsense", nil, []func(http.ResponseWriter){oauthErr(400, "\x1b]0;x\a")}, []time.Duration{5}, BadAnswer},
		{"no JSON", nil, []func(http.ResponseWriter){func(w http.ResponseWriter) { w.Write([]byte("<html>")) }}, []time.Duration{5}, BadAnswer},
		{"endless", nil, []func(http.ResponseWriter){func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			for range 64 {
				w.Write([]byte(strings.Repeat(" ", 64<<10)))
			}
		}}, []time.Duration{5}, BadAnswer},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, clk := h.provider(), &clock{}
			p.wait = clk.wait
			h.mu.Lock()
			h.device, h.replies = c.device, append(slices.Clone(c.replies), tokens(h.good(nil)))
			h.mu.Unlock()
			d, err := p.StartDevice(t.Context())
			if err != nil {
				t.Fatal(err, errors.Unwrap(err))
			}
			u, err := d.Wait(t.Context())
			if c.kind == 0 && (err != nil || u.Subject != "s-1") {
				t.Errorf("got %+v, %v (%v)", u, err, errors.Unwrap(err))
			} else if c.kind != 0 {
				wantKind(t, err, c.kind)
			}
			for i := range clk.pauses {
				clk.pauses[i] /= time.Second
			}
			if !slices.Equal(clk.pauses, c.pauses) {
				t.Errorf("paused %d, want %d", clk.pauses, c.pauses)
			}
		})
	}
}

func TestT4DeviceCodeIsBounded(t *testing.T) {
	h := newHostile(t)
	h.device = object{"expires_in": 86400}
	h.replies = []func(http.ResponseWriter){tokens(h.good(nil))}
	p := h.provider()
	d, err := p.StartDevice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(d.Expires); left > 10*time.Minute || left < 9*time.Minute {
		t.Errorf("the code lives %s", left)
	}
	if s := fmt.Sprintf("%+v", d); strings.Contains(s, "the-device-code") {
		t.Errorf("printing shows the device code: %s", s)
	}
	if _, err := d.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = d.Wait(t.Context())
	wantKind(t, err, Expired)
	if n := len(h.forms()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestDeviceExpiresHere(t *testing.T) {
	h := newHostile(t)
	h.device = object{"expires_in": 1, "interval": 1}
	h.replies = []func(http.ResponseWriter){oauthErr(400, "authorization_pending")}
	p := h.provider()
	p.wait = sleep
	d, err := p.StartDevice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = d.Wait(t.Context())
	wantKind(t, err, Expired)
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestDeviceExpiresForTheCaller has a caller whose own limit comes first.
func TestDeviceExpiresForTheCaller(t *testing.T) {
	h := newHostile(t)
	h.replies = []func(http.ResponseWriter){oauthErr(400, "authorization_pending")}
	p := h.provider()
	d, err := p.StartDevice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.wait = sleep
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = d.Wait(ctx)
	wantKind(t, err, Expired)
	_, err = p.StartDevice(ctx)
	wantKind(t, err, Unreachable)
}

func TestDeviceCancelled(t *testing.T) {
	h := newHostile(t)
	hang := make(chan struct{})
	defer close(hang)
	gone := errors.New("the client has gone")
	for name, wait := range map[string]func(context.Context, time.Duration) error{
		"in a pause": sleep, "in a request": func(context.Context, time.Duration) error { return nil },
	} {
		h.mu.Lock()
		h.replies = []func(http.ResponseWriter){func(http.ResponseWriter) { <-hang }}
		h.mu.Unlock()
		p := h.provider()
		d, err := p.StartDevice(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.wait = wait
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { cancel(gone) })
		start := time.Now()
		_, err = d.Wait(ctx)
		t.Log(name)
		wantKind(t, err, Cancelled)
		if !errors.Is(err, gone) || time.Since(start) > time.Second {
			t.Errorf("got %v after %s", errors.Unwrap(err), time.Since(start))
		}
	}
}

func TestDeviceAnswerIsChecked(t *testing.T) {
	h := newHostile(t)
	h.replies = []func(http.ResponseWriter){tokens(h.good(nil))}
	for name, device := range map[string]object{
		"no code":            {"user_code": ""},
		"code with escape":   {"user_code": "AB\x1b[2J"},
		"code with newline":  {"user_code": "AB\nCD"},
		"code not ASCII":     {"user_code": "ÄB"},
		"long code":          {"user_code": strings.Repeat("A", 65)},
		"no device code":     {"device_code": ""},
		"no expiry":          {"expires_in": nil},
		"expiry in the past": {"expires_in": -1},
		"expiry no number":   {"expires_in": "soon"},
		"expiry too large":   {"expires_in": 1e300},
		"no URL":             {"verification_uri": ""},
		"javascript":         {"verification_uri": "javascript:alert(1)"},
		"file":               {"verification_uri": "file:///etc/passwd"},
		"relative":           {"verification_uri": "/device"},
		"other host posing":  {"verification_uri": "https://login.example.com@evil.example/"},
		"URL with escape":    {"verification_uri": "https://example.com/\x1b[2J"},
		"URL with space":     {"verification_uri": "https://example.com/ x"},
		"URL not ASCII":      {"verification_uri": "https://exämple.com/"},
		"long URL":           {"verification_uri": "https://example.com/" + strings.Repeat("a", maxURL)},
		"bad complete URL":   {"verification_uri_complete": "data:text/html,x"},
	} {
		h.mu.Lock()
		h.device = device
		h.mu.Unlock()
		d, err := h.provider().StartDevice(t.Context())
		if err == nil {
			t.Errorf("%s: showed %q %q", name, d.VerificationURL, d.UserCode)
			continue
		}
		t.Log(name)
		wantKind(t, err, BadAnswer)
	}
	h.mu.Lock()
	h.device = object{"verification_uri": nil, "verification_url": "http://example.com/device", "verification_uri_complete": nil}
	h.mu.Unlock()
	if d, err := h.provider().StartDevice(t.Context()); err != nil || d.VerificationURL != "http://example.com/device" || d.CompleteURL != "" {
		t.Errorf("the old spelling: %+v, %v", d, err)
	}
}

func TestDeviceStartFails(t *testing.T) {
	h := newHostile(t)
	for _, c := range []struct {
		name   string
		status int
		code   string
		want   Kind
	}{
		{"wrong client id", 401, "invalid_client", ClientRejected},
		{"client without the grant", 400, "unauthorized_client", ClientRejected},
		{"wrong scope", 400, "invalid_scope", ClientRejected},
		{"forbidden without a word", 403, "", ClientRejected},
		{"grant unknown", 400, "unsupported_grant_type", NoDeviceFlow},
		{"down", 502, "", Unreachable},
		{"down, politely", 400, "temporarily_unavailable", Unreachable},
		{"no endpoint after all", 404, "", BadAnswer},
	} {
		h.mu.Lock()
		h.start = func(w http.ResponseWriter, _ *http.Request) { oauthErr(c.status, c.code)(w) }
		h.mu.Unlock()
		_, err := h.provider(func(c *Config) { c.ClientSecret = "s3cret" }).StartDevice(t.Context())
		t.Log(c.name)
		wantKind(t, err, c.want)
	}
	h.mu.Lock()
	h.meta = object{"device_authorization_endpoint": nil}
	h.mu.Unlock()
	_, err := h.provider().StartDevice(t.Context())
	wantKind(t, err, NoDeviceFlow)
}

// TestClientAuthentication looks at how the client proves who it is, in both
// requests of the device flow.
func TestClientAuthentication(t *testing.T) {
	for _, c := range []struct {
		name, secret string
		methods      []string
		basic        bool
	}{
		{"public", "", []string{"client_secret_basic"}, false},
		{"default", "s3c:ret/+ä", nil, true},
		{"both", "s3cret", []string{"client_secret_post", "client_secret_basic"}, true},
		{"in the form", "s3cret", []string{"client_secret_post"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHostile(t)
			h.meta = object{"token_endpoint_auth_methods_supported": c.methods, "scopes_supported": []string{"groups"}}
			if c.methods == nil {
				h.meta = nil
			}
			if _, err := h.signIn(h.provider(func(x *Config) { x.ClientSecret = c.secret }), tokens(h.good(nil))); err != nil {
				t.Fatal(err, errors.Unwrap(err))
			}
			forms := h.forms()
			for i, f := range forms {
				user, pass, basic := h.requests[i].BasicAuth()
				if basic != c.basic || basic && (user != "sallyport" || pass == "") || basic == f.Has("client_id") || f.Has("client_secret") != (c.secret != "" && !c.basic) {
					t.Errorf("request %d: basic %v, %v", i, basic, f)
				}
			}
			verifier := forms[1].Get("code_verifier")
			sum := sha256.Sum256([]byte(verifier))
			if pkce := c.secret == ""; forms[0].Has("code_challenge") != pkce || pkce && forms[0].Get("code_challenge") != b64(sum[:]) {
				t.Errorf("challenge %q for verifier %q", forms[0].Get("code_challenge"), verifier)
			}
			want := "openid profile email"
			if c.methods != nil {
				want += " groups"
			}
			if got := forms[0].Get("scope"); got != want {
				t.Errorf("asked for %q, want %q", got, want)
			}
		})
	}
}
