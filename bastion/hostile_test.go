package bastion

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/policy"
)

func dialRaw(t *testing.T, f *front) *sshtest.Raw {
	t.Helper()
	r, err := sshtest.DialRaw(f.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if err := r.Authenticate(); err != nil {
		t.Fatal(err)
	}
	return r
}

// identified keeps what Identify was asked.
func identified(cfg *Config) *[]string {
	var asked []string
	identify := cfg.Identify
	cfg.Identify = func(ctx context.Context, c Credential) (Identity, error) {
		asked = append(asked, ssh.FingerprintSHA256(c.Key))
		return identify(ctx, c)
	}
	return &asked
}

// T1: a client offers the victim's key and signs with its own.
func TestT1OfferedKeyIsNotIdentity(t *testing.T) {
	var asked *[]string
	f := startFront(t, newFakeWorld(t), func(c *Config) { asked = identified(c) })
	victim, own := newKey(t), newKey(t)
	f.bind(victim.PublicKey(), alice)
	f.bind(own.PublicKey(), bob)

	t.Run("signature of another key", func(t *testing.T) {
		r := dialRaw(t, f)
		if a, err := r.Sign("root@db1", victim.PublicKey(), own); err == nil {
			t.Fatalf("it was answered: %+v", a)
		}
		if _, err := f.dial("root@db1", ssh.PublicKeys(sshtest.Impostor{Offered: victim.PublicKey(), Signer: own})); err == nil {
			t.Fatal("an impostor is in")
		}
		if len(*asked) != 0 {
			t.Fatalf("identity was looked up for a key that has not signed: %v", *asked)
		}
	})
	t.Run("offers A, B, A and signs A", func(t *testing.T) {
		r := dialRaw(t, f)
		for _, k := range []ssh.Signer{own, victim, own} {
			if a, err := r.Offer("root@db1", k.PublicKey()); err != nil || !a.Query {
				t.Fatalf("%+v %v", a, err)
			}
		}
		if a, err := r.Sign("root@db1", own.PublicKey(), own); err != nil || !a.Success {
			t.Fatalf("%+v %v", a, err)
		}
		if want := ssh.FingerprintSHA256(own.PublicKey()); !slices.Equal(*asked, []string{want}) {
			t.Errorf("asked about %v, want only %v", *asked, want)
		}
	})
	t.Run("offers A, signs B", func(t *testing.T) {
		*asked = nil
		r := dialRaw(t, f)
		if _, err := r.Offer("root@db1", victim.PublicKey()); err != nil {
			t.Fatal(err)
		}
		if a, err := r.Sign("root@db1", own.PublicKey(), own); err != nil || !a.Success {
			t.Fatalf("%+v %v", a, err)
		}
		if want := ssh.FingerprintSHA256(own.PublicKey()); !slices.Equal(*asked, []string{want}) {
			t.Errorf("asked about %v, want only %v", *asked, want)
		}
	})
}

// The identity that sessions run under is the one of the key that signed.
func TestT1SessionRunsAsSigner(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	a, b := newKey(t), newKey(t)
	f.bind(a.PublicKey(), alice)
	f.bind(b.PublicKey(), bob)
	for key, want := range map[ssh.Signer]policy.User{a: alice, b: bob} {
		got := run(t, f.mustDial("x", key), "whoami", nil)
		if !strings.Contains(got.out, want.Email) {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// T2: refused certificates are one log line and one entry, and the client
// learns nothing.
func TestT2RefusedCertificates(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	foreign := newKey(t)
	for name, change := range map[string]func(*ssh.Certificate){
		"expired":       func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Add(-time.Hour).Unix()) },
		"no principals": func(c *ssh.Certificate) { c.ValidPrincipals = nil },
		"nobody's":      func(c *ssh.Certificate) { c.ValidPrincipals = []string{"u-nobody"} },
	} {
		t.Run(name, func(t *testing.T) {
			before := len(f.entriesOf(policy.EntryAuthRefused))
			r := dialRaw(t, f)
			s := f.certificate(newKey(t), alice, change)
			a, err := r.Sign("root@db1", s.PublicKey(), s)
			if err != nil || a.Success || a.Partial || !slices.Equal(a.Methods, []string{"publickey", "keyboard-interactive"}) {
				t.Errorf("%+v %v", a, err)
			}
			if len(r.Banners) != 0 {
				t.Errorf("banners %q", r.Banners)
			}
			e := f.entriesOf(policy.EntryAuthRefused)[before:]
			if len(e) != 1 || e[0].Detail["reason"] == "" || e[0].Detail["serial"] != "7" || e[0].Source == "" {
				t.Errorf("entries %+v", e)
			}
		})
	}
	t.Run("foreign CA", func(t *testing.T) {
		w := newFakeWorld(t)
		w.clientCA = foreign
		s := w.certificate(newKey(t), alice, nil)
		if _, err := f.dial("x", ssh.PublicKeys(s)); err == nil {
			t.Error("it is in")
		}
	})
	t.Run("good", func(t *testing.T) {
		s := f.certificate(newKey(t), alice, nil)
		if got := run(t, f.mustDial("root@db1", s), "echo hi", nil); got.out != "hi\n" {
			t.Error(got)
		}
	})
}

// Refusals of one address are entered one by one only up to a bound.
func TestRefusalsAreBounded(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	s := f.certificate(newKey(t), alice, func(c *ssh.Certificate) { c.ValidPrincipals = nil })
	for range 5 {
		r := dialRaw(t, f)
		for range 5 {
			r.Sign("root@db1", s.PublicKey(), s)
		}
		r.Close()
	}
	if n := len(f.entriesOf(policy.EntryAuthRefused)); n != refusalEntries {
		t.Errorf("%d entries, want %d", n, refusalEntries)
	}
	f.stop()
	e := f.entriesOf(policy.EntryAuthRefused)
	if last := e[len(e)-1]; last.Detail["more"] != "15" || last.Source != "127.0.0.1" {
		t.Errorf("the rest is entered as %+v", last)
	}
}

// T5: a partial success, then another user or key.
func TestT5ChangesAfterPartialSuccess(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	first := func(t *testing.T) (*sshtest.Raw, ssh.Signer) {
		r, key := dialRaw(t, f), newKey(t)
		a, err := r.Sign("root@db1", key.PublicKey(), key)
		if err != nil || !a.Partial || !slices.Equal(a.Methods, []string{"keyboard-interactive"}) {
			t.Fatalf("%+v %v", a, err)
		}
		return r, key
	}
	t.Run("other user", func(t *testing.T) {
		r, _ := first(t)
		if a, err := r.Interactive("root@web1"); err == nil {
			t.Errorf("it was answered: %+v", a)
		}
	})
	t.Run("other key", func(t *testing.T) {
		r, _ := first(t)
		other := newKey(t)
		f.bind(other.PublicKey(), bob)
		if a, err := r.Sign("root@db1", other.PublicKey(), other); err != nil || a.Success || a.Partial {
			t.Errorf("%+v %v", a, err)
		}
	})
	t.Run("none and password", func(t *testing.T) {
		r, _ := first(t)
		for _, m := range []string{"none", "password", "hostbased", "gssapi-with-mic"} {
			if a, err := r.Request("root@db1", m, ssh.Marshal(struct {
				B bool
				S string
			}{false, "x"})); err == nil && a.Success {
				t.Errorf("%s: %+v", m, a)
			}
		}
	})
	t.Run("same user", func(t *testing.T) {
		r, key := first(t)
		a, err := r.Interactive("root@db1")
		if err != nil || !strings.Contains(a.Prompt, "ABCD-EFGH") {
			t.Fatalf("%+v %v", a, err)
		}
		p := f.nextSignIn()
		if !bytes.Equal(p.request.Key.Marshal(), key.PublicKey().Marshal()) {
			t.Error("the sign-in is for another key than the one that signed")
		}
		p.answer <- nil
		if a, err := r.Respond(); err != nil || !a.Success {
			t.Errorf("%+v %v", a, err)
		}
	})
	if n := len(f.pending); n != 0 {
		t.Errorf("%d more sign-ins were started", n)
	}
}

// T4: what the identity provider's answer is for must be the key that signed.
func TestT4SignInForAnotherKey(t *testing.T) {
	w := newFakeWorld(t)
	f := startFront(t, w, func(c *Config) {
		c.SignIn = func(_ context.Context, r SignInRequest) (PendingSignIn, error) {
			r.Key = w.hostKey.PublicKey()
			return w.signIn(context.Background(), r)
		}
	})
	go func() { f.nextSignIn().answer <- nil }()
	key, raw := newKeyFile(t)
	if got := f.stock(key, raw).run("", "bastion"); got.code != 1 {
		t.Error(got)
	}
	e := f.waitEntries(policy.EntrySignInFailed, 1)
	if !strings.Contains(e[0].Detail["reason"], "has signed") {
		t.Errorf("%+v", e)
	}
}

// Packets that no client sends end the connection with a line in the log, and
// harm nobody else.
func TestMalformedPackets(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	bystander := f.mustDial("root@db1", key)
	for name, packets := range map[string][][]byte{
		"giant":                   {append([]byte{90}, make([]byte, 300<<10)...)},
		"empty auth":              {{50}},
		"unknown message":         {{200, 1, 2, 3}},
		"channel before auth":     {ssh.Marshal(channelOpen{"session", 0, 1 << 20, 1 << 15})},
		"key exchange again, bad": {{20, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			before := f.log.String()
			r := dialRaw(t, f)
			for _, p := range packets {
				r.Send(p)
			}
			r.SetDeadline(time.Now().Add(3 * time.Second))
			for n := 0; ; n++ {
				if _, err := r.Receive(); err != nil {
					break
				} else if n > 3 {
					t.Fatal("the connection goes on")
				}
			}
			waitForLog(t, f, before, "a connection ended before it was authenticated")
		})
	}
	t.Run("giant, authenticated", func(t *testing.T) {
		before := f.log.String()
		r := dialRaw(t, f)
		if a, err := r.Sign("root@db1", key.PublicKey(), key); err != nil || !a.Success {
			t.Fatalf("%+v %v", a, err)
		}
		r.Send(append([]byte{90}, make([]byte, 300<<10)...))
		if _, err := r.Receive(); err == nil {
			t.Error("it was answered")
		}
		waitForLog(t, f, before, "a connection broke")
	})
	if got := run(t, bystander, "echo fine", nil); got.out != "fine\n" {
		t.Error(got)
	}
}

type channelOpen struct {
	Type        string `sshtype:"90"`
	ID          uint32
	Window, Max uint32
}

func waitForLog(t *testing.T, f *front, before, want string) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		now := strings.TrimPrefix(f.log.String(), before)
		if strings.Contains(now, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q in the log:\n%s", want, now)
		}
	}
}

