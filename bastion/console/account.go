package console

import (
	"fmt"

	"github.com/spf13/cobra"
)

func certCommand(env Env) *cobra.Command {
	return &cobra.Command{Use: "cert", Short: "Print a certificate for the key of this connection", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			line, err := env.Certificate(cmd.Context())
			if err == nil {
				_, err = fmt.Fprintln(env.Out, line)
			}
			return err
		}}
}

func targetsCommand(env Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "targets", Short: "List what you may reach", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			list := append([]TargetView{}, env.Targets()...)
			if asJSON {
				return writeJSON(env.Out, list)
			}
			if len(list) == 0 {
				fmt.Fprintln(env.Out, "There is no target that you may reach.")
			}
			for _, t := range list {
				for _, l := range t.Logins {
					fmt.Fprintf(env.Out, "%s@%s\n", Printable(string(l)), Printable(t.Name))
				}
			}
			return nil
		}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func statusCommand(env Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "status", Short: "Say who you are here, and until when", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return writeJSON(env.Out, map[string]any{"user": env.Viewer.User, "expires": env.Expires})
			}
			_, err := fmt.Fprintf(env.Out, "You are %s, until %s.\n", Printable(env.Viewer.User.String()), env.Expires.UTC().Format("2006-01-02 15:04 UTC"))
			return err
		}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
