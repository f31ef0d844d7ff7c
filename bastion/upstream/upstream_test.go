package upstream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/bastion/upstream"
	"sallyport/policy"
)

// world is one sshd, and a target and a dialer that fit it.
type world struct {
	host   *sshtest.OpenSSH
	ca     ssh.Signer
	dialer *upstream.Dialer
	req    upstream.Request
	signed int // how often a certificate was asked for
}

// newWorld starts an sshd that trusts a CA; the certificate names principal.
func newWorld(t *testing.T, o sshtest.Options, principal string) *world {
	t.Helper()
	w := &world{ca: sshtest.NewSigner(t)}
	if o.UserCAs == nil {
		o.UserCAs = []ssh.PublicKey{w.ca.PublicKey()}
	}
	w.host = sshtest.StartOpenSSH(t, o)
	if principal == "" {
		principal = w.host.Login
	}
	w.req = upstream.Request{
		Target: policy.Target{Name: "db1", Address: w.host.Addr, HostKeys: []string{sshtest.AuthorizedKey(w.host.HostKey)}},
		Login:  policy.Login(w.host.Login),
	}
	w.dialer = &upstream.Dialer{Signer: func(context.Context, upstream.Request) (ssh.Signer, error) {
		w.signed++
		return sshtest.UserCertificate(t, w.ca, []string{principal}, nil), nil
	}}
	return w
}

// connect expects success and a working session.
func (w *world) connect(t *testing.T) {
	t.Helper()
	c, err := w.dialer.Connect(t.Context(), w.req)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Address() != w.host.Addr || string(c.HostKey()) != ssh.FingerprintSHA256(w.host.HostKey) {
		t.Errorf("reached %s, which proved %s", c.Address(), c.HostKey())
	}
	ch, reqs, err := c.OpenSession(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	if ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"echo hello"})); !ok || err != nil {
		t.Fatalf("exec: %v %v", ok, err)
	}
	out, err := io.ReadAll(ch)
	if err != nil || string(out) != "hello\n" {
		t.Errorf("output %q, %v", out, err)
	}
	c.Close()
	if err := c.Wait(); err == nil {
		t.Error("Wait returned no reason")
	}
}

// refuse expects an error of one kind whose message tells the user neither the
// address nor any other internal thing.
func (w *world) refuse(t *testing.T, kind upstream.Kind, says string) *upstream.Error {
	t.Helper()
	begun := time.Now()
	c, err := w.dialer.Connect(t.Context(), w.req)
	if err == nil {
		c.Close()
		t.Fatal("it connected")
	}
	var e *upstream.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("error %v, want kind %v", err, kind)
	}
	message := e.UserMessage()
	if !strings.Contains(message, says) {
		t.Errorf("message %q does not say %q", message, says)
	}
	host, port, _ := net.SplitHostPort(w.req.Target.Address)
	if strings.Contains(message, host) || strings.Contains(message, port) || strings.ContainsAny(message, "\r\n") {
		t.Errorf("message %q holds an address or a line end", message)
	}
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	t.Log(err)
	t.Log(message)
	return e
}

func TestConnectsWithCertificate(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	w.connect(t)
	w.host.WaitLog("Accepted publickey for " + w.host.Login)
	if w.signed != 1 {
		t.Errorf("%d certificates were made, want 1", w.signed)
	}
}

func TestWrongCAIsCertificateRefused(t *testing.T) {
	w := newWorld(t, sshtest.Options{UserCAs: []ssh.PublicKey{sshtest.NewSigner(t).PublicKey()}}, "")
	w.refuse(t, upstream.CertificateRefused, "db1 refused the bastion's certificate for "+w.host.Login)
}

func TestWrongPrincipalIsCertificateRefused(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "somebody-else")
	w.refuse(t, upstream.CertificateRefused, "AuthorizedPrincipals")
	if w.signed != 1 || strings.Count(w.host.Log(), "Certificate invalid") > 1 {
		t.Errorf("the refused certificate was offered more than once:\n%s", w.host.Log())
	}
}

