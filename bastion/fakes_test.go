package bastion

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
	"sallyport/policy"
)

// fakeWorld stands for everything that a Server gets as functions.
type fakeWorld struct {
	t testing.TB

	mu         sync.Mutex
	bound      map[string]policy.User // by fingerprint
	entries    []policy.Entry
	recordings map[policy.SessionID]*fakeRecording
	pending    chan *fakeSignIn
	connects   []ConnectRequest
	connected  int
	console    func(context.Context, ConsoleCall) int

	clientCA   ssh.Signer
	hostKey    ssh.Signer
	targets    []policy.Target
	targetAddr string
	now        func() time.Time

	deny        func(policy.Request) bool
	auditErr    func(policy.Entry) error
	recordErr   error
	connectErr  error
	signInErr   error
	keepErr     error
	identifyErr error
}

var (
	alice = policy.User{Issuer: "https://idp.example", Subject: "1", Name: "Alice", Email: "alice@example.com"}
	bob   = policy.User{Issuer: "https://idp.example", Subject: "2", Name: "Bob", Email: "bob@example.com"}
)

func newFakeWorld(t testing.TB) *fakeWorld {
	w := &fakeWorld{
		t: t, bound: map[string]policy.User{}, recordings: map[policy.SessionID]*fakeRecording{},
		pending: make(chan *fakeSignIn, 64), clientCA: newKey(t), hostKey: newKey(t), now: time.Now,
		deny: func(policy.Request) bool { return false }, auditErr: func(policy.Entry) error { return nil },
	}
	w.targetAddr = startFakeTarget(t)
	w.targets = []policy.Target{
		{Name: "db1", Address: w.targetAddr, Logins: []policy.Login{"root", "app"}},
		{Name: "web1", Address: w.targetAddr, Logins: []policy.Login{"www"}},
	}
	w.console = func(_ context.Context, c ConsoleCall) int {
		fmt.Fprintf(c.Out, "%q as %s\n", c.Args, c.Identity.User)
		return 3
	}
	return w
}

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(newPrivateKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newPrivateKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return priv
}

func (w *fakeWorld) bind(key ssh.PublicKey, u policy.User) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bound[ssh.FingerprintSHA256(key)] = u
}

func (w *fakeWorld) config() Config {
	return Config{
		HostKeys:       func(context.Context) ([]ssh.Signer, error) { return []ssh.Signer{w.hostKey}, nil },
		TargetHostKeys: func(context.Context, string) ([]ssh.Signer, error) { return []ssh.Signer{w.hostKey}, nil },
		Lookup: func(name string) (policy.Target, bool) {
			name = strings.TrimSuffix(strings.ToLower(name), ".bastion.test")
			i := slices.IndexFunc(w.targets, func(t policy.Target) bool { return t.Name == name })
			if i < 0 {
				return policy.Target{}, false
			}
			return w.targets[i], true
		},
		Targets:  func() []policy.Target { return w.targets },
		Identify: w.identify,
		SignIn:   w.signIn,
		Decide: func(r policy.Request) policy.Decision {
			if w.deny(r) {
				return policy.Decision{Reason: "the fake policy says no", Policies: []string{"fake"}}
			}
			return policy.Decision{Allowed: true, Policies: []string{"fake"}}
		},
		OpenRecording: w.openRecording,
		Connect:       w.connect,
		Console:       func(ctx context.Context, c ConsoleCall) int { return w.console(ctx, c) },
		Audit: func(_ context.Context, e policy.Entry) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if err := w.auditErr(e); err != nil {
				return err
			}
			w.entries = append(w.entries, e)
			return nil
		},
		HelpSignIn: "ssh -p 2222 bastion.test",
		Now:        func() time.Time { return w.now() },
	}
}

