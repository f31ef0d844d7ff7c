package web_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/catalog"
	"sallyport/recorder/rectest"
	"sallyport/recorder/redact"
	"sallyport/recorder/sealed"
	"sallyport/replay"
	"sallyport/replay/web"
)

// secretKey is what the masks of the tests hide.
const secretKey = "AKIAQ3EGRJ7KYBLM2P5X"

var (
	ada   = policy.User{Issuer: "https://idp", Subject: "1", Name: "Ada", Email: "ada@example.com"}
	bob   = policy.User{Issuer: "https://idp", Subject: "2", Name: "Bob", Email: "bob@example.com"}
	audit = policy.User{Issuer: "https://idp", Subject: "3", Name: "Audrey", Email: "audrey@example.com", Groups: []string{"auditors"}}
	ghost = policy.User{Issuer: "https://idp", Subject: "4", Name: "Ghost"} // known, not allowed
)

// idp stands for an identity provider: its authorization endpoint sends the
// browser straight back, signed in as whoever is set.
type idp struct {
	*httptest.Server
	mu    sync.Mutex
	user  policy.User
	codes map[string]grant
	deny  bool
}

type grant struct {
	user                       policy.User
	nonce, challenge, redirect string
}

func newIDP(t *testing.T) *idp {
	p := &idp{codes: map[string]grant{}}
	p.Server = httptest.NewServer(http.HandlerFunc(p.authorize))
	t.Cleanup(p.Close)
	return p
}

func (p *idp) as(u policy.User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.user = u
}

