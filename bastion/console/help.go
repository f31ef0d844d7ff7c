package console

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// setHelp gives root help of our own. Cobra's would end the process where it
// cannot be written, which is whenever a client has gone.
func setHelp(root *cobra.Command, out io.Writer) {
	root.SetUsageFunc(func(*cobra.Command) error { return nil })
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		if text := rootHelp(root); cmd == root {
			fmt.Fprint(out, text)
			return
		}
		fmt.Fprint(out, verbHelp(cmd))
	})
	root.SetHelpCommand(&cobra.Command{Use: "help [VERB]", Short: "Explain the verbs, or one of them",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return &UsageError{fmt.Sprintf("help takes a verb, and %q is none; try: help", clip(strings.Join(args, " "), 40))}
			}
			cmd.HelpFunc()(cmd, nil)
			return nil
		}})
	root.InitDefaultHelpCmd()
}

func rootHelp(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("What you can do here, each as: ssh BASTION VERB\n\n")
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			fmt.Fprintf(&b, "  %-9s %s\n", c.Name(), c.Short)
		}
	}
	b.WriteString("\nssh BASTION help VERB says more about one.\n")
	return b.String()
}

func verbHelp(cmd *cobra.Command) string {
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	var flags pflag.FlagSet
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			flags.AddFlag(f)
		}
	})
	use := "ssh BASTION " + cmd.Use
	if flags.HasFlags() {
		use += " [FLAGS]\n\n" + strings.TrimRight(flags.FlagUsages(), "\n")
	}
	return text + "\n\n" + use + "\n"
}
