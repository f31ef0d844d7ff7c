package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func logoutCommand() *cobra.Command {
	var sshDir string
	cmd := &cobra.Command{
		Use:   "logout [HOST:PORT]",
		Short: "Drop the certificate of a sign-in",
		Long: `Drop the certificate of a sign-in: out of the agent, and off the disk. ssh's
configuration stays, so that the next sign-in needs no question about the host.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, state, addr, err := savedFor(sshDir, args)
			if err != nil {
				return err
			}
			b := state.Bastions[addr]
			if b.Certificate == "" {
				return fmt.Errorf("not signed in to %s", addr)
			}
			if a, err := dialAgent(); err == nil && b.InAgent {
				removeFromAgent(a, b.Certificate)
			}
			if err := os.Remove(b.Certificate); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			b.Expires = time.Time{}
			state.Bastions[addr] = b
			if err := files.writeState(state); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Signed out of %s.\n", b.Name)
			return nil
		},
	}
	addSSHDirFlag(cmd, &sshDir)
	return cmd
}

// savedFor reads the state and picks the bastion that args name, or the last.
func savedFor(sshDir string, args []string) (*sshFiles, *loginState, string, error) {
	dir, err := defaultSSHDir(sshDir)
	if err != nil {
		return nil, nil, "", err
	}
	files := &sshFiles{dir: dir}
	state, err := files.readState()
	if err != nil {
		return nil, nil, "", err
	}
	name := ""
	if len(args) == 1 {
		name = args[0]
	}
	addr, err := state.resolve(name)
	return files, state, addr, err
}

// bastionStatus is one line of `sallyport status`.
type bastionStatus struct {
	Bastion     string    `json:"bastion"`
	Name        string    `json:"name"`
	SignedIn    bool      `json:"signed_in"`
	Expires     time.Time `json:"expires"`
	Certificate string    `json:"certificate"`
	InAgent     bool      `json:"in_agent"`
}

func statusCommand() *cobra.Command {
	var sshDir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the sign-ins of this account",
		Long:  "Show the sign-ins of this account. Exit code 1 means that none is valid.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := defaultSSHDir(sshDir)
			if err != nil {
				return err
			}
			files := &sshFiles{dir: dir}
			state, err := files.readState()
			if err != nil {
				return err
			}
			list := statusOf(state, time.Now())
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				err = enc.Encode(list)
			} else {
				printStatus(cmd.OutOrStdout(), list)
			}
			for _, s := range list {
				if s.SignedIn {
					return err
				}
			}
			return errors.Join(err, errAnswerIsNo)
		},
	}
	addSSHDirFlag(cmd, &sshDir)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// statusOf says of each saved bastion whether its certificate still opens it.
func statusOf(state *loginState, now time.Time) []bastionStatus {
	list := []bastionStatus{}
	for _, addr := range sortedKeys(state.Bastions) {
		b := state.Bastions[addr]
		_, err := readCertificate(b.Certificate)
		list = append(list, bastionStatus{Bastion: addr, Name: b.Name, SignedIn: err == nil && now.Before(b.Expires),
			Expires: b.Expires, Certificate: b.Certificate, InAgent: b.InAgent})
	}
	return list
}

func printStatus(out io.Writer, list []bastionStatus) {
	if len(list) == 0 {
		fmt.Fprintln(out, "No sign-in yet; start with: sallyport login HOST:PORT")
	}
	for _, s := range list {
		if s.SignedIn {
			fmt.Fprintf(out, "%s (%s): signed in until %s\n", s.Name, s.Bastion, s.Expires.Local().Format("15:04 on 2 January"))
		} else {
			fmt.Fprintf(out, "%s (%s): signed out; sign in with: sallyport login %s\n", s.Name, s.Bastion, s.Name)
		}
	}
}

func sshConfigCommand() *cobra.Command {
	var sshDir string
	cmd := &cobra.Command{
		Use:   "ssh-config",
		Short: "Print the ssh configuration of the sign-ins",
		Long:  "Print what `sallyport login` writes for ssh, for those who keep their own file\n(login --no-config).",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := defaultSSHDir(sshDir)
			if err != nil {
				return err
			}
			state, err := (&sshFiles{dir: dir}).readState()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(renderSSHConfig(state))
			return err
		},
	}
	addSSHDirFlag(cmd, &sshDir)
	return cmd
}