func (p *idp) authorize(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := r.URL.Query()
	back := url.Values{"state": {q.Get("state")}}
	if p.deny {
		back.Set("error", "access_denied")
		back.Set("error_description", "<script>window.pwned=1</script>")
	} else {
		code := fmt.Sprintf("code-%d", len(p.codes))
		p.codes[code] = grant{p.user, q.Get("nonce"), q.Get("code_challenge"), q.Get("redirect_uri")}
		back.Set("code", code)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (p *idp) AuthURL(_ context.Context, state, nonce, verifier, redirectURL string) (string, error) {
	return p.URL + "/authorize?" + url.Values{
		"state": {state}, "nonce": {nonce}, "code_challenge": {challenge(verifier)}, "redirect_uri": {redirectURL},
	}.Encode(), nil
}

func (p *idp) Exchange(_ context.Context, code, nonce, verifier, redirectURL string) (policy.User, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.codes[code]
	delete(p.codes, code)
	if !ok || g.nonce != nonce || g.challenge != challenge(verifier) || g.redirect != redirectURL {
		return policy.User{}, errors.New("the identity provider does not know this sign-in")
	}
	return g.user, nil
}

// world is a web server over real recordings.
type world struct {
	t       testing.TB
	base    string
	idp     *idp
	library *replay.Library
	catalog *catalog.Catalog
	store   *rectest.Store

	mu      sync.Mutex
	log     bytes.Buffer
	late    time.Duration // added to the recorder's clock
	pace    time.Duration // added to it with every output
	entries []policy.Entry
	locked  policy.User // may not go on
	ready   error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{t: t, idp: newIDP(t)}
	var err error
	if w.catalog, err = catalog.Open(ctx, filepath.Join(t.TempDir(), "catalog.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.catalog.Close() })
	rules, err := redact.Compile(redact.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w.store = rectest.New(t, recorder.Options{Now: w.now, NewMasker: func(s policy.Session) recorder.Masker {
		return rules.NewMasker(s.Cols)
	}})
	w.library = &replay.Library{
		Archive: w.store.Archive, Keys: replay.Keys{View: []age.Identity{w.store.View}, Raw: []age.Identity{w.store.Raw}}, Catalog: w.catalog, Decide: w.decide, Audit: w.audit,
		Target: func(name string) policy.Target { return policy.Target{Name: name} },
	}
	srv := httptest.NewUnstartedServer(nil)
	w.base = "http://" + srv.Listener.Addr().String()
	h, err := web.New(web.Config{
		Library: w.library, SignIn: w.idp, BaseURL: w.base, Allow: w.allow, Still: w.still,
		WellKnown: map[string]string{"client_ca": "ssh-ed25519 AAAA"},
		Log:       slog.New(slog.NewTextHandler(w, nil)),
		Ready:     func(context.Context) error { w.mu.Lock(); defer w.mu.Unlock(); return w.ready },
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Config = web.Server(h)
	srv.Start()
	t.Cleanup(srv.Close)
	return w
}

// decide is the policy: people replay their own recordings, auditors all, and
// auditors alone see the raw view.
func (w *world) decide(r policy.Request) policy.Decision {
	auditor := slices.Contains(r.User.Groups, "auditors")
	switch r.Action {
	case policy.ActionReplay:
		return policy.Decision{Allowed: auditor || r.User.Principal() == r.Owner.Principal()}
	case policy.ActionReplayRaw:
		return policy.Decision{Allowed: auditor}
	}
	return policy.Decision{}
}

func (w *world) audit(_ context.Context, e policy.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, e)
	return nil
}

// Write takes what the server logs.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

// logged returns and forgets what the server logged.
func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.log.Reset()
	return w.log.String()
}

// account returns and forgets what was accounted for.
func (w *world) account() []policy.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entries
	w.entries = nil
	return e
}

type refusal struct{}

func (refusal) Error() string       { return "ghost: internal detail" }
func (refusal) UserMessage() string { return "ghosts are <b>not</b> allowed here" }

func (w *world) allow(_ context.Context, u policy.User, _ netip.Addr) error {
	if u.Subject == ghost.Subject {
		return refusal{}
	}
	return nil
}

func (w *world) still(u policy.User, _ netip.Addr) policy.Decision {
	w.mu.Lock()
	defer w.mu.Unlock()
	return policy.Decision{Allowed: w.locked.Subject != u.Subject}
}

// now is the recorder's clock.
func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.late)
}

// pass makes time pass as fast as pace says.
func (w *world) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late += w.pace
}

// record makes a recording of a session that printed output, in order.
func (w *world) record(s policy.Session, output ...string) policy.SessionID {
	w.t.Helper()
	ctx := context.Background()
	s = filled(s)
	check := func(err error) {
		if err != nil {
			w.t.Helper()
			w.t.Fatal(err)
		}
	}
	check(w.catalog.Begin(ctx, s))
	rec, err := w.store.Recorder.Open(ctx, s)
	check(err)
	var readers sync.WaitGroup
	for _, stream := range []policy.Stream{policy.StreamOutput, policy.StreamStderr} {
		readers.Go(func() {
			for {
				if _, err := rec.Next(stream); err != nil {
					return
				}
			}
		})
	}
	check(rec.Input([]byte("typed\r")))
	for _, text := range output {
		check(rec.Output(policy.StreamOutput, []byte(text)))
		time.Sleep(5 * time.Millisecond) // so that they are events of their own
		w.pass()
	}
	rec.CloseOutput(policy.StreamOutput)
	rec.CloseOutput(policy.StreamStderr)
	readers.Wait()
	zero := uint32(0)
	sum, err := rec.Close(policy.End{ExitStatus: &zero})
	check(err)
	check(w.catalog.Finish(ctx, sum))
	return s.ID
}

// damage changes the segment of a recording, whose first block begins at an
// offset that change is told.
func (w *world) damage(id policy.SessionID, change func(segment []byte, block int) []byte) {
	w.t.Helper()
	path := filepath.Join(w.store.ArchiveDir(), archive.SegmentName(string(id), 0))
	body, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	seg, err := sealed.Open(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, change(body, int(seg.Blocks()[0].Offset)), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// filled returns s with what it lacks of a shell on db1.
func filled(s policy.Session) policy.Session {
	if s.Start.IsZero() {
		s.Start = time.Now()
	}
	s.ID = policy.NewSessionID(s.Start)
	s.Connection = policy.NewConnectionID(s.Start)
	if s.Target == "" {
		s.Target = "db1"
	}
	if s.Login == "" {
		s.Login = "root"
	}
	if s.Action == "" {
		s.Action, s.TTY, s.Term, s.Cols, s.Rows = policy.ActionShell, true, "xterm-256color", 80, 24
	}
	s.Source, s.Client = "192.0.2.7:50022", "SSH-2.0-OpenSSH_9.2p1"
	return s
}

// client is a browser without script: it keeps cookies.
type client struct {
	*http.Client
	w *world
}

// client returns a client that is not signed in and follows redirects only
// when told to.
func (w *world) client() *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &client{w: w, Client: &http.Client{
		Jar: jar, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// signedIn returns a client that signed in as u, or nobody for the zero user.
func (w *world) signedIn(u policy.User) *client {
	w.t.Helper()
	c := w.client()
	if u.IsZero() {
		return c
	}
	w.idp.as(u)
	if status, body := c.follow("/login"); status != http.StatusOK {
		w.t.Fatalf("sign-in of %s: %d %s", u, status, body)
	}
	return c
}

// do sends a request and returns the answer with its body read.
func (c *client) do(r *http.Request) (*http.Response, string) {
	c.w.t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		c.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.w.t.Fatal(err)
	}
	return resp, string(body)
}

// get returns the answer at path without following redirects.
func (c *client) get(path string) (*http.Response, string) {
	c.w.t.Helper()
	return c.do(c.request("GET", path, nil))
}

func (c *client) request(method, path string, form url.Values) *http.Request {
	c.w.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = c.w.base + path
	}
	r, err := http.NewRequest(method, path, strings.NewReader(form.Encode()))
	if err != nil {
		c.w.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

// follow gets path and goes where redirects lead, and returns where that ends.
func (c *client) follow(path string) (int, string) {
	c.w.t.Helper()
	for range 10 {
		resp, body := c.get(path)
		if resp.StatusCode/100 != 3 {
			return resp.StatusCode, body
		}
		to, err := resp.Location()
		if err != nil {
			c.w.t.Fatal(err)
		}
		path = to.String()
	}
	c.w.t.Fatal("ten redirects")
	return 0, ""
}
