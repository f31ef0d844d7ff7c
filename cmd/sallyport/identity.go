package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion"
	"sallyport/certs"
	"sallyport/certs/signin"
	"sallyport/policy"
	"sallyport/recorder/catalog"
)

// identify tells who a key that signed belongs to: the user in its
// certificate, or the user that an earlier sign-in bound it to.
func (n *node) identify(ctx context.Context, c bastion.Credential) (bastion.Identity, error) {
	if cert, ok := c.Key.(*ssh.Certificate); ok {
		return n.identifyCertificate(ctx, c, cert)
	}
	fp := certs.FingerprintOf(c.Key)
	b, err := n.catalog.Binding(ctx, fp)
	if errors.Is(err, catalog.ErrNotFound) {
		return bastion.Identity{}, bastion.ErrNotSignedIn
	}
	if err != nil {
		return bastion.Identity{}, err
	}
	if !time.Now().Before(b.Expires) {
		return bastion.Identity{}, bastion.ErrNotSignedIn
	}
	user, err := n.catalog.User(ctx, b.Principal)
	if err != nil {
		return bastion.Identity{}, fmt.Errorf("the user of a bound key: %w", err)
	}
	return bastion.Identity{User: user, Key: fp, Expires: b.Expires}, nil
}

func (n *node) identifyCertificate(ctx context.Context, c bastion.Credential, cert *ssh.Certificate) (bastion.Identity, error) {
	checker := certs.Checker{Authority: n.cas.Client.PublicKey()}
	id, principal, err := checker.Check(cert, c.User, c.Remote)
	if err != nil {
		return bastion.Identity{}, err
	}
	user, err := n.catalog.User(ctx, principal)
	if err != nil {
		return bastion.Identity{}, fmt.Errorf("the user of certificate %d: %w", cert.Serial, err)
	}
	if user.Issuer != id.Issuer || user.Subject != id.Subject {
		return bastion.Identity{}, errors.New("the certificate's key id names another user than its principal")
	}
	return bastion.Identity{User: user, Key: certs.FingerprintOf(cert), Serial: policy.Serial(cert.Serial),
		Expires: time.Unix(int64(cert.ValidBefore), 0)}, nil
}

// startSignIn begins the device flow for the key that signed the connection,
// or for a connection without one.
func (n *node) startSignIn(ctx context.Context, r bastion.SignInRequest) (bastion.PendingSignIn, error) {
	device, err := n.idp.StartDevice(ctx)
	if err != nil {
		return nil, n.logSignIn(err)
	}
	return &pendingSignIn{node: n, request: r, device: device}, nil
}

// logSignIn keeps the cause, which the user does not see, in the log.
func (n *node) logSignIn(err error) error {
	var se *signin.Error
	if errors.As(err, &se) {
		n.log.Warn("sign-in failed", "what", se.Error(), "cause", se.Unwrap())
	}
	return err
}

type pendingSignIn struct {
	node    *node
	request bastion.SignInRequest
	device  *signin.Device
	found   bastion.Identity // what Wait returned
	at      time.Time        // when
}

func (p *pendingSignIn) Prompt() bastion.SignInPrompt {
	return bastion.SignInPrompt{URL: p.device.VerificationURL, CompleteURL: p.device.CompleteURL, Code: p.device.UserCode, Expires: p.device.Expires}
}

// Wait blocks until the identity provider has an answer. Whether the user is
// let in is the bastion's to ask.
func (p *pendingSignIn) Wait(ctx context.Context) (bastion.Identity, error) {
	n := p.node
	user, err := p.device.Wait(ctx)
	if err != nil {
		return bastion.Identity{}, n.logSignIn(err)
	}
	p.at = time.Now()
	// Also for a user who will not be let in: what was bound or issued before
	// is judged by the groups of now (THREATS T7).
	if err := n.catalog.PutUser(ctx, user, p.at); err != nil {
		return bastion.Identity{}, err
	}
	d := n.decide(policy.Request{User: user, Action: policy.ActionSignIn, Source: p.request.Source.Addr()})
	p.found = bastion.Identity{User: user, Expires: p.at.Add(n.lifetime(d))}
	if p.request.Key != nil {
		p.found.Key = certs.FingerprintOf(p.request.Key)
	}
	return p.found, nil
}

// Keep binds the key that signed, if any, to the user for as long as a
// certificate would live.
func (p *pendingSignIn) Keep(ctx context.Context) error {
	if p.request.Key == nil {
		return nil
	}
	return p.node.catalog.Bind(ctx, catalog.Binding{Fingerprint: p.found.Key, Principal: p.found.User.Principal(),
		Source: p.request.Source.String(), Created: p.at, Expires: p.found.Expires})
}