func TestSignerFailureIsNoCertificate(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	w.dialer.Signer = func(context.Context, upstream.Request) (ssh.Signer, error) {
		return nil, errors.New("the catalog at 10.9.8.7 is gone")
	}
	e := w.refuse(t, upstream.NoCertificate, "could not make a certificate")
	if strings.Contains(e.UserMessage(), "10.9.8.7") {
		t.Errorf("message %q holds a detail", e.UserMessage())
	}
}

// T38: a changed or unknown host key blocks, and both fingerprints are shown.
func TestT38HostKeyMustBeRegistered(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	other := sshtest.NewSigner(t).PublicKey()
	w.req.Target.HostKeys = []string{sshtest.AuthorizedKey(other)}
	e := w.refuse(t, upstream.HostKeyMismatch, ssh.FingerprintSHA256(other))
	if got := ssh.FingerprintSHA256(w.host.HostKey); e.Got != got || !strings.Contains(e.UserMessage(), got) {
		t.Errorf("message %q does not show what the host presented, %s", e.UserMessage(), got)
	}
	if w.signed != 0 {
		t.Error("a certificate was made for a host that is not the one")
	}
	w.host.WaitLog("Connection closed by")
	if strings.Contains(w.host.Log(), "publickey") {
		t.Errorf("the wrong host saw authentication:\n%s", w.host.Log())
	}
}

// T38: a host that answers with another kind of key is shown with its
// fingerprint too.
func TestT38KindOfHostKeyChanges(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, sshtest.Options{HostKey: key}, "")
	w.connect(t)
	w.req.Target.HostKeys = []string{sshtest.AuthorizedKey(sshtest.NewSigner(t).PublicKey())}
	w.refuse(t, upstream.HostKeyMismatch, ssh.FingerprintSHA256(w.host.HostKey))
}

// T38: there is no trust on first use, not even a connection.
func TestT38NothingRegisteredIsNeverDialled(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	w.dialer.Dial = func(context.Context, string, string) (net.Conn, error) {
		t.Error("it was dialled")
		return nil, errors.New("no")
	}
	for _, keys := range [][]string{nil, {"ssh-ed25519 broken"}, {""}} {
		w.req.Target.HostKeys = keys
		w.refuse(t, upstream.HostKeyUnknown, "no usable host key is registered")
	}
}

func TestT38HostCertificates(t *testing.T) {
	hostCA := sshtest.NewSigner(t)
	good := sshtest.Options{HostCA: hostCA, HostNames: []string{"db1"}}
	for _, c := range []struct {
		name string
		edit func(*sshtest.Options, *policy.Target)
		says string // empty: it must connect
	}{
		{"by name", func(*sshtest.Options, *policy.Target) {}, ""},
		{"by address", func(o *sshtest.Options, _ *policy.Target) { o.HostNames = []string{"x", "127.0.0.1"} }, ""},
		{"another authority, but the key is registered", func(o *sshtest.Options, tg *policy.Target) {
			o.HostCA = sshtest.NewSigner(t)
		}, ""},
		{"wrong authority", func(o *sshtest.Options, tg *policy.Target) {
			o.HostCA = sshtest.NewSigner(t)
			tg.HostKeys = nil
		}, "not registered"},
		{"wrong name", func(o *sshtest.Options, tg *policy.Target) {
			o.HostNames = []string{"db2"}
			tg.HostKeys = nil
		}, "does not name this target"},
		{"no name", func(o *sshtest.Options, tg *policy.Target) {
			o.HostNames = nil
			tg.HostKeys = nil
		}, "does not name this target"},
		{"expired", func(o *sshtest.Options, tg *policy.Target) {
			o.HostTTL = -time.Minute
			tg.HostKeys = nil
		}, "not valid now"},
		{"no certificate", func(o *sshtest.Options, tg *policy.Target) {
			o.HostCA = nil
			tg.HostKeys = nil
		}, "a certificate by SHA256:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := good
			tg := policy.Target{HostKeys: []string{"later"}, HostCAs: []string{sshtest.AuthorizedKey(hostCA.PublicKey())}}
			c.edit(&o, &tg)
			w := newWorld(t, o, "")
			if tg.HostKeys == nil {
				w.req.Target.HostKeys = nil
			}
			if c.name == "by name" || c.name == "by address" {
				w.req.Target.HostKeys = nil // the certificate alone
			}
			w.req.Target.HostCAs = tg.HostCAs
			if c.says == "" {
				w.connect(t)
				return
			}
			w.refuse(t, upstream.HostKeyMismatch, c.says)
		})
	}
}

