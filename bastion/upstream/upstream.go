// Package upstream reaches a target: it resolves the registered address once,
// dials what it resolved, checks the host key against what is registered (there
// is no trust on first use), and authenticates with a certificate that is made
// for this connection after the host has proven itself.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// DefaultTimeout bounds Connect when the Dialer names no other time.
const DefaultTimeout = 10 * time.Second

// clientVersion is what targets see and log (RFC 4253, section 4.2).
const clientVersion = "SSH-2.0-Sallyport"

// Request says where to connect and for whom.
type Request struct {
	Target     policy.Target
	Login      policy.Login
	User       policy.User
	Connection policy.ConnectionID
	// Local is the bastion's own address on this connection. Connect sets it
	// for Signer; it is invalid when the transport has none.
	Local netip.Addr
}

// Dialer connects to targets. Its zero fields mean the defaults, except for
// Signer, which is needed. It may be used by several goroutines at once.
type Dialer struct {
	// Signer returns the key, with its certificate, that the target is
	// offered. It is called once a connection, after the host key was found
	// good, so that no certificate is made for a host that is not the one.
	Signer func(context.Context, Request) (ssh.Signer, error)
	// Dial opens the connection; addr is always an address and port, never
	// a name. The default is net.Dialer with TCP keepalive.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Resolve looks a host name up, once a connection. The default is the
	// system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Timeout bounds the whole of Connect. Zero means DefaultTimeout.
	Timeout time.Duration
	Now     func() time.Time // clock of host certificates; time.Now if nil
	Log     *slog.Logger     // nil: nothing is logged
}

// Connect opens an authenticated connection to req.Target as req.Login. Every
// error is an *Error. The connection does not depend on ctx once Connect has
// returned.
func (d *Dialer) Connect(ctx context.Context, req Request) (*Conn, error) {
	trust, err := parseTrust(req.Target, d.Now)
	if err != nil {
		return nil, newError(HostKeyUnknown, req, err)
	}
	timeout := d.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	defer cancel()
	raw, err := d.dial(ctx, req.Target.Address)
	if err != nil {
		return nil, newError(Unreachable, req, orCause(ctx, err))
	}
	if tcp, ok := raw.LocalAddr().(*net.TCPAddr); ok {
		req.Local = tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	c, err := d.handshake(ctx, raw, req, trust)
	if err != nil {
		raw.Close()
		return nil, err
	}
	d.log().Debug("connected to a target", "target", req.Target.Name, "login", req.Login, "address", raw.RemoteAddr())
	return c, nil
}

// errTimeout is the cause of a Connect that took too long.
var errTimeout = fmt.Errorf("it did not answer in time: %w", context.DeadlineExceeded)

// orCause prefers why ctx ended over what its end broke.
func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w (%v)", cause, err)
	}
	return err
}

// handshake runs key exchange and authentication on raw until ctx is done.
func (d *Dialer) handshake(ctx context.Context, raw net.Conn, req Request, trust *trust) (*Conn, error) {
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var signErr error
	auth := ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
		s, err := d.Signer(ctx, req)
		if err != nil {
			signErr = err
			return nil, err
		}
		return []ssh.Signer{s}, nil
	})
	config := &ssh.ClientConfig{
		Config:            algorithms(),
		User:              string(req.Login),
		Auth:              []ssh.AuthMethod{auth},
		HostKeyCallback:   trust.check,
		HostKeyAlgorithms: trust.algorithms(),
		ClientVersion:     clientVersion,
	}
	conn, chans, reqs, err := ssh.NewClientConn(raw, req.Target.Name, config)
	if err == nil && !stop() {
		err = context.Cause(ctx)
		conn.Close()
	}
	if err != nil {
		return nil, classify(ctx, req, trust, signErr, err)
	}
	c := &Conn{conn: conn, req: req, key: trust.fingerprint}
	c.served.Add(1)
	go c.serve(chans, reqs, d.log())
	return c, nil
}