// T30: silent clients, of one address, do not keep a real one out, and are
// gone after the handshake time.
func TestT30SilentCrowd(t *testing.T) {
	w := newFakeWorld(t)
	f := startFront(t, w, func(c *Config) { c.Limits.Handshake = 2 * time.Second })
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	crowd := sshtest.Silent(f.addr, 500)
	defer crowd.Close()
	begun := time.Now()
	c := f.mustDial("root@db1", key)
	if got := run(t, c, "echo in", nil); got.out != "in\n" {
		t.Fatal(got)
	}
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("a real login took %v", d)
	}
	if n := crowd.WaitClosed(5 * time.Second); n != 0 {
		t.Errorf("%d of %d silent connections are still open", n, crowd.Len())
	}
}

// T30: those who hold a place by doing the key exchange are bounded per
// address, and refused connections cost nothing.
func TestT30HalfDoneCrowd(t *testing.T) {
	f := startFront(t, newFakeWorld(t), func(c *Config) {
		c.Limits.Handshake = time.Second
		c.Limits.UnauthenticatedPerAddress = 8
	})
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	crowd := sshtest.HalfDone(f.addr, 40)
	defer crowd.Close()
	begun := time.Now()
	f.mustDial("root@db1", key)
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("a real login took %v", d)
	}
	if n := crowd.WaitClosed(5 * time.Second); n != 0 {
		t.Errorf("%d of %d connections are still open", n, crowd.Len())
	}
}

