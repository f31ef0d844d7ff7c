package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion"
	"sallyport/certs"
	"sallyport/policy"
	"sallyport/recorder/catalog"
)

// newIssuing is newStores with keys, and a policy that is the source given.
func newIssuing(t *testing.T, source string) *node {
	t.Helper()
	n := newStores(t)
	if err := n.openKeys(context.Background()); err != nil {
		t.Fatal(err)
	}
	n.issuer = &certs.Issuer{CAs: n.cas, Serial: n.catalog.NextSerial}
	n.cfg.Certificates.Lifetime = time.Hour
	n.policy = newPolicy(t, source)
	return n
}

func (n *node) credential(key ssh.PublicKey) bastion.Credential {
	return bastion.Credential{Key: key, User: "root@t1", Remote: nil}
}

// A key counts for its user, for as long as its sign-in, and no longer; a
// certificate for the user in it, as the provider last described that user.
func TestIdentify(t *testing.T) {
	ctx := context.Background()
	n := newIssuing(t, `permit(principal, action, resource);`)
	key, other := newSigner(t).PublicKey(), newSigner(t).PublicKey()
	user := policy.User{Issuer: "https://i", Subject: "s", Groups: []string{"ops"}}
	if _, err := n.identify(ctx, n.credential(key)); !errors.Is(err, bastion.ErrNotSignedIn) {
		t.Errorf("an unknown key: %v", err)
	}
	if err := n.catalog.PutUser(ctx, user, time.Now()); err != nil {
		t.Fatal(err)
	}
	bind := func(k ssh.PublicKey, until time.Time) {
		if err := n.catalog.Bind(ctx, catalog.Binding{Fingerprint: certs.FingerprintOf(k), Principal: user.Principal(), Created: time.Now(), Expires: until}); err != nil {
			t.Fatal(err)
		}
	}
	end := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	bind(key, end)
	if id, err := n.identify(ctx, n.credential(key)); err != nil || id.User.Subject != "s" || !id.Expires.Equal(end) {
		t.Errorf("%+v %v", id, err)
	}
	bind(other, time.Now())
	if _, err := n.identify(ctx, n.credential(other)); !errors.Is(err, bastion.ErrNotSignedIn) {
		t.Errorf("a binding that is over: %v", err)
	}
	cert, err := n.issuer.User(ctx, other, user, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	user.Groups = nil
	if err := n.catalog.PutUser(ctx, user, time.Now()); err != nil {
		t.Fatal(err)
	}
	if id, err := n.identify(ctx, n.credential(cert)); err != nil || len(id.User.Groups) != 0 || uint64(id.Serial) != cert.Serial {
		t.Errorf("%+v %v", id, err)
	}
	stranger, err := n.issuer.User(ctx, other, policy.User{Issuer: "https://i", Subject: "never seen"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.identify(ctx, n.credential(stranger)); err == nil || errors.Is(err, bastion.ErrNotSignedIn) {
		t.Errorf("a certificate of somebody who never signed in: %v", err)
	}
}

// What a certificate is asked for cannot give: one without a key, after the
// sign-in, against the policy, or for longer than the sign-in lasts.
func TestCertificateRefusals(t *testing.T) {
	ctx := context.Background()
	n := newIssuing(t, `permit(principal, action, resource) when { principal.subject != "barred" };`)
	call := func(subject string, left time.Duration, key ssh.PublicKey) bastion.ConsoleCall {
		return bastion.ConsoleCall{Key: key, Identity: bastion.Identity{User: policy.User{Issuer: "https://i", Subject: subject}, Expires: time.Now().Add(left)}}
	}
	key := newSigner(t).PublicKey()
	for name, c := range map[string]bastion.ConsoleCall{
		"no key": call("s", time.Hour, nil), "expired": call("s", 0, key), "barred": call("barred", time.Hour, key),
	} {
		var said *userError
		if line, err := n.certificate(ctx, c); !errors.As(err, &said) || line != "" {
			t.Errorf("%s: %q %v", name, line, err)
		}
	}
	c := call("s", 10*time.Minute, key)
	line, err := n.certificate(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	if end := time.Unix(int64(pub.(*ssh.Certificate).ValidBefore), 0); end.After(c.Identity.Expires) {
		t.Errorf("it is valid until %s, the sign-in until %s", end, c.Identity.Expires)
	}
	if err := n.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	if line, err := n.certificate(ctx, c); err == nil || line != "" {
		t.Errorf("a certificate that is not on account was given: %q", line)
	}
}

// Where no host certificate can be made, the one before goes on being shown
// while it is valid, and no longer.
func TestHostCertificatesOutliveAFailure(t *testing.T) {
	ctx := context.Background()
	n := newIssuing(t, `permit(principal, action, resource);`)
	first, err := n.hostSigners(ctx, "b", "b.x")
	if err != nil {
		t.Fatal(err)
	}
	if alone, err := n.hostSigners(ctx, "b"); err != nil || alone[0] == first[0] {
		t.Errorf("another list of names gets the same certificate (%v)", err)
	}
	n.issuer.Serial = func(context.Context) (policy.Serial, error) { return 0, errors.New("disk full") }
	age := func(d time.Duration) {
		n.hosts.items["b,b.x"] = hostCert{first[0], time.Now().Add(-d)}
	}
	age(time.Minute)
	if got, err := n.hostSigners(ctx, "b", "b.x"); err != nil || got[0] != first[0] {
		t.Errorf("%v %v", got, err)
	}
	age(hostCertLifetime/2 + time.Minute)
	if _, err := n.hostSigners(ctx, "b", "b.x"); err == nil {
		t.Error("an expired certificate is shown")
	}
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	s, err := certs.LoadOrCreateHostKey(t.TempDir() + "/k")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
