package upstream

import (
	"crypto/rand"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/policy"
)

// A host certificate that expires during a connection does not cut it at the
// next key exchange; another key does, even a registered certificate's.
func TestHostKeyAtNextKeyExchange(t *testing.T) {
	ca, key := sshtest.NewSigner(t), sshtest.NewSigner(t)
	now := time.Now()
	tr, err := parseTrust(policy.Target{Name: "db1", HostCAs: []string{sshtest.AuthorizedKey(ca.PublicKey())}}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	cert := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"DB1"},
		ValidAfter: uint64(now.Add(-time.Minute).Unix()), ValidBefore: uint64(now.Add(time.Minute).Unix()),
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	if err := tr.check("", nil, cert); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	if err := tr.check("", nil, cert); err != nil {
		t.Errorf("the same certificate at a later key exchange: %v", err)
	}
	if err := tr.check("", nil, key.PublicKey()); err == nil {
		t.Error("the plain key of the certificate passed")
	}
}

// A certificate that a user's authority could have made opens nothing: it must
// be one of a host, unaltered, and signed by a key, not by a certificate.
func TestHostCertificateForgeries(t *testing.T) {
	ca, key := sshtest.NewSigner(t), sshtest.NewSigner(t)
	tr, err := parseTrust(policy.Target{Name: "db1", HostCAs: []string{sshtest.AuthorizedKey(ca.PublicKey())}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	fresh := func() *ssh.Certificate {
		c := &ssh.Certificate{
			Key: key.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"db1"}, ValidBefore: ssh.CertTimeInfinity,
		}
		if err := c.SignCert(rand.Reader, ca); err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := tr.check("", nil, fresh()); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	for name, edit := range map[string]func(*ssh.Certificate){
		"user certificate": func(c *ssh.Certificate) { c.CertType = ssh.UserCert; c.SignCert(rand.Reader, ca) },
		"altered":          func(c *ssh.Certificate) { c.Serial++ },
		"critical option": func(c *ssh.Certificate) {
			c.CriticalOptions = map[string]string{"force-command": "x"}
			c.SignCert(rand.Reader, ca)
		},
		"signed by a certificate": func(c *ssh.Certificate) { c.SignatureKey = fresh() },
		"empty name":              func(c *ssh.Certificate) { c.ValidPrincipals = []string{""}; c.SignCert(rand.Reader, ca) },
	} {
		c := fresh()
		edit(c)
		if err := tr.check("", nil, c); err == nil {
			t.Errorf("%s: it passed", name)
		}
	}
}
