// Package console holds the verbs that people run on the bastion: over SSH as
// "ssh bastion VERB", and on the machine itself as "sallyport VERB --dir DATA".
// The code and the rights are the same; only who asks differs.
package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/policy"
	"sallyport/replay"
)

// Env is what the verbs know of whoever runs them. Fields that are nil or
// empty take the verbs that need them away.
type Env struct {
	Viewer   replay.Viewer
	Library  *replay.Library
	Keeping  *Keeping
	Out, Err io.Writer
	// Certificate issues one for the key that signed this connection, as an
	// authorized_keys line.
	Certificate func(context.Context) (string, error)
	Targets     func() []TargetView
	Expires     time.Time // of the sign-in
	CALine      string    // @cert-authority line for known_hosts
	// Bundle writes the bundle of a recording; nil where there are none.
	Bundle func(context.Context, io.Writer, *replay.Stream) error
	// OpenTerminal takes the user's terminal over for the player; nil when
	// there is none.
	OpenTerminal func() (*Terminal, error)
}

// Terminal is the user's terminal in raw mode.
type Terminal struct {
	In         io.Reader
	Cols, Rows int
	Resize     <-chan [2]int // columns and rows
	Close      func()        // gives it back as it was
}

// TargetView is a target as its user sees it: the logins are those allowed.
type TargetView struct {
	Name   string            `json:"name"`
	Logins []policy.Login    `json:"logins"`
	Labels map[string]string `json:"labels,omitempty"`
}

// UsageError is a mistake in how a verb was called: exit code 2.
type UsageError struct{ Msg string }

func (e *UsageError) Error() string { return e.Msg }

// ExitCode is what a command that ended with err exits with: 0 fine, 1 the
// answer is no, 2 misuse.
func ExitCode(err error) int {
	var usage *UsageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return 2
	}
	return 1
}

// Run runs args and returns the exit code. Errors are one line on env.Err. It
// reads nothing of this process: no arguments, files or standard input.
func Run(ctx context.Context, env Env, args []string) int {
	root := rootCommand(env)
	err := checkVerb(root, args)
	if err == nil {
		root.SetArgs(append([]string{}, args...)) // nil would stand for this process's own
		err = root.ExecuteContext(ctx)
	}
	if err != nil {
		fmt.Fprintln(env.Err, Printable(err.Error()))
	}
	return ExitCode(err)
}

func rootCommand(env Env) *cobra.Command {
	root := &cobra.Command{Use: "bastion", SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &UsageError{err.Error()} })
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetIn(strings.NewReader(""))
	root.AddCommand(Commands(env)...)
	setHelp(root, env.Out)
	return root
}

// checkVerb finds out whether args name a verb of root: the completions that
// cobra adds when it runs are none.
func checkVerb(root *cobra.Command, args []string) error {
	verb := ""
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			verb = a
			break
		}
	}
	if _, _, err := root.Find(args); err != nil {
		return &UsageError{fmt.Sprintf("unknown verb %q; try: help", clip(verb, 40))}
	}
	return nil
}

// Commands returns the verbs for env.
func Commands(env Env) []*cobra.Command {
	var cmds []*cobra.Command
	if env.Library != nil {
		cmds = append(cmds, lsCommand(env), showCommand(env), playCommand(env), exportCommand(env))
	}
	if env.Keeping != nil {
		cmds = append(cmds, keepCommands(env)...)
	}
	if env.Certificate != nil {
		cmds = append(cmds, certCommand(env))
	}
	if env.Targets != nil {
		cmds = append(cmds, targetsCommand(env), statusCommand(env))
	}
	if env.CALine != "" {
		cmds = append(cmds, &cobra.Command{Use: "ca", Short: "Print the @cert-authority line for known_hosts", Args: noArgs,
			Run: func(*cobra.Command, []string) { fmt.Fprintln(env.Out, env.CALine) }})
	}
	return cmds
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &UsageError{fmt.Sprintf("%s takes no argument, found %q", cmd.Name(), clip(args[0], 40))}
	}
	return nil
}

func oneID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return &UsageError{cmd.Name() + " takes one recording's ID; ls lists them"}
	}
	return nil
}