// identify believes certificates of w.clientCA whose principal is a subject.
func (w *fakeWorld) identify(_ context.Context, c Credential) (Identity, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.identifyErr != nil {
		return Identity{}, w.identifyErr
	}
	id := Identity{Key: policy.Fingerprint(ssh.FingerprintSHA256(plainKey(c.Key))), Expires: w.now().Add(time.Hour)}
	if cert, ok := c.Key.(*ssh.Certificate); ok {
		checker := ssh.CertChecker{IsUserAuthority: func(k ssh.PublicKey) bool {
			return string(k.Marshal()) == string(w.clientCA.PublicKey().Marshal())
		}}
		if !checker.IsUserAuthority(cert.SignatureKey) || len(cert.ValidPrincipals) != 1 {
			return Identity{}, errors.New("not a certificate of this bastion")
		}
		if err := checker.CheckCert(cert.ValidPrincipals[0], cert); err != nil {
			return Identity{}, err
		}
		for _, u := range []policy.User{alice, bob} {
			if cert.ValidPrincipals[0] == string(u.Principal()) {
				id.User, id.Serial = u, policy.Serial(cert.Serial)
				return id, nil
			}
		}
		return Identity{}, errors.New("nobody has this principal")
	}
	u, ok := w.bound[string(id.Key)]
	if !ok {
		return Identity{}, ErrNotSignedIn
	}
	id.User = u
	return id, nil
}

