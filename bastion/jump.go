package bastion

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// parseJump reads the payload of a direct-tcpip channel (RFC 4254, section
// 7.2), as ssh -J and -W open it. It leads to a registered target or nowhere:
// the bastion dials no address that a client names (THREATS T13).
func (c *connection) parseJump(payload []byte) (policy.Target, error) {
	var m struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(payload, &m); err != nil {
		return policy.Target{}, refusal("The request to connect cannot be read.")
	}
	if c.jump != nil {
		return policy.Target{}, refusef("This bastion does not forward to other hosts from %s.", c.jump.Name)
	}
	none := fmt.Sprintf("%q is not a target of this bastion that you may use.", printable(m.Host, maxTarget))
	if checkTargetName(m.Host) != nil {
		return policy.Target{}, refusal(none)
	}
	t, ok := c.s.cfg.Lookup(m.Host)
	if !ok {
		return policy.Target{}, hidden{errors.New("there is no such target"), none}
	}
	if !c.knows(t) {
		return policy.Target{}, hidden{fmt.Errorf("the user may do nothing with %s", t.Name), none}
	}
	if m.Port != 22 && m.Port != targetPort(t) {
		return policy.Target{}, refusef("Port %d of %s cannot be reached through this bastion, only ssh.", m.Port, t.Name)
	}
	return t, nil
}

// targetPort is the port of the target's address, or 0.
func targetPort(t policy.Target) uint32 {
	_, port, err := net.SplitHostPort(t.Address)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// jumpTo serves an SSH connection inside the channel, in the place of t: the
// client sees a host key for t, and must prove to be the same user as on the
// outer connection.
func (c *connection) jumpTo(nc ssh.NewChannel, t policy.Target, seen policy.Seen) {
	if err := c.stillAllowed(); err != nil {
		seen.Now(seenNowhere)
		c.refuseChannel(nc, ssh.Prohibited, err)
		return
	}
	keys, err := c.s.cfg.TargetHostKeys(c.ctx, t.Name)
	if err != nil || len(keys) == 0 {
		c.log.Error("there is no host key to present for a target", "target", t.Name, "error", err)
		seen.Now(seenNowhere)
		nc.Reject(ssh.ConnectionFailed, "The bastion has no host key for this target; its log has the reason.")
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(reqs) // ends with the channel
	if err := c.serveJump(newChannelConn(ch, c.sconn, c.source), t, keys, seen); err != nil {
		c.log.Info("a connection to a target was not authenticated", "target", t.Name, "reason", printable(err.Error(), 300))
	}
}

func (c *connection) serveJump(conn net.Conn, t policy.Target, keys []ssh.Signer, seen policy.Seen) error {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	tooLate := time.AfterFunc(c.s.limits.Signing, func() {
		cancel(errors.New("it was not authenticated in time"))
	})
	defer tooLate.Stop()
	stop := context.AfterFunc(ctx, func() { conn.Close() })

	id := policy.NewConnectionID(c.s.now())
	log := c.log.With("inner", id, "target", t.Name)
	a := &authenticator{s: c.s, ctx: ctx, id: id, log: log, source: c.source, outer: c}
	sconn, chans, reqs, g, err := a.run(conn, keys)
	if err != nil {
		stop()
		return err
	}
	if !stop() {
		sconn.Close()
		return causeOf(ctx)
	}
	tooLate.Stop()
	inner := c.s.newConnection(c.ctx, sconn, g, id, c.source, log)
	inner.jump, inner.outer, inner.carrier = &t, c, seen
	seen.Now(seenJump)
	inner.serve(chans, reqs)
	return nil
}

// channelConn is a channel as a net.Conn, for an SSH connection inside another.
// It has no deadlines: the outer connection's keepalive and the caller's timers
// end it.
type channelConn struct {
	ssh.Channel
	local, remote net.Addr
}

func newChannelConn(ch ssh.Channel, outer ssh.ConnMetadata, source netip.AddrPort) *channelConn {
	// The address that certificates may be bound to is the real client's.
	return &channelConn{ch, outer.LocalAddr(), net.TCPAddrFromAddrPort(source)}
}

func (c *channelConn) LocalAddr() net.Addr  { return c.local }
func (c *channelConn) RemoteAddr() net.Addr { return c.remote }

var errNoDeadline = fmt.Errorf("a connection inside a channel: %w", errors.ErrUnsupported)

func (c *channelConn) SetDeadline(time.Time) error      { return errNoDeadline }
func (c *channelConn) SetReadDeadline(time.Time) error  { return errNoDeadline }
func (c *channelConn) SetWriteDeadline(time.Time) error { return errNoDeadline }
