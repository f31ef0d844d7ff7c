package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/term"
)

// loginOptions are the flags of `sallyport login`.
type loginOptions struct {
	bastion       string // HOST:PORT
	keyFile       string // "": an ephemeral key in the agent
	sshDir        string
	name          string // the name that the host certificate must carry
	caFingerprint string
	noConfig      bool
}

// connectTimeout bounds the time to an SSH connection, without the sign-in.
const connectTimeout = 15 * time.Second

func loginCommand() *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "login [HOST:PORT]",
		Short: "Sign in and get a short-lived certificate",
		Long: `Sign in through your identity provider and get a short-lived SSH certificate.

Without --key a fresh key is made and kept only in the running ssh-agent, for as
long as its certificate is valid. With --key the certificate is written beside
that key, as KEY-cert.pub.

It also writes ~/.ssh/sallyport/config for ssh, includes it from ~/.ssh/config,
and adds one @cert-authority line to ~/.ssh/known_hosts, so that ssh knows the
bastion and its targets. No line that it did not write is changed.`,
		Example: "  sallyport login bastion.example.com:2222\n  sallyport login --key ~/.ssh/id_ed25519",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.bastion = args[0]
			}
			return runLogin(cmd.Context(), o, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.keyFile, "key", "", "private key `FILE` to certify, instead of a\nfresh key in the agent")
	f.StringVar(&o.name, "name", "", "the `NAME` that the bastion's certificate must\ncarry (default: the address, or what an\nearlier sign-in found)")
	f.StringVar(&o.caFingerprint, "ca-fingerprint", "", "trust, without asking, the bastion whose host\nCA has this `SHA256:…` fingerprint")
	addSSHDirFlag(cmd, &o.sshDir)
	f.BoolVar(&o.noConfig, "no-config", false, "write no ssh configuration, no known_hosts")
	return cmd
}

func addSSHDirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "ssh-dir", "", "ssh's `DIR` (default ~/.ssh)")
}

func defaultSSHDir(dir string) (string, error) {
	if dir != "" {
		return filepath.Abs(dir)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("your home directory is not known; give --ssh-dir")
	}
	return filepath.Join(home, ".ssh"), nil
}

func runLogin(ctx context.Context, o loginOptions, in io.Reader, out, errOut io.Writer) error {
	dir, err := defaultSSHDir(o.sshDir)
	if err != nil {
		return err
	}
	files := sshFiles{dir: dir}
	state, err := files.readState()
	if err != nil {
		return err
	}
	if o.bastion, err = state.resolve(o.bastion); err != nil {
		return err
	}
	if o.name == "" {
		o.name = state.Bastions[o.bastion].Name
	}
	key, err := loginKey(o.keyFile, in, errOut)
	if err != nil {
		return err
	}
	trust := &hostTrust{knownHosts: filepath.Join(dir, "known_hosts"), addr: o.bastion, name: o.name, caFingerprint: o.caFingerprint, in: in, out: errOut}
	client, err := dialBastion(ctx, o.bastion, key.signer, trust, errOut)
	if err != nil {
		return err
	}
	defer client.Close()
	cert, err := fetchCertificate(client, key.signer)
	if err != nil {
		return err
	}
	caLine, err := runVerb(client, "ca")
	if err != nil {
		return err
	}
	saved := savedBastion{Name: trust.seenName(), Expires: time.Unix(int64(cert.ValidBefore), 0), CALine: strings.TrimSpace(caLine)}
	authority, err := checkCALine(saved.CALine, saved.Name)
	if err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	if !trust.is(authority) {
		return errors.New("the bastion sent another host CA than the one that was trusted; nothing was changed")
	}
	if err := key.store(&files, &saved, cert); err != nil {
		return err
	}
	state.Default, state.Bastions[o.bastion] = o.bastion, saved
	if !o.noConfig {
		if err := files.writeConfig(state); err != nil {
			return err
		}
	}
	if err := files.writeState(state); err != nil {
		return err
	}
	reportLogin(out, o, saved, cert)
	return nil
}

func reportLogin(out io.Writer, o loginOptions, s savedBastion, cert *ssh.Certificate) {
	until := s.Expires.Local().Format("15:04 on 2 January")
	fmt.Fprintf(out, "Signed in; certificate %d is valid until %s.\n", cert.Serial, until)
	if o.noConfig {
		return
	}
	fmt.Fprintf(out, "Next: ssh %s", s.Name)
	if suffix := s.suffix(); suffix != "" {
		fmt.Fprintf(out, "    or: ssh LOGIN@TARGET.%s", suffix)
	}
	fmt.Fprintln(out)
}

