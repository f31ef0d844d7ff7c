package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"sallyport/certs"
	"sallyport/policy"
)

func configCommand() *cobra.Command {
	var file string
	check := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Check the configuration and every file that it names",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := LoadConfig(file)
			if err != nil {
				return err
			}
			if _, err := cfg.clientSecret(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is fine: %d targets, policy %s\n", file, len(cfg.Targets), cfg.Policy)
			return nil
		},
	}
	addConfigFlag(check, &file)
	cmd := &cobra.Command{Use: "config", Short: "Work with the configuration"}
	cmd.AddCommand(check)
	return cmd
}

func policyCommand() *cobra.Command {
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a policy file",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := policy.Load(args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is fine\n", args[0])
			return nil
		},
	}
	cmd := &cobra.Command{Use: "policy", Short: "Check and explain the policy"}
	cmd.AddCommand(check, explainCommand())
	return cmd
}

// explainOptions describe the request that `policy explain` asks about.
type explainOptions struct {
	config, user, issuer, action, target, login, owner, source string
	groups                                                     []string
}

func explainCommand() *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain --config FILE --user USER --action ACTION [--target NAME --login LOGIN]",
		Short: "Say what the policy decides, and which policy decided it",
		Long: `Say what the policy decides for a request, and which policy decided it.

USER is the subject as the issuer names it; --issuer and --group say the rest.
Exit code 1 means denied.`,
		Example: `  sallyport policy explain -c sallyport.yaml --user alice \
    --action shell --target db1 --login root`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return explain(cmd, o) },
	}
	addConfigFlag(cmd, &o.config)
	f := cmd.Flags()
	f.StringVar(&o.user, "user", "", "subject of the `USER` who asks")
	f.StringVar(&o.issuer, "issuer", "", "issuer of USER (default: the configured one)")
	f.StringSliceVar(&o.groups, "group", nil, "`GROUP` of USER, may be repeated")
	f.StringVar(&o.action, "action", "shell", "`ACTION`: signIn, shell, replay, …")
	f.StringVar(&o.target, "target", "", "target `NAME`")
	f.StringVar(&o.login, "login", "", "`LOGIN` on the target")
	f.StringVar(&o.owner, "owner", "", "for replay: subject of the recording's owner")
	f.StringVar(&o.source, "source", "", "client `ADDRESS`")
	_ = cmd.MarkFlagRequired("user")
	return cmd
}

func explain(cmd *cobra.Command, o explainOptions) error {
	cfg, err := LoadConfig(o.config)
	if err != nil {
		return err
	}
	engine, err := policy.Load(cfg.Policy)
	if err != nil {
		return err
	}
	req, err := o.request(cfg)
	if err != nil {
		return err
	}
	ex := engine.Explain(req)
	fmt.Fprintln(cmd.OutOrStdout(), strings.TrimRight(ex.String(), "\n"))
	if !ex.Decision.Allowed {
		return errAnswerIsNo
	}
	return nil
}

func (o explainOptions) request(cfg *Config) (policy.Request, error) {
	req := policy.Request{Action: policy.Action(o.action), Login: policy.Login(o.login)}
	if !policy.KnownAction(req.Action) {
		return req, &usageError{fmt.Sprintf("unknown action %q; known: %s", o.action, policy.ActionNames())}
	}
	if o.issuer == "" {
		o.issuer = cfg.OIDC.Issuer
	}
	req.User = policy.User{Issuer: o.issuer, Subject: o.user, Groups: o.groups}
	if o.owner != "" {
		req.Owner = policy.User{Issuer: o.issuer, Subject: o.owner}
	}
	if o.target != "" {
		set, err := targetsOf(cfg)
		if err != nil {
			return req, err
		}
		t, ok := set.lookup(o.target)
		if !ok {
			return req, fmt.Errorf("no target %q in %s", o.target, o.config)
		}
		req.Target = t
	}
	if o.source != "" {
		addr, err := netip.ParseAddr(o.source)
		if err != nil {
			return req, &usageError{fmt.Sprintf("--source: %q is no IP address", o.source)}
		}
		req.Source = addr
	}
	return req, nil
}

