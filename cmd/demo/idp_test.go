package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"sallyport/certs/signin"
	"sallyport/policy"
)

const testRedirect = "http://127.0.0.1/callback"

// startIssuer serves an issuer for c on loopback until the test ends.
func startIssuer(t *testing.T, c client) *issuer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.id, c.redirects = "sallyport", []string{testRedirect}
	i, err := newIssuer("http://"+l.Addr().String(), c)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: i}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return i
}

func provider(t *testing.T, i *issuer, secret string) *signin.Provider {
	t.Helper()
	p, err := signin.New(signin.Config{Issuer: i.url, ClientID: "sallyport", ClientSecret: secret})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func post(t *testing.T, to string, form url.Values) (int, string) {
	t.Helper()
	resp, err := http.PostForm(to, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func TestDeviceFlow(t *testing.T) {
	for _, secret := range []string{"", "s3cret &+%"} {
		t.Run("secret="+secret, func(t *testing.T) {
			t.Parallel()
			i := startIssuer(t, client{secret: secret})
			d, err := provider(t, i, secret).StartDevice(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d.VerificationURL != i.url+"/device" || d.CompleteURL != i.url+"/device?user_code="+d.UserCode {
				t.Errorf("the URLs are %s and %s", d.VerificationURL, d.CompleteURL)
			}
			form := url.Values{"user_code": {strings.ToLower(d.UserCode)}, "login": {"alice"}}
			if code, body := post(t, d.VerificationURL, form); code != 200 || !strings.Contains(body, "Approved") {
				t.Fatalf("approving: %d %s", code, body)
			}
			if code, _ := post(t, d.VerificationURL, form); code == 200 {
				t.Error("a code could be approved twice")
			}
			u, err := d.Wait(t.Context())
			if err != nil {
				t.Fatal(err, errors.Unwrap(err))
			}
			want := policy.User{Issuer: i.url, Subject: "alice", Name: "Alice Fischer", Email: "alice@example.com"}
			if u.Principal() != want.Principal() || u.Name != want.Name || u.Email != want.Email || strings.Join(u.Groups, " ") != "engineers" {
				t.Errorf("signed in %+v", u)
			}
		})
	}
}

func TestDeviceFlowDenied(t *testing.T) {
	t.Parallel()
	i := startIssuer(t, client{})
	d, err := provider(t, i, "").StartDevice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := post(t, d.VerificationURL, url.Values{"user_code": {d.UserCode}, "action": {"deny"}}); code != 200 {
		t.Fatal(code)
	}
	wantKind(t, signin.Denied, func() error { _, err := d.Wait(t.Context()); return err })
}

func TestDeviceFlowWrongClient(t *testing.T) {
	t.Parallel()
	i := startIssuer(t, client{})
	p, err := signin.New(signin.Config{Issuer: i.url, ClientID: "somebody else"})
	if err != nil {
		t.Fatal(err)
	}
	wantKind(t, signin.ClientRejected, func() error { _, err := p.StartDevice(t.Context()); return err })
	p = provider(t, startIssuer(t, client{secret: "right"}), "wrong")
	wantKind(t, signin.ClientRejected, func() error { _, err := p.StartDevice(t.Context()); return err })
}

func wantKind(t *testing.T, want signin.Kind, f func() error) {
	t.Helper()
	err := f()
	var e *signin.Error
	if !errors.As(err, &e) || e.Kind != want {
		t.Errorf("got %v (%v), want kind %d", err, errors.Unwrap(err), want)
	}
}

// TestDeviceCodeCountsOnce polls the token endpoint by hand.
func TestDeviceCodeCountsOnce(t *testing.T) {
	t.Parallel()
	i := startIssuer(t, client{})
	s := i.store
	if err := s.StoreDeviceAuthorization(t.Context(), "sallyport", "dc", "AAAA-BBBB", time.Now().Add(time.Minute), []string{"openid"}); err != nil {
		t.Fatal(err)
	}
	poll := func() string {
		_, body := post(t, i.url+"/oauth/token", url.Values{"client_id": {"sallyport"}, "device_code": {"dc"},
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}})
		return body
	}
	if got := poll(); !strings.Contains(got, "authorization_pending") {
		t.Errorf("first: %s", got)
	}
	if got := poll(); !strings.Contains(got, "slow_down") {
		t.Errorf("too soon: %s", got)
	}
	if err := s.decide("aaaa-bbbb", "bob", false); err != nil {
		t.Fatal(err)
	}
	time.Sleep(pollInterval)
	if got := poll(); !strings.Contains(got, "id_token") {
		t.Errorf("approved: %s", got)
	}
	time.Sleep(pollInterval)
	if got := poll(); !strings.Contains(got, "access_denied") {
		t.Errorf("again: %s", got)
	}
}

func TestBrowserFlow(t *testing.T) {
	t.Parallel()
	i := startIssuer(t, client{})
	p := provider(t, i, "")
	verifier := oauth2.GenerateVerifier()
	to, err := p.AuthURL(t.Context(), "state", "nonce", verifier, testRedirect)
	if err != nil {
		t.Fatal(err)
	}
	code := browse(t, to, "carol")
	wantKind(t, signin.Expired, func() error {
		_, err := p.Exchange(t.Context(), "guess", "nonce", verifier, testRedirect)
		return err
	})
	u, err := p.Exchange(t.Context(), code, "nonce", verifier, testRedirect)
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	if u.Subject != "carol" || strings.Join(u.Groups, " ") != "auditors" {
		t.Errorf("signed in %+v", u)
	}
	wantKind(t, signin.Expired, func() error {
		_, err := p.Exchange(t.Context(), code, "nonce", verifier, testRedirect)
		return err
	})
}

func TestBrowserFlowWrongVerifierOrNonce(t *testing.T) {
	t.Parallel()
	p := provider(t, startIssuer(t, client{}), "")
	for _, c := range []struct {
		nonce, verifier string
		want            signin.Kind
	}{
		{"nonce", oauth2.GenerateVerifier(), signin.Expired},
		{"other", "", signin.BadToken},
	} {
		verifier := oauth2.GenerateVerifier()
		to, err := p.AuthURL(t.Context(), "state", "nonce", verifier, testRedirect)
		if err != nil {
			t.Fatal(err)
		}
		code := browse(t, to, "alice")
		if c.verifier != "" {
			verifier = c.verifier
		}
		wantKind(t, c.want, func() error {
			_, err := p.Exchange(context.Background(), code, c.nonce, verifier, testRedirect)
			return err
		})
	}
}

// browse does what a person does with a browser: opens to, sends the form as
// login, and returns the code that the browser is sent back with.
func browse(t *testing.T, to, login string) string {
	t.Helper()
	jar, _ := cookiejar.New(nil)
	var back *url.URL
	c := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), testRedirect) {
			back = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	resp, err := c.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	form := resp.Request.URL
	if form.Path != "/login" {
		t.Fatalf("the browser is at %s", form)
	}
	resp, err = c.PostForm(form.Scheme+"://"+form.Host+"/login", url.Values{"id": {form.Query().Get("id")}, "login": {login}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if back == nil || back.Query().Get("state") != "state" {
		t.Fatalf("sent back to %v", back)
	}
	return back.Query().Get("code")
}

func TestPagesAreFormsAndEscape(t *testing.T) {
	t.Parallel()
	i := startIssuer(t, client{})
	for path, wants := range map[string][]string{
		"/device?user_code=ABCD-EFGH":       {`value="ABCD-EFGH"`, `name="user_code"`, `name="login"`, `name="action"`, `value="deny"`, `value="carol"`, "(engineers, on-call)"},
		"/device?user_code=%22%3E%3Cscript": {`value="&#34;&gt;&lt;script"`},
		"/login?id=%22%3E":                  {`name="id" value="&#34;&gt;"`, `name="login"`},
	} {
		resp, err := http.Get(i.url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		for _, want := range wants {
			if !strings.Contains(string(body), want) {
				t.Errorf("%s: no %s in\n%s", path, want, body)
			}
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	for path, form := range map[string]url.Values{
		"/device": {"user_code": {"ZZZZ-ZZZZ"}, "login": {"alice"}},
		"/login":  {"id": {"guess"}, "login": {"alice"}},
	} {
		if code, _ := post(t, i.url+path, form); code != http.StatusBadRequest {
			t.Errorf("%s with a guess: %d", path, code)
		}
		form.Set("login", "mallory")
		if code, _ := post(t, i.url+path, form); code != http.StatusBadRequest {
			t.Errorf("%s as nobody: %d", path, code)
		}
	}
}