// certificate issues what identify believes.
func (w *fakeWorld) certificate(key ssh.Signer, u policy.User, change func(*ssh.Certificate)) ssh.Signer {
	w.t.Helper()
	c := &ssh.Certificate{Key: key.PublicKey(), Serial: 7, CertType: ssh.UserCert, KeyId: "test", ValidPrincipals: []string{string(u.Principal())},
		ValidAfter: uint64(time.Now().Add(-time.Minute).Unix()), ValidBefore: uint64(time.Now().Add(time.Hour).Unix())}
	if change != nil {
		change(c)
	}
	if err := c.SignCert(rand.Reader, w.clientCA); err != nil {
		w.t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(c, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// fakeSignIn is a device flow that the test answers.
type fakeSignIn struct {
	request SignInRequest
	answer  chan error // nil: approved
	ended   chan error // what Wait returned
	user    policy.User
	w       *fakeWorld
}

func (w *fakeWorld) signIn(_ context.Context, r SignInRequest) (PendingSignIn, error) {
	if w.signInErr != nil {
		return nil, w.signInErr
	}
	p := &fakeSignIn{request: r, answer: make(chan error, 1), ended: make(chan error, 1), user: alice, w: w}
	w.pending <- p
	return p, nil
}

func (p *fakeSignIn) Prompt() SignInPrompt {
	return SignInPrompt{URL: "https://idp.example/device", CompleteURL: "https://idp.example/device?user_code=ABCD-EFGH", Code: "ABCD-EFGH", Expires: time.Now().Add(5 * time.Minute)}
}

func (p *fakeSignIn) Wait(ctx context.Context) (id Identity, err error) {
	defer func() { p.ended <- err }()
	select {
	case <-ctx.Done():
		return Identity{}, context.Cause(ctx)
	case err := <-p.answer:
		if err != nil {
			return Identity{}, err
		}
	}
	id = Identity{User: p.user, Expires: p.w.now().Add(time.Hour)}
	if p.request.Key != nil {
		id.Key = policy.Fingerprint(ssh.FingerprintSHA256(p.request.Key))
	}
	return id, nil
}

func (p *fakeSignIn) Keep(context.Context) error {
	if err := p.w.keepErr; err != nil {
		return err
	}
	if p.request.Key != nil {
		p.w.bind(p.request.Key, p.user)
	}
	return nil
}

func (w *fakeWorld) openRecording(_ context.Context, s policy.Session) (proxy.Recording, error) {
	if w.recordErr != nil {
		return nil, w.recordErr
	}
	r := newFakeRecording(s)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recordings[s.ID] = r
	return r, nil
}

// fakeUpstream is a connection to the fake target.
type fakeUpstream struct{ ssh.Conn }

func (f fakeUpstream) Address() string             { return f.RemoteAddr().String() }
func (f fakeUpstream) HostKey() policy.Fingerprint { return "SHA256:fake" }
func (f fakeUpstream) Seen() []policy.Channel      { return nil }

func (f fakeUpstream) OpenSession(context.Context) (ssh.Channel, <-chan *ssh.Request, error) {
	return f.OpenChannel("session", nil)
}

func (w *fakeWorld) connect(ctx context.Context, r ConnectRequest) (Upstream, error) {
	w.mu.Lock()
	w.connects = append(w.connects, r)
	err := w.connectErr
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Target.Address)
	if err != nil {
		return nil, err
	}
	conn, chans, reqs, err := ssh.NewClientConn(raw, r.Target.Name, &ssh.ClientConfig{User: string(r.Login), HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.connected++
	w.mu.Unlock()
	go ssh.DiscardRequests(reqs)
	go func() {
		for c := range chans {
			c.Reject(ssh.Prohibited, "no")
		}
	}()
	return fakeUpstream{conn}, nil
}

func (w *fakeWorld) entriesOf(kind policy.EntryKind) []policy.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []policy.Entry
	for _, e := range w.entries {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// waitEntries waits until there are n entries of kind.
func (w *fakeWorld) waitEntries(kind policy.EntryKind, n int) []policy.Entry {
	w.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if e := w.entriesOf(kind); len(e) >= n {
			return e
		} else if time.Now().After(deadline) {
			w.t.Fatalf("%d entries of kind %s, want %d", len(e), kind, n)
		}
	}
}

// waitConnected waits until a target was reached, and a session on it runs.
func (w *fakeWorld) waitConnected() {
	w.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		n := w.connected
		w.mu.Unlock()
		if n > 0 {
			time.Sleep(50 * time.Millisecond)
			return
		} else if time.Now().After(deadline) {
			w.t.Fatal("no target was reached")
		}
	}
}

func (w *fakeWorld) recordingOf(id policy.SessionID) *fakeRecording {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.recordings[id]
}

// fakeRecording keeps everything in memory and calls it durable at once.
type fakeRecording struct {
	session policy.Session
	mu      sync.Mutex
	cond    *sync.Cond
	out     map[policy.Stream][]byte // everything
	given   map[policy.Stream]int
	eof     map[policy.Stream]bool
	input   []byte
	sizes   [][2]int
	marks   []string
	closed  bool
	end     policy.End
	failed  chan struct{}
}

func newFakeRecording(s policy.Session) *fakeRecording {
	r := &fakeRecording{session: s, out: map[policy.Stream][]byte{}, given: map[policy.Stream]int{}, eof: map[policy.Stream]bool{}, failed: make(chan struct{})}
	r.cond = sync.NewCond(&r.mu)
	return r
}

func (r *fakeRecording) Output(s policy.Stream, p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("closed")
	}
	r.out[s] = append(r.out[s], p...)
	r.cond.Broadcast()
	return nil
}

func (r *fakeRecording) CloseOutput(s policy.Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.eof[s] = true
	r.cond.Broadcast()
}

func (r *fakeRecording) Next(s policy.Stream) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.given[s] == len(r.out[s]) && !r.eof[s] && !r.closed {
		r.cond.Wait()
	}
	if p := r.out[s][r.given[s]:]; len(p) > 0 {
		r.given[s] += len(p)
		return p, nil
	}
	return nil, io.EOF
}

func (r *fakeRecording) Input(p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.input = append(r.input, p...)
	return nil
}

func (r *fakeRecording) Resize(cols, rows int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sizes = append(r.sizes, [2]int{cols, rows})
	return nil
}

func (r *fakeRecording) Marker(text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = append(r.marks, text)
	return nil
}

func (r *fakeRecording) Failed() <-chan struct{} { return r.failed }
func (r *fakeRecording) Err() error              { return nil }

func (r *fakeRecording) Close(end policy.End) (policy.Summary, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.end = true, end
	r.cond.Broadcast()
	return policy.Summary{ID: r.session.ID, State: policy.RecordingComplete, End: end, OutputBytes: int64(len(r.out[policy.StreamOutput]))}, nil
}
