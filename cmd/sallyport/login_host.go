package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/term"
)

// hostTrust decides whether the bastion is the right one: known_hosts first,
// then a fingerprint that was given, then a question on the terminal.
type hostTrust struct {
	knownHosts    string
	addr          string // HOST:PORT as dialled
	name          string // expected name in the host certificate; "" when not known yet
	caFingerprint string
	in            io.Reader
	out           io.Writer

	found     string        // name that the certificate carries
	authority ssh.PublicKey // that signed the certificate
	err       error         // why the check failed, in words for the user
}

// is reports whether key is the authority that was trusted.
func (h *hostTrust) is(key ssh.PublicKey) bool {
	return h.authority != nil && bytes.Equal(h.authority.Marshal(), key.Marshal())
}

// seenName is what the bastion is called: the name that its certificate
// carries, or else its address.
func (h *hostTrust) seenName() string {
	if h.found != "" {
		return h.found
	}
	host, _, _ := net.SplitHostPort(h.addr)
	return host
}

// check is an ssh.HostKeyCallback.
func (h *hostTrust) check(_ string, remote net.Addr, key ssh.PublicKey) error {
	h.err = h.decide(remote, key)
	return h.err
}

func (h *hostTrust) decide(remote net.Addr, key ssh.PublicKey) error {
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return errors.New("the server showed no host certificate, so it is not a Sallyport bastion, or a very old one")
	}
	name, err := h.pickName(cert)
	if err != nil {
		return err
	}
	checker := ssh.CertChecker{IsHostAuthority: func(ssh.PublicKey, string) bool { return true }}
	if err := checker.CheckHostKey(net.JoinHostPort(name, "22"), remote, cert); err != nil {
		return fmt.Errorf("the bastion's host certificate is not valid: %w", err)
	}
	h.found, h.authority = name, cert.SignatureKey
	switch err := h.checkKnownHosts(name, remote, cert); {
	case err == nil:
		return nil
	case !errors.Is(err, errHostUnknown):
		return err
	}
	return h.ask(cert, name)
}

// pickName returns the certificate's name for this bastion.
func (h *hostTrust) pickName(cert *ssh.Certificate) (string, error) {
	host, _, _ := net.SplitHostPort(h.addr)
	for _, want := range []string{h.name, host} {
		for _, p := range cert.ValidPrincipals {
			if want != "" && p == want {
				return p, nil
			}
		}
	}
	if h.name != "" || len(cert.ValidPrincipals) == 0 {
		return "", fmt.Errorf("the bastion's host certificate is for %q, not for %q", strings.Join(cert.ValidPrincipals, ", "), h.name)
	}
	if p := cert.ValidPrincipals[0]; nameRE.MatchString(p) {
		return p, nil
	}
	return "", errors.New("the bastion's host certificate carries a name that is no host name")
}

var errHostUnknown = errors.New("host unknown")

// checkKnownHosts asks known_hosts for the name, as ssh does with HostKeyAlias.
func (h *hostTrust) checkKnownHosts(name string, remote net.Addr, cert *ssh.Certificate) error {
	if _, err := os.Stat(h.knownHosts); err != nil {
		return errHostUnknown
	}
	callback, err := knownhosts.New(h.knownHosts)
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w", h.knownHosts, err)
	}
	err = callback(net.JoinHostPort(name, "22"), remote, cert)
	var revoked *knownhosts.RevokedError
	if errors.As(err, &revoked) {
		return fmt.Errorf("the host key of %s is revoked in %s", name, h.knownHosts)
	}
	if err != nil {
		return h.changedCA(name, cert)
	}
	return nil
}

// changedCA refuses a bastion whose known_hosts line names another host CA.
func (h *hostTrust) changedCA(name string, cert *ssh.Certificate) error {
	known := knownAuthorities(h.knownHosts, name)
	if len(known) == 0 || h.caFingerprint != "" {
		return errHostUnknown
	}
	return fmt.Errorf("the host CA of %s has changed: known_hosts has %s, the server shows %s; if your administrator confirms the new one, remove the old line from %s",
		name, strings.Join(known, ", "), ssh.FingerprintSHA256(cert.SignatureKey), h.knownHosts)
}

// knownAuthorities lists the fingerprints of the @cert-authority lines that
// name the host literally.
func knownAuthorities(file, name string) []string {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var out []string
	for len(data) > 0 {
		marker, hosts, key, _, rest, err := ssh.ParseKnownHosts(data)
		if err != nil {
			break
		}
		data = rest
		for _, host := range hosts {
			if marker == "cert-authority" && host == name {
				out = append(out, ssh.FingerprintSHA256(key))
			}
		}
	}
	return out
}

func (h *hostTrust) ask(cert *ssh.Certificate, name string) error {
	fingerprint := ssh.FingerprintSHA256(cert.SignatureKey)
	if h.caFingerprint != "" {
		if h.caFingerprint != fingerprint {
			return fmt.Errorf("the bastion's host CA is %s, not %s as asked for", fingerprint, h.caFingerprint)
		}
		return nil
	}
	tty, ok := h.in.(*os.File)
	if !ok || !term.IsTerminal(int(tty.Fd())) {
		return fmt.Errorf("the bastion %s is not known yet; its host CA is %s: compare it with what your administrator published and give --ca-fingerprint", h.addr, fingerprint)
	}
	fmt.Fprintf(h.out, "The bastion at %s calls itself %s and is not known yet.\nIts host CA is %s.\nCompare it with what your administrator published. Trust it? (yes/no) ", h.addr, name, fingerprint)
	answer, _ := bufio.NewReader(h.in).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" && strings.TrimSpace(answer) != fingerprint {
		return errors.New("the bastion was not trusted; nothing was changed")
	}
	return nil
}
