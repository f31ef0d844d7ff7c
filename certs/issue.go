package certs

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// MaxLifetime is the longest life of a user's certificate.
const MaxLifetime = 24 * time.Hour

// backdate allows for a client or target whose clock is behind.
const backdate = time.Minute

// principalRE holds what every SSH implementation treats alike: no comma, star,
// quote, white space or control character (THREATS T3).
var principalRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._@-]{0,127}$`)

// Issuer signs certificates.
type Issuer struct {
	CAs    *Authorities
	Serial func(context.Context) (policy.Serial, error) // never the same twice
	Now    func() time.Time                             // nil: time.Now
}

func (i *Issuer) now() time.Time {
	if i.Now != nil {
		return i.Now()
	}
	return time.Now()
}

// RandomSerial is a Serial for certificates that no catalog counts: 63 random
// bits, never 0.
func RandomSerial(context.Context) (policy.Serial, error) {
	var b [8]byte
	rand.Read(b[:])
	return policy.Serial(binary.BigEndian.Uint64(b[:])>>1 | 1), nil
}

// User issues a client certificate for key with the one principal of u, valid
// for ttl.
func (i *Issuer) User(ctx context.Context, key ssh.PublicKey, u policy.User, ttl time.Duration) (*ssh.Certificate, error) {
	if u.IsZero() {
		return nil, errors.New("a certificate needs an issuer and a subject")
	}
	if err := checkUserKey(key); err != nil {
		return nil, err
	}
	if ttl <= 0 || ttl > MaxLifetime {
		return nil, fmt.Errorf("a certificate's lifetime is up to %s, not %s", MaxLifetime, ttl)
	}
	return i.sign(ctx, i.CAs.Client, request{
		key: key, kind: ssh.UserCert, ttl: ttl, principals: []string{string(u.Principal())},
		keyID: KeyID{Issuer: u.Issuer, Subject: u.Subject, Name: u.String()},
		// Forwarding is the bastion's to decide; it reads no extension, and
		// permit-pty is what OpenSSH tools expect to see.
		extensions: map[string]string{"permit-pty": ""},
	})
}

// TargetRequest describes a certificate for one connection to a target.
type TargetRequest struct {
	User       policy.User
	Login      policy.Login
	Target     string
	Connection policy.ConnectionID
	// SourceAddress is the source-address option (CIDR list); "" for none.
	SourceAddress string
	TTL           time.Duration
}

// Target makes a fresh key and a certificate for it by the target CA, with the
// login as its one principal.
func (i *Issuer) Target(ctx context.Context, r TargetRequest) (ssh.Signer, error) {
	if r.User.IsZero() || r.TTL <= 0 || r.TTL > time.Hour {
		return nil, errors.New("a certificate for a target needs a user and a lifetime of up to an hour")
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	options := map[string]string{}
	if r.SourceAddress != "" {
		options["source-address"] = r.SourceAddress
	}
	cert, err := i.sign(ctx, i.CAs.Target, request{
		key: signer.PublicKey(), kind: ssh.UserCert, ttl: r.TTL, principals: []string{string(r.Login)}, options: options,
		keyID:      KeyID{Issuer: r.User.Issuer, Subject: r.User.Subject, Name: r.User.String(), Connection: r.Connection, Target: r.Target},
		extensions: map[string]string{"permit-pty": "", "permit-user-rc": ""},
	})
	if err != nil {
		return nil, err
	}
	return ssh.NewCertSigner(cert, signer)
}

// Host returns key with a host certificate for names.
func (i *Issuer) Host(ctx context.Context, key ssh.Signer, names []string, ttl time.Duration) (ssh.Signer, error) {
	cert, err := i.HostCertificate(ctx, key.PublicKey(), names, ttl)
	if err != nil {
		return nil, err
	}
	return ssh.NewCertSigner(cert, key)
}

// HostCertificate issues a host certificate for key and names.
func (i *Issuer) HostCertificate(ctx context.Context, key ssh.PublicKey, names []string, ttl time.Duration) (*ssh.Certificate, error) {
	if err := checkUserKey(key); err != nil {
		return nil, err
	}
	if ttl <= 0 {
		return nil, errors.New("a host certificate needs a lifetime")
	}
	return i.sign(ctx, i.CAs.Host, request{key: key, kind: ssh.HostCert, ttl: ttl, principals: names, hostKeyID: "sallyport host " + fmt.Sprint(names)})
}

// request is what sign needs to know.
type request struct {
	key                 ssh.PublicKey
	kind                uint32
	ttl                 time.Duration
	principals          []string
	keyID               KeyID
	hostKeyID           string
	options, extensions map[string]string
}

func (i *Issuer) sign(ctx context.Context, ca *Authority, r request) (*ssh.Certificate, error) {
	if len(r.principals) == 0 || r.kind == ssh.UserCert && len(r.principals) != 1 {
		return nil, errors.New("a user's certificate has exactly one principal, a host's at least one")
	}
	for _, p := range r.principals {
		if !principalRE.MatchString(p) {
			return nil, fmt.Errorf("principal %q: want letters, digits and ._@- only", p)
		}
	}
	serial, err := i.Serial(ctx)
	if err != nil {
		return nil, fmt.Errorf("a certificate serial: %w", err)
	}
	r.keyID.Serial = serial
	id := r.hostKeyID
	if id == "" {
		id = r.keyID.String()
	}
	if len(id) > maxKeyID {
		return nil, fmt.Errorf("the issuer, subject and name are too long for a certificate (%d bytes of %d)", len(id), maxKeyID)
	}
	now := i.now()
	cert := &ssh.Certificate{
		Key: r.key, Serial: uint64(serial), CertType: r.kind, KeyId: id, ValidPrincipals: r.principals,
		ValidAfter: uint64(now.Add(-backdate).Unix()), ValidBefore: uint64(now.Add(r.ttl).Unix()),
		Permissions: ssh.Permissions{CriticalOptions: r.options, Extensions: r.extensions},
	}
	return cert, cert.SignCert(rand.Reader, ca.signer)
}

// checkUserKey refuses keys that are weak, huge or no plain keys.
func checkUserKey(key ssh.PublicKey) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		ck, ok := key.(ssh.CryptoPublicKey)
		if !ok {
			break
		}
		if pub, ok := ck.CryptoPublicKey().(*rsa.PublicKey); ok {
			if bits := pub.N.BitLen(); bits < 3072 || bits > 8192 {
				return fmt.Errorf("the RSA key has %d bits; want 3072 to 8192, or better an ed25519 key", bits)
			}
			return nil
		}
	}
	return fmt.Errorf("keys of type %s get no certificate; make one with: ssh-keygen -t ed25519", key.Type())
}