// Device flows wait in a pool of their own, and whoever finds it full is told.
func TestSignInPoolIsBounded(t *testing.T) {
	f := startFront(t, newFakeWorld(t), func(c *Config) { c.Limits.SignInsPerAddress = 1 })
	r := dialRaw(t, f)
	if a, err := r.Interactive("x"); err != nil || a.Prompt == "" {
		t.Fatalf("%+v %v", a, err)
	}
	r.Send([]byte{61, 0, 0, 0, 0})
	key, raw := newKeyFile(t)
	got := f.stock(key, raw).run("", "bastion")
	if got.code != 1 || !strings.Contains(got.err, "sallyport: Too many sign-ins are waiting at the moment; try again in a minute.\n") {
		t.Error(got)
	}
	r.Close()
	<-f.nextSignIn().ended
	go func() { f.nextSignIn().answer <- nil }()
	if got := f.stock(key, raw).run("", "bastion", "status"); got.code != 3 {
		t.Error(got)
	}
}

// A client that sends without end while its sign-in waits is cut off.
func TestFloodDuringSignIn(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	r := dialRaw(t, f)
	if _, err := r.Interactive("x"); err != nil {
		t.Fatal(err)
	}
	p := f.nextSignIn()
	go func() {
		r.Send([]byte{61, 0, 0, 0, 0})
		for r.Send(append([]byte{2}, ssh.Marshal(struct{ Data []byte }{make([]byte, 30<<10)})...)) == nil {
		}
	}()
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the flood goes on")
	}
}

// A person who types a passphrase has longer than a machine.
func TestOfferedKeyHasTimeToSign(t *testing.T) {
	f := startFront(t, newFakeWorld(t), func(c *Config) {
		c.Limits.Handshake = 300 * time.Millisecond
		c.Limits.Signing = 1500 * time.Millisecond
	})
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	r := dialRaw(t, f)
	if _, err := r.Offer("x", key.PublicKey()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(600 * time.Millisecond)
	if a, err := r.Sign("x", key.PublicKey(), key); err != nil || !a.Success {
		t.Fatalf("%+v %v", a, err)
	}
	slow := dialRaw(t, f)
	slow.Offer("x", key.PublicKey())
	time.Sleep(1700 * time.Millisecond)
	if _, err := slow.Sign("x", key.PublicKey(), key); err == nil {
		t.Error("it has for ever")
	}
}

// A client in the middle of its handshake does not hold up the end.
func TestStopDuringHandshake(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := dialRaw(t, f)
	if _, err := r.Interactive("x"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	f.stop()
	if d := time.Since(begun); d > time.Second {
		t.Errorf("that took %v", d)
	}
}
