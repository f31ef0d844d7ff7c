package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"sallyport/bastion/console"
	"sallyport/policy"
	"sallyport/recorder/catalog"
	"sallyport/recorder/ledger"
	"sallyport/replay"
)

// readingCommands are the console's reading verbs: on the machine itself with
// --dir, where file permissions decide and the look is entered all the same, or
// on a bastion with --bastion, through the stock ssh client.
func readingCommands() []*cobra.Command {
	var cmds []*cobra.Command
	for _, verb := range console.Commands(console.Env{Library: &replay.Library{}, Viewer: replay.Viewer{Local: true}}) {
		cmds = append(cmds, readingVerb(verb.Name()))
	}
	return cmds
}

// readingVerb is the console's verb with flags that say where to read.
func readingVerb(name string) *cobra.Command {
	var dir, bastion string
	out, errOut := &lateWriter{}, &lateWriter{}
	env := console.Env{Viewer: replay.Viewer{Local: true, Via: "local " + accountName()}, Library: &replay.Library{}, Out: out, Err: errOut}
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		env.OpenTerminal = openLocalTerminal
	}
	var cmd *cobra.Command
	for _, c := range console.Commands(env) {
		if c.Name() == name {
			cmd = c
		}
	}
	cmd.Flags().StringVar(&dir, "dir", "", "data `DIR` of the bastion on this machine")
	cmd.Flags().StringVar(&bastion, "bastion", "", "`HOST:PORT` or ssh alias of a bastion")
	cmd.MarkFlagsMutuallyExclusive("dir", "bastion")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		out.w, errOut.w = cmd.OutOrStdout(), cmd.ErrOrStderr()
		switch {
		case bastion != "":
			return runThere(cmd, bastion, args)
		case dir == "" && name == "play" && len(args) == 1 && isFile(args[0]):
			return run(cmd, args)
		case dir == "":
			return &usageError{"where from? give --dir DATA on the bastion's own machine, or --bastion HOST:PORT"}
		}
		closeAll, err := openLocal(cmd.Context(), dataDir(dir), env.Library)
		if err != nil {
			return err
		}
		return errors.Join(run(cmd, args), closeAll())
	}
	return cmd
}

func isFile(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.Mode().IsRegular()
}

// runThere runs the verb on a bastion with the stock client, so that its
// configuration, agent and known hosts count.
func runThere(cmd *cobra.Command, bastion string, args []string) error {
	ssh := exec.CommandContext(cmd.Context(), "ssh", sshArgs(cmd, bastion, args)...)
	ssh.Stdin, ssh.Stdout, ssh.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
	err := ssh.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return errAnswerIsNo // ssh or the bastion has said why
	}
	return err
}

func sshArgs(cmd *cobra.Command, bastion string, args []string) []string {
	var ssh []string
	if cmd.Name() == "play" && term.IsTerminal(int(os.Stdin.Fd())) {
		ssh = append(ssh, "-t")
	}
	if host, port, err := net.SplitHostPort(bastion); err == nil {
		bastion, ssh = host, append(ssh, "-p", port)
	}
	words := []string{cmd.Name()}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "bastion" {
			words = append(words, quoteWord("--"+f.Name+"="+f.Value.String()))
		}
	})
	for _, a := range args {
		words = append(words, quoteWord(a))
	}
	return append(ssh, "--", bastion, strings.Join(words, " "))
}

// quoteWord makes one word of s for the bastion's command line, which reads
// quotes as a POSIX shell does.
func quoteWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

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

// mustExist says plainly that a directory holds no bastion's data.
func mustExist(file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("%s: %s; is this the data directory of a bastion?", file, fileErrorText(err))
	}
	return nil
}

func accountName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// openLocalTerminal puts this process's terminal into raw mode.
func openLocalTerminal() (*console.Terminal, error) {
	in, out := int(os.Stdin.Fd()), int(os.Stdout.Fd())
	old, err := term.MakeRaw(in)
	if err != nil {
		return nil, err
	}
	cols, rows, err := term.GetSize(out)
	if err != nil {
		return nil, errors.Join(err, term.Restore(in, old))
	}
	winch, sizes, done := make(chan os.Signal, 1), make(chan [2]int), make(chan struct{})
	signal.Notify(winch, syscall.SIGWINCH)
	go func() { // ends with Close
		for {
			select {
			case <-done:
				return
			case <-winch:
			}
			if w, h, err := term.GetSize(out); err == nil {
				select {
				case sizes <- [2]int{w, h}:
				case <-done:
					return
				}
			}
		}
	}()
	return &console.Terminal{In: os.Stdin, Cols: cols, Rows: rows, Resize: sizes, Close: func() {
		signal.Stop(winch)
		close(done)
		_ = term.Restore(in, old)
	}}, nil
}
