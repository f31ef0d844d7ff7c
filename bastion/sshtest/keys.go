package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// NewKey returns a fresh ed25519 private key, as Options.HostKey takes it.
func NewKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// NewSigner returns a fresh ed25519 key that signs.
func NewSigner(t testing.TB) ssh.Signer {
	t.Helper()
	return signerOf(t, NewKey(t))
}

func signerOf(t testing.TB, key any) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// UserCertificate returns a fresh key with a user certificate by ca that names
// principals and is valid for five minutes. Edit, if not nil, changes it before
// it is signed.
func UserCertificate(t testing.TB, ca ssh.Signer, principals []string, edit func(*ssh.Certificate)) ssh.Signer {
	t.Helper()
	key := NewSigner(t)
	now := time.Now()
	cert := &ssh.Certificate{
		Key:             key.PublicKey(),
		CertType:        ssh.UserCert,
		KeyId:           "sshtest user",
		ValidPrincipals: principals,
		ValidAfter:      uint64(now.Add(-time.Minute).Unix()),
		ValidBefore:     uint64(now.Add(5 * time.Minute).Unix()),
		Permissions:     ssh.Permissions{Extensions: map[string]string{"permit-pty": ""}},
	}
	if edit != nil {
		edit(cert)
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// AuthorizedKey returns key in authorized_keys format without a line end, as a
// configuration names it.
func AuthorizedKey(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func authorizedKeys(keys []ssh.PublicKey) string {
	var b strings.Builder
	for _, k := range keys {
		b.Write(ssh.MarshalAuthorizedKey(k))
	}
	return b.String()
}

// hostKey returns key, or a fresh one if it is nil, as a signer and as a file.
func hostKey(t testing.TB, key any) (ssh.Signer, []byte) {
	t.Helper()
	if key == nil {
		key = NewKey(t)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return signerOf(t, key), pem.EncodeToMemory(block)
}

func hostCertificate(t testing.TB, key ssh.PublicKey, o Options) *ssh.Certificate {
	t.Helper()
	ttl := o.HostTTL
	if ttl == 0 {
		ttl = time.Hour
	}
	now := time.Now()
	cert := &ssh.Certificate{
		Key:             key,
		CertType:        ssh.HostCert,
		KeyId:           "sshtest host",
		ValidPrincipals: o.HostNames,
		ValidAfter:      uint64(now.Add(-24 * time.Hour).Unix()),
		ValidBefore:     uint64(now.Add(ttl).Unix()),
	}
	if err := cert.SignCert(rand.Reader, o.HostCA); err != nil {
		t.Fatal(err)
	}
	return cert
}

// WriteKey writes a private key as the stock client reads it and returns its
// path.
func WriteKey(t testing.TB, dir, name string, key any) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
