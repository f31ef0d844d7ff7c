// Command sallyport is the bastion, its client and its tools in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sallyport/bastion/console"
)

// version is set when a release is built.
var version = "development"

// usageError is a mistake in how a command was called: exit code 2.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

// errAnswerIsNo ends a command with exit code 1 when it has said all it knows.
var errAnswerIsNo = errors.New("")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, rootCommand()))
}

// execute runs cmd and turns its error into a line and an exit code: 0 fine,
// 1 the answer is no, 2 misuse.
func execute(ctx context.Context, cmd *cobra.Command) int {
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if err.Error() != "" {
		// It may quote a server, or a file, that nobody vouches for.
		fmt.Fprintln(cmd.ErrOrStderr(), "sallyport:", printableLines(err.Error()))
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return 2
	}
	return console.ExitCode(err)
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "An SSH bastion with an audit trail that people can trust",
		Long: `Sallyport signs people in through OpenID Connect, gives them short-lived SSH
certificates, takes them to their targets through plain ssh, and records what
happened there.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err.Error()} })
	root.AddCommand(serveCommand(), configCommand(), policyCommand(), caCommand(), ledgerCommand(), verifyCommand(),
		loginCommand(), logoutCommand(), statusCommand(), sshConfigCommand(), versionCommand())
	root.AddCommand(readingCommands()...)
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "sallyport", version) },
	}
}
