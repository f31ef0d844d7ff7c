package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"

	gliderssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// host is the server that the demo logs in to. It trusts certificates of one
// authority and nothing else, and runs real programs as the user who started
// the demo, whatever the login is called.
type host struct {
	name   string
	logins []string
	home   string        // HOME of what it runs
	userCA ssh.PublicKey // whose certificates count
	key    ssh.Signer    // with the host certificate
	log    *slog.Logger
}

// server returns the SSH server; its Serve takes the listener. The session
// channel is our own: the library's would drop terminal modes and rewrite line
// ends.
func (h *host) server() *gliderssh.Server {
	return &gliderssh.Server{
		HostSigners:      []gliderssh.Signer{h.key},
		Version:          "SallyportDemoHost",
		PublicKeyHandler: h.authorize,
		ChannelHandlers:  map[string]gliderssh.ChannelHandler{"session": h.session},
		RequestHandlers:  map[string]gliderssh.RequestHandler{},
	}
}

// authorize accepts a user certificate of the target CA that names the login.
func (h *host) authorize(ctx gliderssh.Context, key gliderssh.PublicKey) bool {
	err := h.check(ctx.User(), ctx.RemoteAddr(), key)
	cert, ok := key.(*ssh.Certificate)
	switch {
	case err != nil:
		h.log.Info("refused", "login", ctx.User(), "why", err)
	case ok:
		h.log.Info("accepted", "login", ctx.User(), "certificate", cert.KeyId, "serial", cert.Serial)
	}
	return err == nil
}

func (h *host) check(login string, remote net.Addr, key ssh.PublicKey) error {
	cert, ok := key.(*ssh.Certificate)
	switch {
	case !ok:
		return errors.New("a plain key; only certificates count here")
	case cert.CertType != ssh.UserCert:
		return errors.New("not a user certificate")
	case !bytes.Equal(cert.SignatureKey.Marshal(), h.userCA.Marshal()):
		return errors.New("signed by another authority")
	case !slices.Contains(h.logins, login):
		return errors.New("no such login")
	case len(cert.ValidPrincipals) == 0:
		return errors.New("the certificate names nobody")
	case cert.ValidBefore == ssh.CertTimeInfinity:
		return errors.New("the certificate never ends")
	}
	checker := ssh.CertChecker{SupportedCriticalOptions: []string{"source-address"}}
	if err := checker.CheckCert(login, cert); err != nil {
		return err
	}
	if from, ok := cert.CriticalOptions["source-address"]; ok && !addressIn(remote, from) {
		return errors.New("the certificate is for another source address")
	}
	return nil
}

// addressIn reports whether addr is in the comma-separated list of addresses
// and prefixes (PROTOCOL.certkeys).
func addressIn(addr net.Addr, list string) bool {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return false
	}
	for _, item := range strings.Split(list, ",") {
		if _, prefix, err := net.ParseCIDR(item); err == nil && prefix.Contains(tcp.IP) {
			return true
		}
		if ip := net.ParseIP(item); ip != nil && ip.Equal(tcp.IP) {
			return true
		}
	}
	return false
}
