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

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"sallyport/bastion/console"
	"sallyport/replay"
)

// readingCommands are the console's verbs about recordings: on the machine
// itself with --dir, where file permissions decide and the look is entered all
// the same; on a copy of an archive with --archive; or on a bastion with
// --bastion, through the stock ssh client.
func readingCommands() []*cobra.Command {
	var cmds []*cobra.Command
	for _, verb := range console.Commands(localEnv()) {
		cmds = append(cmds, readingVerb(verb.Name()))
	}
	return cmds
}

// localEnv is what the verbs know of whoever runs them on the machine itself.
func localEnv() console.Env {
	return console.Env{Viewer: replay.Viewer{Local: true, Via: "local " + accountName()}, Library: &replay.Library{}, Keeping: &console.Keeping{}}
}

// errNoLedgerHere says why a copy of an archive makes no bundle.
var errNoLedgerHere = errors.New("a bundle takes the ledger: use --dir DATA or --bastion HOST:PORT")

// source says where a reading verb reads.
type source struct {
	dir, bastion, archive string
	identities            []string
	bundler               replay.Bundler // filled by open
}

// keeping are the verbs that change what becomes of a recording, for which a
// copy of an archive is not enough.
var keeping = map[string]bool{"hold": true, "unhold": true, "delete": true}

func (s *source) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.dir, "dir", "", "data `DIR` of the bastion on this machine")
	f.StringVar(&s.bastion, "bastion", "", "`HOST:PORT` or ssh alias of a bastion")
	cmd.MarkFlagsMutuallyExclusive("dir", "bastion")
	f.StringVar(&s.archive, "archive", "", "`DIR` of the recordings: a copy of an archive,\nor with --dir one that lies elsewhere")
	cmd.MarkFlagsMutuallyExclusive("archive", "bastion")
	if !keeping[cmd.Name()] {
		f.StringSliceVar(&s.identities, "identity", nil, "age identity `FILE` that opens them, may be repeated")
		cmd.MarkFlagsMutuallyExclusive("identity", "bastion")
	}
}

// readingVerb is the console's verb with flags that say where to read.
func readingVerb(name string) *cobra.Command {
	var from source
	out, errOut := &lateWriter{}, &lateWriter{}
	env := localEnv()
	env.Out, env.Err = out, errOut
	env.Bundle = func(ctx context.Context, w io.Writer, s *replay.Stream) error {
		if from.dir == "" {
			return errNoLedgerHere
		}
		return from.bundler.Write(ctx, w, s)
	}
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		env.OpenTerminal = openLocalTerminal
	}
	var cmd *cobra.Command
	for _, c := range console.Commands(env) {
		if c.Name() == name {
			cmd = c
		}
	}
	from.addFlags(cmd)
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		out.w, errOut.w = cmd.OutOrStdout(), cmd.ErrOrStderr()
		switch {
		case from.bastion != "":
			return runThere(cmd, from.bastion, args)
		case from.dir == "" && name == "play" && len(args) == 1 && isFile(args[0]):
			return run(cmd, args)
		case from.dir == "" && (from.archive == "" || keeping[name]):
			return &usageError{"where from? give --dir DATA on the bastion's own machine, or --bastion HOST:PORT"}
		}
		closeAll, err := from.open(cmd.Context(), env)
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

func isDir(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
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