// loginIdentity is the key to certify and how its certificate is kept.
type loginIdentity struct {
	signer ssh.Signer
	store  func(*sshFiles, *savedBastion, *ssh.Certificate) error
}

func loginKey(file string, in io.Reader, errOut io.Writer) (*loginIdentity, error) {
	if file != "" {
		signer, err := readKeyFile(file, in, errOut)
		if err != nil {
			return nil, err
		}
		return &loginIdentity{signer: signer, store: func(f *sshFiles, s *savedBastion, c *ssh.Certificate) error {
			return f.storeBesideKey(file, s, c)
		}}, nil
	}
	if _, err := dialAgent(); err != nil { // before the person goes through a sign-in
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	return &loginIdentity{signer: signer, store: func(f *sshFiles, s *savedBastion, c *ssh.Certificate) error {
		return f.storeInAgent(private, s, c)
	}}, nil
}

func readKeyFile(file string, in io.Reader, errOut io.Writer) (ssh.Signer, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the key %s cannot be read: %s", file, fileErrorText(err))
	}
	signer, err := ssh.ParsePrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		tty, ok := in.(*os.File)
		if !ok || !term.IsTerminal(int(tty.Fd())) {
			return nil, fmt.Errorf("the key %s has a passphrase, and there is no terminal to ask for it", file)
		}
		fmt.Fprintf(errOut, "Passphrase for %s: ", file)
		pass, readErr := term.ReadPassword(int(tty.Fd()))
		fmt.Fprintln(errOut)
		if readErr != nil {
			return nil, readErr
		}
		signer, err = ssh.ParsePrivateKeyWithPassphrase(pem, pass)
	}
	if err != nil {
		return nil, fmt.Errorf("the key %s is not a private key that can be used: %w", file, err)
	}
	return signer, nil
}

// dialBastion connects, signing in with key and, when the bastion asks, through
// the identity provider.
func dialBastion(ctx context.Context, addr string, key ssh.Signer, trust *hostTrust, errOut io.Writer) (*ssh.Client, error) {
	d := net.Dialer{Timeout: connectTimeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("the bastion %s cannot be reached: %w", addr, errors.Unwrap(err))
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	name := "sallyport"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		User: name,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(key), ssh.KeyboardInteractive(
			func(_, instruction string, questions []string, _ []bool) ([]string, error) {
				if len(questions) > 0 {
					return nil, errors.New("the bastion asked a question that a sign-in does not have")
				}
				fmt.Fprintln(errOut, printableLines(instruction))
				return nil, nil
			})},
		HostKeyCallback: trust.check,
	})
	if err != nil {
		conn.Close()
		if trust.err != nil {
			return nil, trust.err
		}
		return nil, fmt.Errorf("the bastion %s refused the connection: %w", addr, err)
	}
	return ssh.NewClient(c, chans, reqs), nil
}

// printableLines keeps what a terminal shows as text, and line feeds.
func printableLines(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || (r >= ' ' && r != 0x7f && !(r >= 0x80 && r < 0xa0)) {
			return r
		}
		return -1
	}, s)
}

// runVerb runs a console verb and returns what it printed. What the bastion
// says on standard error, when the answer is no, is the error.
func runVerb(client *ssh.Client, verb string) (string, error) {
	s, err := client.NewSession()
	if err != nil {
		return "", fmt.Errorf("the bastion refused: %w", err)
	}
	defer s.Close()
	var out, errText strings.Builder
	s.Stdout, s.Stderr = &out, &errText
	if err := s.Run(verb); err != nil {
		if text := strings.TrimSpace(printableLines(errText.String())); text != "" {
			return "", errors.New(text)
		}
		return "", fmt.Errorf("the bastion refused %s: %w", verb, err)
	}
	return out.String(), nil
}

func fetchCertificate(client *ssh.Client, key ssh.Signer) (*ssh.Certificate, error) {
	line, err := runVerb(client, "cert")
	if err != nil {
		return nil, err
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, errors.New("the bastion sent something that is no certificate")
	}
	cert, ok := pub.(*ssh.Certificate)
	if !ok || string(cert.Key.Marshal()) != string(key.PublicKey().Marshal()) {
		return nil, errors.New("the bastion sent a certificate for another key; it was not kept")
	}
	return cert, nil
}
