package certs

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// Checker decides whether a client certificate opens the bastion. It is
// stricter than x/crypto's CertChecker, which takes certificates without
// principals and ones that are valid forever.
type Checker struct {
	Authority ssh.PublicKey    // the client CA
	Now       func() time.Time // nil: time.Now
}

// Check returns who cert is for. Every error is a refusal; its text is for the
// log, since a client learns nothing about why (THREATS T2).
func (c *Checker) Check(cert *ssh.Certificate, _ string, remote net.Addr) (KeyID, policy.Principal, error) {
	fail := func(format string, args ...any) (KeyID, policy.Principal, error) {
		return KeyID{}, "", fmt.Errorf("certificate %d: "+format, append([]any{cert.Serial}, args...)...)
	}
	if cert.CertType != ssh.UserCert {
		return fail("is not a user certificate")
	}
	if _, nested := cert.SignatureKey.(*ssh.Certificate); nested || cert.SignatureKey == nil {
		return fail("is signed by something that is not a plain key")
	}
	if !bytes.Equal(cert.SignatureKey.Marshal(), c.Authority.Marshal()) {
		return fail("is signed by another authority, %s", ssh.FingerprintSHA256(cert.SignatureKey))
	}
	if _, nested := cert.Key.(*ssh.Certificate); nested {
		return fail("is for something that is not a plain key")
	}
	if len(cert.ValidPrincipals) != 1 {
		return fail("has %d principals, not one", len(cert.ValidPrincipals))
	}
	if err := c.checkLifetime(cert); err != nil {
		return fail("%w", err)
	}
	if err := checkOptions(cert.CriticalOptions, remote); err != nil {
		return fail("%w", err)
	}
	id, err := ParseKeyID(cert.KeyId)
	if err != nil {
		return fail("%w", err)
	}
	principal := policy.User{Issuer: id.Issuer, Subject: id.Subject}.Principal()
	if string(principal) != cert.ValidPrincipals[0] || uint64(id.Serial) != cert.Serial {
		return fail("has a key id that does not belong to its principal and serial")
	}
	// The signature, and what of the rest x/crypto knows, comes last.
	checker := ssh.CertChecker{SupportedCriticalOptions: []string{"source-address"}, Clock: c.Now,
		IsUserAuthority: func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), c.Authority.Marshal()) }}
	if err := checker.CheckCert(string(principal), cert); err != nil {
		return fail("%w", err)
	}
	return id, principal, nil
}

func (c *Checker) checkLifetime(cert *ssh.Certificate) error {
	now := time.Now()
	if c.Now != nil {
		now = c.Now()
	}
	if cert.ValidBefore == ssh.CertTimeInfinity || cert.ValidBefore <= cert.ValidAfter ||
		cert.ValidBefore-cert.ValidAfter > uint64((MaxLifetime+backdate)/time.Second) {
		return errors.New("is valid for longer than any that the bastion issues")
	}
	if t := uint64(now.Unix()); t < cert.ValidAfter {
		return errors.New("is not valid yet")
	} else if t >= cert.ValidBefore {
		return errors.New("has expired")
	}
	return nil
}

func checkOptions(options map[string]string, remote net.Addr) error {
	for name, value := range options {
		if name != "source-address" {
			return fmt.Errorf("has the unknown critical option %q", name)
		}
		if !sourceAllowed(value, remote) {
			return errors.New("may not be used from this address")
		}
	}
	return nil
}

// sourceAllowed matches remote against a comma-separated list of addresses and
// prefixes. Anything that it cannot read allows nothing.
func sourceAllowed(list string, remote net.Addr) bool {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return false
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	found := false
	for _, item := range strings.Split(list, ",") {
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			single, err := netip.ParseAddr(item)
			if err != nil {
				return false
			}
			prefix = netip.PrefixFrom(single, single.BitLen())
		}
		found = found || prefix.Contains(addr)
	}
	return found
}
