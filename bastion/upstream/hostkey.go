package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// trust is what one target may prove itself with, during one connection. It is
// used by the goroutine of one key exchange at a time.
type trust struct {
	keys  []ssh.PublicKey // plain keys
	cas   []ssh.PublicKey // authorities of host certificates
	names []string        // a certificate must name one of these
	now   func() time.Time

	accepted    []byte             // the key that passed, as on the wire
	fingerprint policy.Fingerprint // of the same, without its certificate
	failure     *keyError          // why none did
}

// keyError says which key a host presented and what was expected instead.
type keyError struct {
	got, want string
	reason    string // what is wrong with a certificate, for the user; empty for a plain key
	detail    string // the same for the log
}

func (e *keyError) Error() string {
	s := "got " + e.got + ", want " + e.want
	if e.detail != "" {
		s += ": " + e.detail
	}
	return s
}

// parseTrust reads what is registered for t. A target without anything
// registered is never dialled: there is no trust on first use (THREATS T38).
func parseTrust(t policy.Target, now func() time.Time) (*trust, error) {
	if now == nil {
		now = time.Now
	}
	tr := &trust{now: now, names: []string{t.Name}}
	if host, _, err := net.SplitHostPort(t.Address); err == nil {
		tr.names = append(tr.names, host)
	}
	var err error
	if tr.keys, err = parseKeys("host key", t.HostKeys); err != nil {
		return nil, err
	}
	if tr.cas, err = parseKeys("host CA", t.HostCAs); err != nil {
		return nil, err
	}
	if len(tr.keys)+len(tr.cas) == 0 {
		return nil, errors.New("no host key and no host CA is registered")
	}
	return tr, nil
}

func parseKeys(what string, lines []string) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	for i, line := range lines {
		key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("%s %d: %w", what, i+1, err)
		}
		if _, ok := key.(*ssh.Certificate); ok || len(bytes.TrimSpace(rest)) > 0 {
			return nil, fmt.Errorf("%s %d: want one plain public key", what, i+1)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// check is the ssh.HostKeyCallback of the connection. It also runs at each new
// key exchange; then the host must still show the key that it was accepted
// with, and a certificate that has expired meanwhile does not cut the session.
func (t *trust) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	if t.accepted != nil && bytes.Equal(t.accepted, key.Marshal()) {
		return nil
	}
	if err := t.judge(key); err != nil {
		t.failure = err
		return err
	}
	t.accepted = key.Marshal()
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	t.fingerprint = policy.Fingerprint(ssh.FingerprintSHA256(key))
	return nil
}

func (t *trust) judge(key ssh.PublicKey) *keyError {
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		if contains(t.keys, key) {
			return nil
		}
		return &keyError{got: ssh.FingerprintSHA256(key), want: t.want()}
	}
	if contains(t.keys, cert.Key) {
		return nil // the registered key itself, whoever certified it
	}
	reason, detail := t.certificate(cert)
	if reason == "" {
		return nil
	}
	return &keyError{
		got:    fmt.Sprintf("%s certified by %s", ssh.FingerprintSHA256(cert.Key), ssh.FingerprintSHA256(cert.SignatureKey)),
		want:   t.want(),
		reason: reason,
		detail: detail,
	}
}

// certificate checks a host certificate (PROTOCOL.certkeys) against the
// registered authorities. It must name the target. It returns what is wrong in
// words for the user, empty if nothing is, and for the log.
func (t *trust) certificate(cert *ssh.Certificate) (reason, detail string) {
	if cert.CertType != ssh.HostCert {
		reason = "its certificate is not one of a host"
		return reason, reason
	}
	if !contains(t.cas, cert.SignatureKey) {
		reason = "its certificate is signed by an authority that is not registered"
		return reason, reason
	}
	name, ok := t.named(cert.ValidPrincipals)
	if !ok {
		return "its certificate does not name this target",
			fmt.Sprintf("its certificate names %.200q, not %q", cert.ValidPrincipals, t.names)
	}
	c := ssh.CertChecker{Clock: t.now}
	if err := c.CheckCert(name, cert); err != nil {
		return "its certificate is not valid now",
			fmt.Sprintf("its certificate is not valid: %s", strings.TrimPrefix(err.Error(), "ssh: "))
	}
	return "", ""
}

// named returns the principal that is a name of the target. A certificate
// without principals names nobody, though CertChecker would take it for all.
func (t *trust) named(principals []string) (string, bool) {
	for _, p := range principals {
		for _, n := range t.names {
			if p != "" && strings.EqualFold(p, n) {
				return p, true
			}
		}
	}
	return "", false
}

// want lists the fingerprints that would have been right.
func (t *trust) want() string {
	var list []string
	for _, k := range t.keys {
		list = append(list, ssh.FingerprintSHA256(k))
	}
	for _, k := range t.cas {
		list = append(list, "a certificate by "+ssh.FingerprintSHA256(k))
	}
	return strings.Join(list, " or ")
}

func contains(keys []ssh.PublicKey, key ssh.PublicKey) bool {
	return slices.ContainsFunc(keys, func(k ssh.PublicKey) bool {
		return bytes.Equal(k.Marshal(), key.Marshal())
	})
}
