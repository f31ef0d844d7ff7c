package signin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// startIndependent runs oidc-provider, an OpenID provider that shares no code
// with anything of ours, and returns its issuer.
func startIndependent(t *testing.T, env ...string) string {
	t.Helper()
	const dir = "testdata/idp"
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			unavailable(t, "%s is missing", program)
		}
	}
	if err := install(dir); err != nil {
		unavailable(t, "oidc-provider cannot be installed: %v", err)
	}
	cmd := exec.Command("node", "index.mjs")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		kill := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("it did not start: %v", err)
	}
	return strings.TrimSpace(line)
}

func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// install runs npm once, whoever else tests at the same time.
func install(dir string) error {
	f, err := os.Open(dir + "/package.json")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if _, err := os.Stat(dir + "/node_modules/.package-lock.json"); err == nil {
		return nil
	}
	cmd := exec.Command("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// person is somebody with a browser, known to the provider as login.
type person struct {
	t     *testing.T
	c     *http.Client
	ended *url.URL // where the browser was sent at the end of the code flow
}

const testRedirect = "http://127.0.0.1/callback"

func newPerson(t *testing.T, issuer, login string) *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(issuer)
	jar.SetCookies(u, []*http.Cookie{{Name: "login", Value: login, Path: "/"}})
	p := &person{t: t}
	p.c = &http.Client{Jar: jar, Timeout: 10 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), testRedirect) {
			p.ended = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return p
}

func (p *person) read(resp *http.Response, err error) string {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(body)
}

var hidden = regexp.MustCompile(`name="xsrf" value="([^"]+)"`)

// decide opens the page with the code in it and presses a button: confirm or
// abort.
func (p *person) decide(d *Device, button string) string {
	p.t.Helper()
	page := p.read(p.c.Get(d.CompleteURL))
	form := func() url.Values {
		m := hidden.FindStringSubmatch(page)
		if m == nil {
			p.t.Fatalf("no form in %s", page)
		}
		return url.Values{"xsrf": {m[1]}, "user_code": {d.UserCode}}
	}
	page = p.read(p.c.PostForm(d.VerificationURL, form()))
	if !strings.Contains(page, d.UserCode) {
		p.t.Fatalf("the page does not show the code: %s", page)
	}
	f := form()
	f.Set(button, "yes")
	return p.read(p.c.PostForm(d.VerificationURL, f))
}

func independent(t *testing.T, issuer, client string) *Provider {
	t.Helper()
	secret := ""
	if client == "basic" || client == "post" {
		secret = "s3cret:+/ %&"
	}
	p, err := New(Config{Issuer: issuer, ClientID: client, ClientSecret: secret})
	if err != nil {
		t.Fatal(err)
	}
	p.wait = (&clock{}).wait
	return p
}

func TestIndependentDeviceFlow(t *testing.T) {
	t.Parallel()
	issuer := startIndependent(t)
	for _, client := range []string{"public", "basic", "ps", "es", "ed"} {
		d, err := independent(t, issuer, client).StartDevice(t.Context())
		if err != nil {
			t.Fatal(client, err, errors.Unwrap(err))
		}
		newPerson(t, issuer, "alice").decide(d, "confirm")
		u, err := d.Wait(t.Context())
		if err != nil {
			t.Errorf("%s: %v (%v)", client, err, errors.Unwrap(err))
			continue
		}
		if u.Issuer != issuer || u.Subject != "alice" || u.Name != "Alice Fischer" || u.Email != "alice@example.com" || !slices.Equal(u.Groups, []string{"engineers", "on-call"}) {
			t.Errorf("%s: signed in %+v", client, u)
		}
	}
}

func TestIndependentClaimsInTheToken(t *testing.T) {
	t.Parallel()
	issuer := startIndependent(t, "IDP_CLAIMS=token", "IDP_AUTH_METHODS=client_secret_post")
	p := independent(t, issuer, "post")
	d, err := p.StartDevice(t.Context())
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	newPerson(t, issuer, "bob").decide(d, "confirm")
	u, err := d.Wait(t.Context())
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	if u.Subject != "bob" || u.Email != "" || len(u.Groups) != 0 {
		t.Errorf("signed in %+v", u)
	}
}

func TestIndependentRefusals(t *testing.T) {
	t.Parallel()
	issuer := startIndependent(t)
	p := independent(t, issuer, "public")
	d, err := p.StartDevice(t.Context())
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	newPerson(t, issuer, "alice").decide(d, "abort")
	_, err = d.Wait(t.Context())
	wantKind(t, err, Denied)

	for client, want := range map[string]Kind{"nobody": ClientRejected, "no-device": ClientRejected} {
		_, err := independent(t, issuer, client).StartDevice(t.Context())
		wantKind(t, err, want)
	}
	p = independent(t, issuer, "basic")
	p.cfg.ClientSecret = "wrong"
	_, err = p.StartDevice(t.Context())
	wantKind(t, err, ClientRejected)
}

func TestIndependentExpiry(t *testing.T) {
	t.Parallel()
	issuer := startIndependent(t, "IDP_DEVICE_TTL=2")
	p := independent(t, issuer, "public")
	p.wait = sleep
	d, err := p.StartDevice(t.Context())
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	_, err = d.Wait(t.Context())
	wantKind(t, err, Expired)

	d, err = p.StartDevice(t.Context())
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	d.flow.deadline = d.flow.deadline.Add(time.Minute) // let the provider say it
	p.wait = func(context.Context, time.Duration) error { time.Sleep(3 * time.Second); return nil }
	_, err = d.Wait(t.Context())
	wantKind(t, err, Expired)
}

func TestIndependentBrowser(t *testing.T) {
	t.Parallel()
	issuer := startIndependent(t)
	for _, client := range []string{"public", "basic"} {
		p := independent(t, issuer, client)
		verifier := oauth2.GenerateVerifier()
		to, err := p.AuthURL(t.Context(), "st4te", "n0nce", verifier, testRedirect)
		if err != nil {
			t.Fatal(err)
		}
		who := newPerson(t, issuer, "alice")
		page := who.read(who.c.Get(to))
		if who.ended == nil || who.ended.Query().Get("state") != "st4te" {
			t.Fatalf("sent to %v with %s", who.ended, page)
		}
		code := who.ended.Query().Get("code")
		u, err := p.Exchange(t.Context(), code, "n0nce", verifier, testRedirect)
		if err != nil || u.Subject != "alice" || !slices.Equal(u.Groups, []string{"engineers", "on-call"}) {
			t.Errorf("%s: %+v, %v (%v)", client, u, err, errors.Unwrap(err))
		}
		_, err = p.Exchange(t.Context(), code, "n0nce", verifier, testRedirect)
		wantKind(t, err, Expired)
		who = newPerson(t, issuer, "alice")
		who.read(who.c.Get(to))
		_, err = p.Exchange(t.Context(), who.ended.Query().Get("code"), "n0nce", oauth2.GenerateVerifier(), testRedirect)
		wantKind(t, err, Expired)
		who = newPerson(t, issuer, "alice")
		who.read(who.c.Get(to))
		_, err = p.Exchange(t.Context(), who.ended.Query().Get("code"), "another", verifier, testRedirect)
		refused(t, err, "nonce")
	}
}
