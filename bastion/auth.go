package bastion

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// grant is what authentication ended with. It travels in
// Permissions.ExtraData, which x/crypto/ssh returns for the method that
// succeeded and for no other.
type grant struct {
	identity Identity
	key      ssh.PublicKey // the key or certificate that signed; nil for none
	refusal  string        // not empty: the user reads this, and gets nothing
}

type grantKey struct{}

func (g *grant) permissions() *ssh.Permissions {
	return &ssh.Permissions{ExtraData: map[any]any{grantKey{}: g}}
}

// refused is a grant of nothing. A failed authentication would make the stock
// client try again and hide why; this one lets it in as nobody, tells it one
// sentence and ends the connection.
func refused(sentence string) *grant { return &grant{refusal: sentence} }

var (
	errClientGone  = errors.New("the client went away")
	errNotAccepted = errors.New("not accepted")
)

// authenticator authenticates one connection. It keeps nothing of what a
// client merely offers: identity comes from the key that signed, and from
// nowhere else (THREATS T1).
type authenticator struct {
	s      *Server
	ctx    context.Context // done when the client is gone
	guard  *guard          // nil for a connection inside another
	id     policy.ConnectionID
	log    *slog.Logger
	source netip.AddrPort
	outer  *connection // the connection that this one came through, or nil

	banner  ssh.ServerPreAuthConn
	signing bool // holds a place in s.signing
	waiting bool // holds a place in s.signIns
}

// run does the handshake and returns the grant that it ended with.
func (a *authenticator) run(c net.Conn, hostKeys []ssh.Signer) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request, *grant, error) {
	config := &ssh.ServerConfig{
		Config:                    algorithms(),
		PublicKeyAuthAlgorithms:   userKeyAlgorithms,
		ServerVersion:             serverVersion,
		MaxAuthTries:              6,
		PublicKeyCallback:         a.offered,
		VerifiedPublicKeyCallback: a.verified,
		PreAuthConnCallback:       func(p ssh.ServerPreAuthConn) { a.banner = p },
	}
	if a.outer == nil {
		config.KeyboardInteractiveCallback = func(meta ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			return a.signIn(meta.User(), nil)(meta, ask)
		}
	}
	for _, k := range hostKeys {
		config.AddHostKey(k)
	}
	sconn, chans, reqs, err := ssh.NewServerConn(c, config)
	if err != nil {
		return nil, nil, nil, nil, a.reason(err)
	}
	g, ok := sconn.Permissions.ExtraData[grantKey{}].(*grant)
	if !ok {
		sconn.Close()
		return nil, nil, nil, nil, errors.New("authentication ended without an identity")
	}
	return sconn, chans, reqs, g, nil
}

// reason prefers what the bastion did over what that did to the handshake.
func (a *authenticator) reason(err error) error {
	var timeout net.Error
	switch {
	case a.ctx.Err() != nil && !errors.Is(context.Cause(a.ctx), errClientGone):
		return context.Cause(a.ctx)
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("it was not authenticated in time")
	}
	return err
}

// offered lets the client sign with a key. Nothing is looked up and nothing is
// kept, so that known and unknown keys get the same answer in the same time.
func (a *authenticator) offered(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if err := checkKeySize(key); err != nil {
		return nil, err
	}
	if g := a.guard; g != nil {
		g.authenticating.Store(true)
		if !a.signing && !a.waiting && a.s.signing.take(g.addr.Addr()) {
			a.signing = true
			a.s.lobby.leave(g)
			g.SetDeadline(time.Now().Add(a.s.limits.Signing))
		}
	}
	return nil, nil
}

// verified decides about a key that has signed this connection.
func (a *authenticator) verified(meta ssh.ConnMetadata, key ssh.PublicKey, _ *ssh.Permissions, _ string) (*ssh.Permissions, error) {
	id, err := a.s.cfg.Identify(a.ctx, Credential{Key: key, User: meta.User(), Remote: meta.RemoteAddr()})
	switch {
	case errors.Is(err, ErrNotSignedIn):
		return a.notSignedIn(meta, key)
	case err != nil:
		return nil, a.refuse(meta, key, err)
	case id.User.IsZero():
		return nil, a.refuse(meta, key, errors.New("the key belongs to nobody"))
	case !a.s.now().Before(id.Expires):
		return nil, a.refuse(meta, key, errors.New("the sign-in has expired"))
	case a.outer != nil && !sameUser(id.User, a.outer.grant.identity.User):
		a.say("This key belongs to another user than the one who is signed in at the bastion.")
		return nil, a.refuse(meta, key, errors.New("the key belongs to another user than the connection that it came through"))
	}
	return a.admit(meta, id, key).permissions(), nil
}

