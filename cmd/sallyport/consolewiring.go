package main

import (
	"context"
	"errors"
	"io"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"sallyport/bastion"
	"sallyport/bastion/console"
	"sallyport/policy"
	"sallyport/recorder/catalog"
	"sallyport/recorder/ledger"
	"sallyport/replay"
)

// console runs one verb for a user over SSH.
func (n *node) console(ctx context.Context, c bastion.ConsoleCall) int {
	env := console.Env{
		Viewer:  replay.Viewer{User: c.Identity.User, Source: c.Source.Addr(), Via: "ssh"},
		Library: n.library, Out: c.Out, Err: c.Err, CALine: n.caLine(), Expires: c.Identity.Expires,
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
	return console.Run(ctx, env, c.Args)
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

// readingCommands are the console's reading verbs on the machine itself. They
// need only the data directory; file permissions decide, and the look is
// entered all the same.
func readingCommands() []*cobra.Command {
	var cmds []*cobra.Command
	for _, verb := range console.Commands(console.Env{Library: &replay.Library{}, Viewer: replay.Viewer{Local: true}}) {
		cmds = append(cmds, localVerb(verb.Name()))
	}
	return cmds
}

// localVerb opens the data directory before it builds the verb, whose flags
// are its own.
func localVerb(name string) *cobra.Command {
	var dir string
	env := console.Env{Viewer: replay.Viewer{Local: true, Via: "local " + accountName()}, Library: &replay.Library{}}
	env.Out, env.Err = &lateWriter{}, &lateWriter{}
	var cmd *cobra.Command
	for _, c := range console.Commands(env) {
		if c.Name() == name {
			cmd = c
		}
	}
	cmd.Flags().StringVar(&dir, "dir", "", "data `DIR` of the bastion on this machine")
	_ = cmd.MarkFlagRequired("dir")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		env.Out.(*lateWriter).w, env.Err.(*lateWriter).w = cmd.OutOrStdout(), cmd.ErrOrStderr()
		closeAll, err := openLocal(cmd.Context(), dataDir(dir), env.Library)
		if err != nil {
			return err
		}
		return errors.Join(run(cmd, args), closeAll())
	}
	return cmd
}

// lateWriter is a writer that is known only when the command runs.
type lateWriter struct{ w io.Writer }

func (l *lateWriter) Write(p []byte) (int, error) { return l.w.Write(p) }

// openLocal fills library from a data directory.
func openLocal(ctx context.Context, d dataDir, library *replay.Library) (func() error, error) {
	if err := mustExist(d.catalog()); err != nil {
		return nil, err
	}
	cat, err := catalog.Open(ctx, d.catalog())
	if err != nil {
		return nil, err
	}
	book, err := ledger.Open(d.ledger())
	if err != nil {
		return nil, errors.Join(err, cat.Close())
	}
	*library = replay.Library{Dir: d.recordings(), Catalog: cat,
		Audit: func(ctx context.Context, e policy.Entry) error {
			e.Time = time.Now()
			return book.Append(ctx, e)
		}}
	return func() error { return errors.Join(book.Close(), cat.Close()) }, nil
}

func accountName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}
