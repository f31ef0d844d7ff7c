// Package certs holds the certificate authorities, issues certificates within
// what policy decided, and checks the ones that clients present. Certificates
// follow OpenSSH's PROTOCOL.certkeys.
//
// There are two authorities for users. The client CA signs what users hold, and
// only bastions trust it; the target CA signs what the bastion shows to
// targets. So a user's own certificate opens no target.
package certs

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// Authority is one CA key. Its private half cannot be read back.
type Authority struct{ signer ssh.Signer }

// PublicKey returns the public half.
func (a *Authority) PublicKey() ssh.PublicKey { return a.signer.PublicKey() }

// Authorities are the three CAs of a bastion.
type Authorities struct{ Client, Target, Host *Authority }

// LoadOrCreate opens the CAs in dir, making those that do not exist yet:
// ed25519 keys in OpenSSH's format, mode 0600. A key that others may read is
// refused.
func LoadOrCreate(dir string) (*Authorities, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var a Authorities
	for _, ca := range []struct {
		name string
		to   **Authority
	}{{"client_ca", &a.Client}, {"target_ca", &a.Target}, {"host_ca", &a.Host}} {
		signer, err := LoadOrCreateHostKey(filepath.Join(dir, ca.name))
		if err != nil {
			return nil, err
		}
		*ca.to = &Authority{signer}
	}
	return &a, nil
}

// LoadOrCreateHostKey opens the ed25519 private key at path, or makes it.
func LoadOrCreateHostKey(path string) (ssh.Signer, error) {
	signer, err := loadKey(path)
	if !errors.Is(err, os.ErrNotExist) {
		return signer, err
	}
	if err := createKey(path); err != nil {
		return nil, fmt.Errorf("the key %s cannot be made: %w", path, err)
	}
	return loadKey(path)
}

// maxKeyFile bounds a private key file, in bytes.
const maxKeyFile = 64 << 10

func loadKey(path string) (ssh.Signer, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxKeyFile {
		return nil, fmt.Errorf("the key %s is not a plain file of at most %d bytes", path, maxKeyFile)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key %s may be read by others (mode %04o); make it yours alone: chmod 600 %s", path, st.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("the key %s is damaged or has a passphrase", path)
	}
	if signer.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return nil, fmt.Errorf("the key %s is of type %s; want ssh-ed25519", path, signer.PublicKey().Type())
	}
	return signer, nil
}

// createKey stages the key and links it into place, so that a crash leaves a
// whole key or none, and the first of two processes wins.
func createKey(path string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "sallyport "+filepath.Base(path))
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(pem.EncodeToMemory(block))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// FingerprintOf returns the fingerprint of a key, or of the key inside a
// certificate.
func FingerprintOf(k ssh.PublicKey) policy.Fingerprint {
	if c, ok := k.(*ssh.Certificate); ok {
		k = c.Key
	}
	return policy.Fingerprint(ssh.FingerprintSHA256(k))
}