// notSignedIn is for a plain key that nobody is bound to: the person behind it
// signs in with a device flow, as the same user name and for that very key
// (THREATS T4, T5). The banner is for clients that cannot ask anybody.
func (a *authenticator) notSignedIn(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if _, ok := key.(*ssh.Certificate); ok {
		return nil, a.refuse(meta, key, errors.New("a certificate cannot be bound to a sign-in"))
	}
	fp := ssh.FingerprintSHA256(key)
	if a.outer != nil {
		a.say(fmt.Sprintf("This key (%s) is not signed in; use the one that signed in at the bastion.", fp))
		return nil, a.refuse(meta, key, ErrNotSignedIn)
	}
	a.say(fmt.Sprintf("This key (%s) is not signed in. If no prompt follows (BatchMode), sign in with: %s", fp, a.s.helpSignIn()))
	return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{
		KeyboardInteractiveCallback: a.signIn(meta.User(), key),
	}}
}

// admit asks the policy about the sign-in itself, which may have changed since
// the key was bound or the certificate issued.
func (a *authenticator) admit(meta ssh.ConnMetadata, id Identity, key ssh.PublicKey) *grant {
	d := a.s.cfg.Decide(policy.Request{User: id.User, Action: policy.ActionSignIn, Source: a.source.Addr()})
	if !d.Allowed {
		a.enter(policy.Entry{Kind: policy.EntryAuthRefused, User: &id.User, Detail: map[string]string{
			"reason": d.Reason, "key": string(id.Key), "name": printable(meta.User(), maxUserName)}})
		return refused(notAllowed(id.User))
	}
	a.log.Info("authenticated", "user", id.User.String(), "key", id.Key, "serial", id.Serial, "expires", id.Expires)
	return &grant{identity: id, key: key}
}

func notAllowed(u policy.User) string {
	return printable(u.String(), 100) + " is not allowed to sign in here."
}

// refuse logs and enters why a key was not taken. The client only learns that
// it was not.
func (a *authenticator) refuse(meta ssh.ConnMetadata, key ssh.PublicKey, why error) error {
	detail := map[string]string{
		"reason": printable(why.Error(), 500), "name": printable(meta.User(), maxUserName),
		"key": ssh.FingerprintSHA256(plainKey(key)), "type": key.Type(),
	}
	if c, ok := key.(*ssh.Certificate); ok {
		detail["serial"], detail["key_id"] = fmt.Sprint(c.Serial), printable(c.KeyId, 500)
	}
	a.log.Warn("a key was refused", "reason", detail["reason"], "key", detail["key"], "name", detail["name"])
	if a.s.refusals.note(a.source.Addr(), a.s.now()) {
		a.enter(policy.Entry{Kind: policy.EntryAuthRefused, Detail: detail})
	}
	return errNotAccepted
}

// enter writes an entry about this connection.
func (a *authenticator) enter(e policy.Entry) error {
	e.Source = a.source.String()
	if e.Detail == nil {
		e.Detail = map[string]string{}
	}
	e.Detail["connection"] = string(a.id)
	err := a.s.cfg.Audit(context.WithoutCancel(a.ctx), e)
	if err != nil {
		a.log.Error("an entry could not be written", "kind", e.Kind, "error", err)
	}
	return err
}

// say sends one line as a banner (RFC 4252, section 5.4).
func (a *authenticator) say(line string) {
	if err := a.banner.SendAuthBanner("sallyport: " + line + "\r\n"); err != nil {
		a.log.Debug("a banner was not sent", "error", err)
	}
}

// release gives back the places that the connection held while it waited.
func (a *authenticator) release() {
	if a.signing {
		a.s.signing.give(a.guard.addr.Addr())
		a.signing = false
	}
	if a.waiting {
		a.s.signIns.give(a.guard.addr.Addr())
		a.waiting = false
	}
}

func (s *Server) helpSignIn() string {
	if s.cfg.HelpSignIn == "" {
		return "ssh to this bastion, without BatchMode"
	}
	return s.cfg.HelpSignIn
}

// sameUser compares what identifies a user, not what describes it.
func sameUser(a, b policy.User) bool { return a.Issuer == b.Issuer && a.Subject == b.Subject }