func TestDownIsUnreachable(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	w.host.Stop()
	w.refuse(t, upstream.Unreachable, "the connection was refused")
}

func TestSilentHostIsUnreachableInTime(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w.req.Target.Address = ln.Addr().String()
	w.dialer.Timeout = 300 * time.Millisecond
	w.refuse(t, upstream.Unreachable, "did not answer in time")
}

func TestCancelledConnectReturnsAtOnce(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w.req.Target.Address = ln.Addr().String()
	why := errors.New("the client went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	begun := time.Now()
	if _, err := w.dialer.Connect(ctx, w.req); !errors.Is(err, why) {
		t.Errorf("error %v, want the cause", err)
	}
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}

// answering listens, and to the first connection it says what and then EOF.
func answering(t *testing.T, what string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		if c, err := ln.Accept(); err == nil {
			io.WriteString(c, what)
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, c) // a close with bytes unread is a reset
			c.Close()
		}
	}()
	return ln.Addr().String()
}

func TestWhatIsNotSSH(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	w.req.Target.Address = answering(t, "HTTP/1.1 400 Bad Request\r\n\r\n")
	w.refuse(t, upstream.Unreachable, "it closed the connection")
	w.req.Target.Address = answering(t, "SSH-2.0-test\r\n\x00\x00\x00\x0c\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	w.refuse(t, upstream.Protocol, "does not speak SSH as the bastion expects")
}

func TestLostTargetEndsWait(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	c, err := w.dialer.Connect(t.Context(), w.req)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	w.host.Disconnect()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("Wait did not return")
	}
	if _, _, err := c.OpenSession(t.Context()); err == nil {
		t.Error("a session opened on a lost connection")
	}
}

// T13: a name is looked up once, and what was checked is what is dialled.
func TestT13ResolvesOnceAndDialsThat(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	_, port, _ := net.SplitHostPort(w.req.Target.Address)
	real := w.req.Target.Address
	w.req.Target.Address = net.JoinHostPort("db1.example.test", port)
	lookups := 0
	w.dialer.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
		lookups++
		if lookups > 1 || host != "db1.example.test" {
			return []netip.Addr{netip.MustParseAddr("169.254.169.254")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
	}
	var dialled []string
	w.dialer.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled = append(dialled, addr)
		return net.Dial(network, real)
	}
	w.connect(t)
	if want := net.JoinHostPort("192.0.2.7", port); lookups != 1 || len(dialled) != 1 || dialled[0] != want {
		t.Errorf("%d lookups, dialled %q; want 1 and %q", lookups, dialled, want)
	}
}

// T13: no name leads to loopback, link-local, metadata or nowhere.
func TestT13NamesThatLeadInside(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	w.dialer.Dial = func(_ context.Context, _, addr string) (net.Conn, error) {
		t.Errorf("%s was dialled", addr)
		return nil, errors.New("no")
	}
	for _, a := range []string{
		"127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "0.0.0.0", "0.1.2.3", "::", "169.254.169.254",
		"fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "224.0.0.1", "ff02::1", "255.255.255.255",
	} {
		for _, name := range []string{"db1.example.test", "2130706433", "0", "0x7f.1"} {
			w.req.Target.Address = net.JoinHostPort(name, "65022")
			w.dialer.Resolve = func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr(a)}, nil
			}
			_, err := w.dialer.Connect(t.Context(), w.req)
			var e *upstream.Error
			if !errors.As(err, &e) || e.Kind != upstream.Unreachable || !strings.Contains(e.UserMessage(), "not allowed") || strings.Contains(e.UserMessage(), a) {
				t.Errorf("%s to %s: %v", name, a, err)
			}
		}
	}
}

func TestBadAddressIsUnreachable(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	for _, a := range []string{"", "db1", "db1:0", "db1:ssh", "db1:65536", "[::1:22"} {
		w.req.Target.Address = a
		_, err := w.dialer.Connect(t.Context(), w.req)
		var e *upstream.Error
		if !errors.As(err, &e) || e.Kind != upstream.Unreachable {
			t.Errorf("address %q: %v", a, err)
		}
	}
}