// lifetime is the configured one, or what policy shortens it to.
func (n *node) lifetime(d policy.Decision) time.Duration {
	l := n.cfg.Certificates.Lifetime
	if t := d.Obligations.CertTTL; t > 0 && t < l {
		return t
	}
	return l
}

// certificate issues a certificate for the key that signed the connection. It
// ends when the sign-in behind it does: only the identity provider can prolong.
func (n *node) certificate(ctx context.Context, c bastion.ConsoleCall) (string, error) {
	if c.Key == nil {
		return "", &userError{"This connection was not signed by a key; connect with one to get a certificate for it.", nil}
	}
	d := n.decide(policy.Request{User: c.Identity.User, Action: policy.ActionSignIn, Source: c.Source.Addr()})
	if !d.Allowed {
		return "", &userError{fmt.Sprintf("%s is not allowed to have a certificate.", c.Identity.User), errors.New(d.Reason)}
	}
	ttl := min(n.lifetime(d), time.Until(c.Identity.Expires))
	if ttl <= 0 {
		return "", &userError{"The sign-in has expired; connect again to sign in.", nil}
	}
	cert, err := n.issuer.User(ctx, plainKey(c.Key), c.Identity.User, ttl)
	if err != nil {
		return "", err
	}
	err = n.audit(ctx, policy.Entry{Kind: policy.EntryCertificate, User: &c.Identity.User, Source: c.Source.String(), Detail: map[string]string{
		"serial": fmt.Sprint(cert.Serial), "key": string(certs.FingerprintOf(cert)), "valid_before": time.Unix(int64(cert.ValidBefore), 0).UTC().Format(time.RFC3339)}})
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(cert))), nil
}

func plainKey(k ssh.PublicKey) ssh.PublicKey {
	if cert, ok := k.(*ssh.Certificate); ok {
		return cert.Key
	}
	return k
}

// userError is a sentence for the user, and a cause for the log.
type userError struct {
	sentence string
	cause    error
}

func (e *userError) Error() string       { return e.sentence }
func (e *userError) UserMessage() string { return e.sentence }
func (e *userError) Unwrap() error       { return e.cause }

// hostCertLifetime is how long a host certificate lives; it is renewed at half.
const hostCertLifetime = 7 * 24 * time.Hour

// hostCerts keeps host certificates, by their names, until half their life is
// over, and for the other half where none can be made.
type hostCerts struct {
	mu    sync.Mutex
	items map[string]hostCert
}

type hostCert struct {
	signer ssh.Signer
	renew  time.Time
}

// hostSigners returns what the bastion presents under names: the certificate
// first, and the plain key for clients that know no certificate authorities.
func (n *node) hostSigners(ctx context.Context, names ...string) ([]ssh.Signer, error) {
	n.hosts.mu.Lock()
	defer n.hosts.mu.Unlock()
	key, now := strings.Join(names, ","), time.Now()
	old, known := n.hosts.items[key]
	if known && now.Before(old.renew) {
		return []ssh.Signer{old.signer, n.hostKey}, nil
	}
	signer, err := n.issuer.Host(ctx, n.hostKey, names, hostCertLifetime)
	if err != nil && known && now.Before(old.renew.Add(hostCertLifetime/2)) {
		n.log.Error("a host certificate cannot be renewed; the one before is shown while it is valid", "names", key, "error", err)
		return []ssh.Signer{old.signer, n.hostKey}, nil
	}
	if err != nil {
		return nil, err
	}
	if n.hosts.items == nil {
		n.hosts.items = map[string]hostCert{}
	}
	n.hosts.items[key] = hostCert{signer, now.Add(hostCertLifetime / 2)}
	return []ssh.Signer{signer, n.hostKey}, nil
}

// bastionNames are the names in the bastion's own host certificate.
func (n *node) bastionNames() []string { return []string{n.cfg.SSH.Name} }

// targetHostSigners is what the bastion presents in place of a target.
func (n *node) targetHostSigners(ctx context.Context, name string) ([]ssh.Signer, error) {
	t, ok := n.targets.Load().lookup(name)
	if !ok {
		return nil, fmt.Errorf("no target %q", name)
	}
	names := []string{t.Name}
	if s := n.cfg.SSH.Suffix; s != "" {
		names = append(names, t.Name+"."+s)
	}
	return n.hostSigners(ctx, names...)
}

// caLine is the @cert-authority line for known_hosts: the bastion's own name
// and the targets' suffix, never every host.
func (n *node) caLine() string {
	hosts := n.cfg.SSH.Name
	if s := n.cfg.SSH.Suffix; s != "" {
		hosts += ",*." + s
	}
	return "@cert-authority " + hosts + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(n.cas.Host.PublicKey())))
}
