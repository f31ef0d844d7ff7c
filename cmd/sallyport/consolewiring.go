package main

import (
	"context"
	"errors"
	"io"

	"sallyport/bastion"
	"sallyport/bastion/console"
	"sallyport/policy"
	"sallyport/recorder/ledger"
	"sallyport/replay"
	"sallyport/replay/web"
)

// console runs one verb for a user over SSH.
func (n *node) console(ctx context.Context, c bastion.ConsoleCall) int {
	env := console.Env{
		Viewer:  replay.Viewer{User: c.Identity.User, Source: c.Source.Addr(), Via: "ssh"},
		Library: n.library, Keeping: n.keepingFor(c), Out: c.Out, Err: c.Err, CALine: n.caLine(), Expires: c.Identity.Expires,
		Targets: func() []console.TargetView { return n.reachable(c) },
		Certificate: func(ctx context.Context) (string, error) {
			line, err := n.certificate(ctx, c)
			var forUser *userError
			if err != nil && !errors.As(err, &forUser) {
				n.log.Error("a certificate was not issued", "user", c.Identity.User.String(), "error", err)
				return "", errors.New("no certificate was issued; the bastion's log says why")
			}
			return line, err
		},
	}
	env.Bundle = n.bundle
	if c.PTY != nil {
		env.OpenTerminal = func() (*console.Terminal, error) {
			c.PTY.Raw(true)
			return &console.Terminal{In: c.In, Cols: c.PTY.Cols, Rows: c.PTY.Rows, Resize: c.PTY.Resize, Close: func() { c.PTY.Raw(false) }}, nil
		}
	}
	return console.Run(ctx, env, c.Args)
}

// bundle writes the bundle of a recording. What goes wrong here is for the log.
func (n *node) bundle(ctx context.Context, w io.Writer, s *replay.Stream) error {
	b := replay.Bundler{Archive: n.archive, Keys: n.library.Keys, PublicKey: n.keys.ledgerKey, Page: web.BundlePage(),
		Log: func(ctx context.Context) (*ledger.Log, error) {
			if _, err := n.ledger.Checkpoint(ctx); err != nil {
				return nil, err
			}
			return ledger.Load(dataDir(n.cfg.Data).ledger(), n.keys.verifier)
		}}
	err := b.Write(ctx, w, s)
	if err == nil || errors.Is(err, replay.ErrNotEnded) || errors.Is(err, replay.ErrExpired) {
		return err
	}
	n.log.Error("a bundle was not made", "session", s.Recording().Session.ID, "error", err)
	return errors.New("the bundle was not made; the bastion's log says why")
}

// reachable lists the targets and logins that policy allows for a shell.
func (n *node) reachable(c bastion.ConsoleCall) []console.TargetView {
	var out []console.TargetView
	for _, t := range n.targets.Load().list {
		v := console.TargetView{Name: t.Name, Labels: t.Labels}
		for _, l := range t.Logins {
			if n.decide(policy.Request{User: c.Identity.User, Action: policy.ActionShell, Target: t, Login: l, Source: c.Source.Addr()}).Allowed {
				v.Logins = append(v.Logins, l)
			}
		}
		if len(v.Logins) > 0 {
			out = append(out, v)
		}
	}
	return out
}
