package certs

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

var alice = policy.User{Issuer: "https://login.example.com", Subject: "alice&x=\n\"*,", Name: "Alice Ä", Email: "alice@example.com"}

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newIssuer(t testing.TB) *Issuer {
	t.Helper()
	cas, err := LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{CAs: cas, Serial: RandomSerial}
}

var remote = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}

func TestAuthoritiesAreMadeOnceAndKeptPrivate(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	if FingerprintOf(first.Client.PublicKey()) != FingerprintOf(second.Client.PublicKey()) {
		t.Error("the second start made another CA")
	}
	if FingerprintOf(first.Client.PublicKey()) == FingerprintOf(first.Target.PublicKey()) {
		t.Error("client and target CA are the same key")
	}
	path := filepath.Join(dir, "client_ca")
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreate(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others may read: %v", err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(path, 0o600)
	if _, err := LoadOrCreate(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged key: %v", err)
	}
}

func TestUserCertificateAsSSHKeygenReadsIt(t *testing.T) {
	cert, err := newIssuer(t).User(context.Background(), newKey(t).PublicKey(), alice, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "k-cert.pub")
	if err := os.WriteFile(file, ssh.MarshalAuthorizedKey(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ssh-keygen", "-L", "-f", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"user certificate", string(alice.Principal()), "iss=https", "permit-pty"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
}

func TestCheckPermitsWhatTheBastionIssued(t *testing.T) {
	i := newIssuer(t)
	cert, err := i.User(context.Background(), newKey(t).PublicKey(), alice, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id, principal, err := (&Checker{Authority: i.CAs.Client.PublicKey()}).Check(cert, "root", remote)
	if err != nil || principal != alice.Principal() || id.Subject != alice.Subject || id.Issuer != alice.Issuer {
		t.Errorf("%+v %v %v", id, principal, err)
	}
}

// TestT2Refusals changes one thing of a good certificate at a time.
func TestT2Refusals(t *testing.T) {
	i := newIssuer(t)
	other := newKey(t)
	for _, tc := range []struct {
		name, want string
		change     func(*ssh.Certificate)
		by         ssh.Signer
	}{
		{name: "foreign CA", want: "another authority", by: other},
		{name: "target CA", want: "another authority", by: i.CAs.Target.signer},
		{name: "host type", want: "not a user certificate", change: func(c *ssh.Certificate) { c.CertType = ssh.HostCert }},
		{name: "expired", want: "expired", change: func(c *ssh.Certificate) { c.ValidAfter -= 7200; c.ValidBefore -= 7200 }},
		{name: "not yet valid", want: "not valid yet", change: func(c *ssh.Certificate) { c.ValidAfter += 7200; c.ValidBefore += 7200 }},
		{name: "forever", want: "longer than any", change: func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity }},
		{name: "ten years", want: "longer than any", change: func(c *ssh.Certificate) { c.ValidBefore += 10 * 365 * 86400 }},
		{name: "backwards", want: "longer than any", change: func(c *ssh.Certificate) { c.ValidAfter = c.ValidBefore + 1 }},
		{name: "no principals", want: "0 principals", change: func(c *ssh.Certificate) { c.ValidPrincipals = nil }},
		{name: "two principals", want: "2 principals", change: func(c *ssh.Certificate) { c.ValidPrincipals = append(c.ValidPrincipals, "root") }},
		{name: "another principal", want: "does not belong", change: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"u-other"} }},
		{name: "another serial", want: "does not belong", change: func(c *ssh.Certificate) { c.Serial++ }},
		{name: "foreign key id", want: "key id", change: func(c *ssh.Certificate) { c.KeyId = "alice" }},
		{name: "unknown critical option", want: "unknown critical option", change: func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "x"} }},
		{name: "source address", want: "not be used from", change: func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": "10.0.0.0/8"} }},
		{name: "unreadable source address", want: "not be used from", change: func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": "192.0.2.1,!x"} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cert, err := i.User(context.Background(), newKey(t).PublicKey(), alice, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if tc.change != nil {
				tc.change(cert)
			}
			by := tc.by
			if by == nil {
				by = i.CAs.Client.signer
			}
			if err := cert.SignCert(rand.Reader, by); err != nil {
				t.Fatal(err)
			}
			_, _, err = (&Checker{Authority: i.CAs.Client.PublicKey()}).Check(cert, "root", remote)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	t.Run("altered after signing", func(t *testing.T) {
		cert, err := i.User(context.Background(), newKey(t).PublicKey(), alice, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		cert.ValidBefore += 60
		if _, _, err := (&Checker{Authority: i.CAs.Client.PublicKey()}).Check(cert, "", remote); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("signed by a certificate", func(t *testing.T) { // CVE-2025-49825
		cert, err := i.User(context.Background(), newKey(t).PublicKey(), alice, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		cert.SignatureKey = &ssh.Certificate{Key: i.CAs.Client.PublicKey(), SignatureKey: i.CAs.Client.PublicKey(), Signature: cert.Signature}
		if _, _, err := (&Checker{Authority: i.CAs.Client.PublicKey()}).Check(cert, "", remote); err == nil {
			t.Error("accepted")
		}
	})
}

// TestT3Principals holds that the CA signs no principal outside the safe set.
func TestT3Principals(t *testing.T) {
	i := newIssuer(t)
	for _, login := range []string{"", "a,b", "*", "a b", "\"", "a\n", "-o", "ä", "a\x00", strings.Repeat("a", 200)} {
		if _, err := i.Target(context.Background(), TargetRequest{User: alice, Login: policy.Login(login), TTL: time.Minute}); err == nil {
			t.Errorf("signed %q", login)
		}
		if _, err := i.Host(context.Background(), newKey(t), []string{"ok", login}, time.Hour); err == nil {
			t.Errorf("signed host %q", login)
		}
	}
	if _, err := i.User(context.Background(), newKey(t).PublicKey(), policy.User{Issuer: "x"}, time.Hour); err == nil {
		t.Error("signed for nobody")
	}
}

func TestUserKeysThatGetNoCertificate(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ssh.NewPublicKey(&small.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newIssuer(t).User(context.Background(), pub, alice, time.Hour); err == nil || !strings.Contains(err.Error(), "2048 bits") {
		t.Errorf("a small RSA key: %v", err)
	}
	if _, err := newIssuer(t).User(context.Background(), newKey(t).PublicKey(), alice, 25*time.Hour); err == nil {
		t.Error("a lifetime of 25 hours was signed")
	}
}

func TestTargetCertificate(t *testing.T) {
	i := newIssuer(t)
	s, err := i.Target(context.Background(), TargetRequest{User: alice, Login: "root", Target: "db1", Connection: "c1", TTL: 5 * time.Minute, SourceAddress: "192.0.2.1/32"})
	if err != nil {
		t.Fatal(err)
	}
	cert := s.PublicKey().(*ssh.Certificate)
	id, err := ParseKeyID(cert.KeyId)
	if err != nil || id.Subject != alice.Subject || id.Target != "db1" || id.Connection != "c1" {
		t.Errorf("%+v %v", id, err)
	}
	if len(cert.ValidPrincipals) != 1 || cert.ValidPrincipals[0] != "root" || cert.CriticalOptions["source-address"] != "192.0.2.1/32" {
		t.Errorf("%+v", cert)
	}
}

func FuzzParseKeyID(f *testing.F) {
	f.Add(KeyID{Issuer: "i", Subject: "s", Serial: 1}.String())
	f.Add("iss=a&sub=b&serial=1&serial=2")
	f.Add("iss=%0a&serial=1&sub=%00")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseKeyID(s)
		if err == nil && k.String() != s {
			t.Errorf("%q came back as %q", s, k.String())
		}
		if strings.ContainsAny(k.String(), " \n\r\t\"") {
			t.Errorf("unsafe: %q", k.String())
		}
	})
}