// classify says what a failed handshake means. For a refused login x/crypto/ssh
// has no typed error; the tests against sshd hold its text in place.
func classify(ctx context.Context, req Request, trust *trust, signErr, err error) *Error {
	switch {
	case trust.failure != nil:
		e := newError(HostKeyMismatch, req, trust.failure)
		e.Got, e.Want = trust.failure.got, trust.failure.want
		return e
	case signErr != nil:
		return newError(NoCertificate, req, signErr)
	case ctx.Err() != nil:
		return newError(Unreachable, req, orCause(ctx, err))
	case trust.accepted != nil && strings.Contains(err.Error(), "unable to authenticate"):
		return newError(CertificateRefused, req, err)
	case hungUp(err):
		return newError(Unreachable, req, err)
	}
	var negotiation *ssh.AlgorithmNegotiationError
	if errors.As(err, &negotiation) {
		return newError(Protocol, req, fmt.Errorf("no common algorithm for %s: the target offers %q", negotiation.What, negotiation.RequestedAlgorithms))
	}
	return newError(Protocol, req, err)
}

func (d *Dialer) log() *slog.Logger {
	if d.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Log
}

// Conn is an authenticated connection to a target. It may be used by several
// goroutines at once.
type Conn struct {
	conn   ssh.Conn
	req    Request
	key    policy.Fingerprint
	seen   policy.Coverage
	served sync.WaitGroup
}

// What became of what a target asked for on its own account.
var (
	unlearned = policy.Outcome{Note: "ignored: host keys are configured, not learned"}
	answered  = policy.Outcome{Note: "answered here; it carries nothing"}
)

// Address is the ADDRESS:PORT that was dialled.
func (c *Conn) Address() string { return c.conn.RemoteAddr().String() }

// HostKey is the fingerprint of the key that the host proved, without its
// certificate if it has one.
func (c *Conn) HostKey() policy.Fingerprint { return c.key }

// Seen lists the channels and requests that the target has begun by itself.
func (c *Conn) Seen() []policy.Channel { return c.seen.List() }

// serve refuses whatever the target asks for on its own account: a target that
// wants to open channels to its clients (forwarded-tcpip, x11, agent) gets
// none. It ends with the connection.
func (c *Conn) serve(chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request, log *slog.Logger) {
	defer c.served.Done()
	for chans != nil || reqs != nil {
		select {
		case n, ok := <-chans:
			if !ok {
				chans = nil
				continue
			}
			c.seen.Add(policy.KindChannel, n.ChannelType(), policy.FromTarget, policy.Refused(n.ChannelType()))
			log.Info("channel from a target refused", "target", c.req.Target.Name, "type", fmt.Sprintf("%.64q", n.ChannelType()))
			n.Reject(ssh.Prohibited, "not allowed")
		case r, ok := <-reqs:
			if !ok {
				reqs = nil
				continue
			}
			c.seen.Add(policy.KindGlobal, r.Type, policy.FromTarget, global(r.Type))
			r.Reply(false, nil)
		}
	}
}

// global says what a global request of the target comes to.
func global(wireType string) policy.Outcome {
	switch wireType {
	case "hostkeys-00@openssh.com":
		return unlearned
	case "keepalive@openssh.com":
		return answered
	}
	return policy.Refused(wireType)
}

// OpenSession opens a session channel (RFC 4254, section 6.1). When ctx is
// done first it returns an error, and a channel that the target opens later is
// closed. Errors are *Error.
func (c *Conn) OpenSession(ctx context.Context) (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		ch, reqs, err := c.conn.OpenChannel("session", nil)
		done <- opened{ch, reqs, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, nil, newError(Protocol, c.req, fmt.Errorf("it opened no session: %w", o.err))
		}
		return o.ch, o.reqs, nil
	case <-ctx.Done():
		go func() { // ends with the target's answer or the connection
			if o := <-done; o.err == nil {
				go ssh.DiscardRequests(o.reqs)
				o.ch.Close()
			}
		}()
		return nil, nil, newError(Unreachable, c.req, context.Cause(ctx))
	}
}

// Wait blocks until the connection has ended and returns why.
func (c *Conn) Wait() error {
	err := c.conn.Wait()
	c.served.Wait()
	return err
}

// Close ends the connection and every channel on it.
func (c *Conn) Close() error { return c.conn.Close() }
