package bastion

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// signIn returns the keyboard-interactive method (RFC 4256) that runs a device
// flow for user, and for key if one has signed. It never fails for a reason
// that the user should know: then it grants nothing, with a sentence.
func (a *authenticator) signIn(user string, key ssh.PublicKey) func(ssh.ConnMetadata, ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	return func(meta ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
		if meta.User() != user {
			a.enter(policy.Entry{Kind: policy.EntryAuthRefused, Detail: map[string]string{"reason": "the user name changed after the key had signed"}})
			return nil, errNotAccepted
		}
		if !a.wait() {
			return refused("Too many sign-ins are waiting at the moment; try again in a minute.").permissions(), nil
		}
		if !a.s.starts.take(a.source.Addr(), a.s.now()) {
			return refused("Too many sign-ins were begun from your address; try again in a minute.").permissions(), nil
		}
		g, err := a.device(key, ask)
		if err != nil {
			return nil, err
		}
		return g.permissions(), nil
	}
}

// wait moves the connection from the lobby, or from those that may be typing a
// passphrase, to those that wait for a device flow.
func (a *authenticator) wait() bool {
	if a.waiting {
		return true
	}
	if !a.s.signIns.take(a.source.Addr()) {
		return false
	}
	a.release()
	a.waiting = true
	a.guard.authenticating.Store(true)
	a.s.lobby.leave(a.guard)
	return true
}

// device runs one device flow. An error means that the client is gone.
func (a *authenticator) device(key ssh.PublicKey, ask ssh.KeyboardInteractiveChallenge) (*grant, error) {
	now := time.Now()
	limit := now.Add(a.s.limits.SignIn)
	a.guard.SetDeadline(limit.Add(10 * time.Second))
	ctx, cancel := context.WithDeadline(a.ctx, limit)
	defer cancel()
	pending, err := a.s.cfg.SignIn(ctx, SignInRequest{Key: key, Source: a.source, Connection: a.id})
	if err != nil {
		return a.signInFailed(key, err)
	}
	prompt := pending.Prompt()
	if prompt.Expires.IsZero() || prompt.Expires.After(limit) {
		prompt.Expires = limit
	}
	ctx, cancel = context.WithDeadline(ctx, prompt.Expires)
	defer cancel()
	if _, err := ask("", instruction(prompt, a.source.String(), key, now), nil, nil); err != nil {
		return nil, err
	}
	id, err := pending.Wait(ctx)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return a.signInFailed(key, err)
	}
	return a.signedIn(key, id, pending.Keep)
}

// signedIn checks what the sign-in returned, enters it, and then keeps it: a
// sign-in that is refused or not on account must not bind the key.
func (a *authenticator) signedIn(key ssh.PublicKey, id Identity, keep func(context.Context) error) (*grant, error) {
	var fp policy.Fingerprint
	if key != nil {
		fp = policy.Fingerprint(ssh.FingerprintSHA256(key))
	}
	switch {
	case id.User.IsZero():
		return a.signInFailed(key, errors.New("the sign-in names nobody"))
	case id.Key != fp:
		return a.signInFailed(key, fmt.Errorf("the sign-in is for key %q, but %q has signed", id.Key, fp))
	case !a.s.now().Before(id.Expires):
		return a.signInFailed(key, errors.New("the sign-in has already expired"))
	}
	d := a.s.cfg.Decide(policy.Request{User: id.User, Action: policy.ActionSignIn, Source: a.source.Addr()})
	if !d.Allowed {
		a.enter(policy.Entry{Kind: policy.EntrySignInFailed, User: &id.User, Detail: map[string]string{"reason": d.Reason, "key": string(fp), "via": "ssh"}})
		return refused(notAllowed(id.User)), nil
	}
	err := a.enter(policy.Entry{Kind: policy.EntrySignIn, User: &id.User, Detail: map[string]string{
		"key": string(fp), "via": "ssh", "expires": id.Expires.UTC().Format(time.RFC3339)}})
	if err != nil {
		return refused("The sign-in could not be entered in the ledger, so it does not count."), nil
	}
	if err := keep(a.ctx); err != nil {
		return a.signInFailed(key, fmt.Errorf("the key could not be bound: %w", err))
	}
	a.log.Info("signed in", "user", id.User.String(), "key", fp, "expires", id.Expires)
	return &grant{identity: id, key: key}, nil
}

// signInFailed enters why and finds the sentence for the user.
func (a *authenticator) signInFailed(key ssh.PublicKey, why error) (*grant, error) {
	detail := map[string]string{"reason": printable(why.Error(), 500), "via": "ssh"}
	if key != nil {
		detail["key"] = ssh.FingerprintSHA256(key)
	}
	if a.ctx.Err() != nil {
		detail["reason"] = context.Cause(a.ctx).Error()
	}
	if a.s.refusals.note(a.source.Addr(), a.s.now()) {
		a.enter(policy.Entry{Kind: policy.EntrySignInFailed, Detail: detail})
	}
	a.log.Warn("a sign-in failed", "reason", detail["reason"])
	if a.ctx.Err() != nil {
		return nil, context.Cause(a.ctx)
	}
	if s, ok := userMessage(why); ok {
		return refused(s), nil
	}
	if errors.Is(why, context.DeadlineExceeded) {
		return refused("The sign-in was not approved in time; connect again for a new code."), nil
	}
	return refused(fmt.Sprintf("The sign-in failed; the bastion's log has the reason under connection %s.", a.id)), nil
}

// instruction is what the user reads while the device flow waits. It shows
// where the request came from and for which key, so that somebody who is asked
// to approve another's sign-in can tell (THREATS T4).
func instruction(p SignInPrompt, source string, key ssh.PublicKey, now time.Time) string {
	fp := "none; you get a session, but no certificate"
	if key != nil {
		fp = ssh.FingerprintSHA256(key)
	}
	var b strings.Builder
	plain, code := printable(p.URL, 500), printable(p.Code, 100)
	if p.CompleteURL != "" {
		fmt.Fprintf(&b, "To sign in, open\n\n    %s\n\nor open %s and enter the code", printable(p.CompleteURL, 1000), plain)
	} else {
		fmt.Fprintf(&b, "To sign in, open\n\n    %s\n\nand enter the code", plain)
	}
	left := p.Expires.Sub(now).Round(time.Second)
	fmt.Fprintf(&b, "\n\n    %s\n\n", code)
	fmt.Fprintf(&b, "  from:  %s\n  key:   %s\n  until: %s (%s)\n\n", source, fp, p.Expires.UTC().Format("15:04:05 MST"), left)
	b.WriteString("Approve it only if you have just started it yourself. Waiting ...\n")
	return b.String()
}
