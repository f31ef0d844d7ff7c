package certs_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/certs"
	"sallyport/policy"
)

// A user's own certificate opens no target: Debian's sshd, which trusts the
// target CA and lets the very principal of the user in, takes the bastion's
// certificate and refuses the user's, on its own and beside the bastion's key.
func TestUserCertificatesOpenNoTarget(t *testing.T) {
	ctx := context.Background()
	cas, err := certs.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	issuer := &certs.Issuer{CAs: cas, Serial: certs.RandomSerial}
	user := policy.User{Issuer: "https://login.example.com", Subject: "alice", Email: "alice@example.com"}
	host := sshtest.StartOpenSSH(t, sshtest.Options{UserCAs: []ssh.PublicKey{cas.Target.PublicKey()}})
	permissive := sshtest.StartOpenSSH(t, sshtest.Options{UserCAs: []ssh.PublicKey{cas.Target.PublicKey()},
		Principals: []string{string(user.Principal()), host.Login}})
	key := sshtest.NewSigner(t)
	cert, err := issuer.User(ctx, key.PublicKey(), user, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	upstream := func(login, source string) ssh.Signer {
		s, err := issuer.Target(ctx, certs.TargetRequest{User: user, Login: policy.Login(login), Target: "t1", SourceAddress: source, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, tc := range []struct {
		name   string
		to     *sshtest.OpenSSH
		signer ssh.Signer
		opens  bool
	}{
		{"the bastion's certificate", host, upstream(host.Login, "127.0.0.1/32"), true},
		{"the user's certificate", host, own, false},
		{"the user's certificate where its principal is allowed", permissive, own, false},
		{"the user's plain key", host, key, false},
		{"the bastion's certificate for another login", host, upstream("somebody", ""), false},
		{"the bastion's certificate from another address", host, upstream(host.Login, "192.0.2.1/32"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := ssh.Dial("tcp", tc.to.Addr, &ssh.ClientConfig{User: tc.to.Login, Auth: []ssh.AuthMethod{ssh.PublicKeys(tc.signer)},
				HostKeyCallback: ssh.FixedHostKey(tc.to.HostKey), Timeout: 10 * time.Second})
			if err == nil {
				c.Close()
			}
			switch {
			case tc.opens && err != nil:
				t.Errorf("refused: %v\n%s", err, tc.to.Log())
			case !tc.opens && err == nil:
				t.Error("it opens the target")
			case !tc.opens && !strings.Contains(err.Error(), "unable to authenticate"):
				t.Errorf("it failed for another reason: %v", err)
			}
		})
	}
}

// Nor does a certificate that the bastion shows to targets open a bastion.
func TestTargetCertificatesOpenNoBastion(t *testing.T) {
	cas, err := certs.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	issuer := &certs.Issuer{CAs: cas, Serial: certs.RandomSerial}
	user := policy.User{Issuer: "https://login.example.com", Subject: "alice"}
	// The login that comes closest: the user's own principal.
	signer, err := issuer.Target(context.Background(), certs.TargetRequest{User: user, Login: policy.Login(user.Principal()), TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	cert := signer.PublicKey().(*ssh.Certificate)
	checker := &certs.Checker{Authority: cas.Client.PublicKey()}
	if _, _, err := checker.Check(cert, "x", nil); err == nil || !strings.Contains(err.Error(), "another authority") {
		t.Errorf("%v", err)
	}
}

// Fetching a certificate with a certificate, again and again, never moves its
// end: the bastion asks for what is left, and the issuer rounds down.
func TestRenewalProlongsNothing(t *testing.T) {
	cas, err := certs.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 999_999_999)
	issuer := &certs.Issuer{CAs: cas, Serial: certs.RandomSerial, Now: func() time.Time { return now }}
	user := policy.User{Issuer: "https://login.example.com", Subject: "alice"}
	end := now.Add(time.Hour)
	for range 100 {
		cert, err := issuer.User(context.Background(), sshtest.NewSigner(t).PublicKey(), user, end.Sub(now))
		if err != nil {
			t.Fatal(err)
		}
		got := time.Unix(int64(cert.ValidBefore), 0)
		if got.After(end) {
			t.Fatalf("a certificate ends at %s, after the sign-in (%s)", got, end)
		}
		end, now = got, now.Add(7*time.Second+123*time.Millisecond)
	}
}