// targetsOf builds the targets without needing the CAs to exist.
func targetsOf(cfg *Config) (*targetSet, error) {
	cas, err := certs.LoadOrCreate(dataDir(cfg.Data).cas())
	if err != nil {
		return nil, err
	}
	return newTargetSet(cfg, cas.Host.PublicKey()), nil
}

func caCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "ca", Short: "Show the certificate authorities, sign host keys"}
	cmd.AddCommand(caShowCommand(), caSignHostCommand())
	return cmd
}

// openAuthorities reads only what the ca verbs need, so that they work before
// the targets and the policy are written.
func openAuthorities(file, data string) (*certs.Authorities, error) {
	if data == "" {
		cfg, err := LoadConfig(file)
		if err != nil {
			return nil, err
		}
		data = cfg.Data
	}
	return certs.LoadOrCreate(dataDir(data).cas())
}

func addDataFlags(cmd *cobra.Command, file, data *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "configuration `FILE`")
	cmd.Flags().StringVar(data, "data", "", "data `DIR`, instead of a configuration")
	cmd.MarkFlagsOneRequired("config", "data")
	cmd.MarkFlagsMutuallyExclusive("config", "data")
}

func caShowCommand() *cobra.Command {
	var file, data string
	cmd := &cobra.Command{
		Use:   "show (--config FILE | --data DIR) [client|target|host]",
		Short: "Print the public key of an authority, made on first use",
		Long: `Print the public key of an authority as one authorized_keys line.

client  signs what users hold; only bastions trust it
target  signs the bastion's certificates for targets (TrustedUserCAKeys there)
host    signs host keys: the bastion's, and of targets with host_ca: [self]`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"client", "target", "host"},
		RunE: func(cmd *cobra.Command, args []string) error {
			cas, err := openAuthorities(file, data)
			if err != nil {
				return err
			}
			all := map[string]*certs.Authority{"client": cas.Client, "target": cas.Target, "host": cas.Host}
			for _, name := range sortedKeys(all) {
				if len(args) == 0 || args[0] == name {
					fmt.Fprintf(cmd.OutOrStdout(), "%s sallyport-%s-ca\n", strings.TrimSpace(string(ssh.MarshalAuthorizedKey(all[name].PublicKey()))), name)
				}
			}
			return nil
		},
	}
	addDataFlags(cmd, &file, &data)
	return cmd
}

func caSignHostCommand() *cobra.Command {
	var file, data string
	var names []string
	var lifetime time.Duration
	cmd := &cobra.Command{
		Use:   "sign-host (--config FILE | --data DIR) --name NAME KEY.pub",
		Short: "Sign a target's host key, for HostCertificate in its sshd_config",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cas, err := openAuthorities(file, data)
			if err != nil {
				return err
			}
			line, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("%s: %s", args[0], fileErrorText(err))
			}
			key, _, _, _, err := ssh.ParseAuthorizedKey(line)
			if err != nil {
				return fmt.Errorf("%s is not a public key", args[0])
			}
			issuer := certs.Issuer{CAs: cas, Serial: certs.RandomSerial}
			cert, err := issuer.HostCertificate(cmd.Context(), key, names, lifetime)
			if err != nil {
				return err
			}
			out := strings.TrimSuffix(args[0], ".pub") + "-cert.pub"
			if err := writeFileAtomic(out, ssh.MarshalAuthorizedKey(cert), 0o644); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "wrote %s for %s, valid until %s\n", filepath.Base(out), strings.Join(names, ", "), time.Unix(int64(cert.ValidBefore), 0).UTC().Format("2006-01-02"))
			return nil
		},
	}
	addDataFlags(cmd, &file, &data)
	cmd.Flags().StringSliceVar(&names, "name", nil, "host `NAME` in the certificate, may be repeated")
	cmd.Flags().DurationVar(&lifetime, "lifetime", 365*24*time.Hour, "how long it is valid")
	_ = cmd.MarkFlagRequired("name")
	return cmd
}
