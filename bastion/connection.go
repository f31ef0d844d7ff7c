package bastion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// maxRefusals is how many channels and requests a connection may be refused
// before it is ended: each refusal costs a durable entry.
const maxRefusals = 100

var errTooManyRefusals = errors.New("the client asked for too much that is not allowed")

// connection is one authenticated SSH connection, direct or inside another.
type connection struct {
	s      *Server
	id     policy.ConnectionID
	sconn  *ssh.ServerConn
	grant  *grant
	source netip.AddrPort
	log    *slog.Logger
	// jump is the target that a connection inside another ends at; nil for a
	// direct one. Its user name is the login.
	jump *policy.Target
	// outer is the connection that one inside another came through, and
	// carrier the channel in outer.seen; outer is nil for a direct one.
	outer   *connection
	carrier policy.Seen
	// silence is how long nothing came; nil for a connection inside another,
	// which lives and dies with the outer one.
	silence func() time.Duration

	ctx      context.Context // done when the connection ends, with the cause
	end      context.CancelCauseFunc
	wg       sync.WaitGroup // sessions, jumps and the goroutines of serve
	channels atomic.Int32   // open ones
	refusals atomic.Int32
	ups      upstreams
	seen     policy.Coverage // channels and global requests
}

func (s *Server) newConnection(ctx context.Context, sconn *ssh.ServerConn, g *grant, id policy.ConnectionID, source netip.AddrPort, log *slog.Logger) *connection {
	c := &connection{s: s, id: id, sconn: sconn, grant: g, source: source, log: log}
	c.ctx, c.end = context.WithCancelCause(ctx)
	c.ups.c = c
	return c
}

// serve handles channels and requests until the connection has ended, and
// returns when nothing of it is left. When the server ends, sessions get
// Limits.Grace to end before the connection is closed.
func (c *connection) serve(chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) {
	stop := context.AfterFunc(c.ctx, c.closeGently)
	defer stop()
	c.wg.Go(func() { c.globalRequests(reqs) })
	if c.silence != nil {
		alive := c.keepalive()
		defer alive()
	}
	if c.grant.refusal != "" {
		c.serveRefused(chans)
	} else {
		for nc := range chans {
			c.open(nc)
		}
	}
	c.end(errClientGone)
	c.logEnd(c.sconn.Wait())
	if !waitFor(c.wg.Wait, 2*c.s.limits.Grace) {
		c.log.Error("sessions are left that do not end after their connection")
	}
	c.ups.close()
}

// logEnd says why the connection ended. Clients that hang up say so with a
// disconnect message, reason 11 (RFC 4253, section 11.1), or just close.
func (c *connection) logEnd(err error) {
	const byApplication = "ssh: disconnect, reason 11:"
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), strings.HasPrefix(err.Error(), byApplication):
		c.log.Debug("a connection ended")
	default:
		c.log.Warn("a connection broke", "reason", printable(err.Error(), 300))
	}
}

// closeGently closes the connection once its sessions have ended, which they
// do because c.ctx is done.
func (c *connection) closeGently() {
	deadline := time.Now().Add(c.s.limits.Grace)
	for c.channels.Load() > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	c.sconn.Close()
}

// open decides about a new channel (RFC 4254, section 5.1). It does not wait
// for anything but the connection itself.
func (c *connection) open(nc ssh.NewChannel) {
	var handle func()
	seen := c.seen.Add(policy.KindChannel, nc.ChannelType(), policy.FromClient, policy.Refused(nc.ChannelType()))
	switch t := nc.ChannelType(); t {
	case "session":
		handle = func() { seen.Now(seenOpen); c.session(nc, seen) }
	case "direct-tcpip":
		j, err := c.parseJump(nc.ExtraData())
		if err != nil {
			seen.Now(seenNowhere)
			c.refuseChannel(nc, ssh.Prohibited, err)
			return
		}
		handle = func() { seen.Now(seenUnproven); c.jumpTo(nc, j, seen) }
	case "direct-streamlocal@openssh.com", "tun@openssh.com", "x11", "forwarded-tcpip", "auth-agent@openssh.com":
		c.refuseChannel(nc, ssh.Prohibited, refusef("This bastion does not forward %s.", t))
		return
	default:
		c.refuseChannel(nc, ssh.UnknownChannelType, refusef("This bastion knows no channels of this type."))
		return
	}
	if int(c.channels.Add(1)) > c.s.limits.SessionsPerConnection {
		c.channels.Add(-1)
		seen.Now(seenTooOften)
		c.refuseChannel(nc, ssh.ResourceShortage, refusef("There are already %d sessions on this connection, the most that it may hold.", c.s.limits.SessionsPerConnection))
		return
	}
	c.wg.Go(func() {
		defer c.channels.Add(-1)
		handle()
	})
}

// refuseChannel tells the client why, and enters it.
func (c *connection) refuseChannel(nc ssh.NewChannel, reason ssh.RejectionReason, why error) {
	c.enterRefusal(nc.ChannelType(), why.Error())
	text, ok := userMessage(why)
	if !ok {
		text = "The bastion refuses this channel; its log has the reason."
	}
	if err := nc.Reject(reason, text); err != nil {
		c.log.Debug("a channel could not be rejected", "error", err)
	}
}

// enterRefusal enters that something was asked for and refused, and ends the
// connection of a client that does nothing else.
func (c *connection) enterRefusal(what, why string) {
	what = printable(what, 64)
	n := c.refusals.Add(1)
	if n > maxRefusals {
		c.end(errTooManyRefusals)
		return
	}
	c.log.Info("refused", "what", what, "reason", why)
	e := policy.Entry{Kind: policy.EntryChannelDenied, Detail: map[string]string{"type": what, "reason": why}}
	if n == maxRefusals {
		e.Detail["last"] = "the connection is ended after " + strconv.Itoa(maxRefusals) + " refusals"
	}
	c.enter(e)
}

// enter writes an entry about this connection. It is owed even when the
// client has gone.
func (c *connection) enter(e policy.Entry) error {
	e.Source = c.source.String()
	if u := c.grant.identity.User; !u.IsZero() {
		e.User = &u
	}
	if e.Detail == nil {
		e.Detail = map[string]string{}
	}
	e.Detail["connection"] = string(c.id)
	err := c.s.cfg.Audit(context.WithoutCancel(c.ctx), e)
	if err != nil {
		c.log.Error("an entry could not be written", "kind", e.Kind, "error", err)
		return fmt.Errorf("an entry could not be written: %w", err)
	}
	return nil
}

// globalRequests answers requests that belong to no channel (RFC 4254,
// section 4). It always drains them: an undrained one would stall the whole
// connection. It ends with the connection.
func (c *connection) globalRequests(reqs <-chan *ssh.Request) {
	for r := range reqs {
		seen := c.seen.Add(policy.KindGlobal, r.Type, policy.FromClient, policy.Refused(r.Type))
		switch r.Type {
		case "keepalive@openssh.com":
			seen.Now(seenAnswered)
			r.Reply(true, nil)
			continue
		case "tcpip-forward", "streamlocal-forward@openssh.com":
			c.enterRefusal(r.Type, "This bastion forwards no ports.")
		}
		r.Reply(false, nil)
	}
}

// keepalive asks a client that is silent whether it is there, and ends the
// connection of one that never answers, until stop is called. It closes the
// connection itself: a write may be stuck for ever. Between its looks it is a
// timer, since an idle connection's goroutines are most of what it takes.
func (c *connection) keepalive() (stop func()) {
	every := c.s.limits.Keepalive
	var asking, stopped atomic.Bool
	var timer *time.Timer
	var armed sync.WaitGroup // timer is set
	armed.Add(1)
	timer = time.AfterFunc(every, func() {
		armed.Wait()
		if stopped.Load() {
			return
		}
		quiet := c.silence()
		if quiet > every*time.Duration(c.s.limits.KeepaliveMissed) {
			c.log.Info("the client does not answer any more", "silence", quiet.Round(time.Second))
			c.sconn.Close()
			return
		}
		timer.Reset(every)
		if quiet >= every && asking.CompareAndSwap(false, true) {
			c.seen.Add(policy.KindGlobal, "keepalive@openssh.com", policy.FromBastion, seenAsked)
			c.sconn.SendRequest("keepalive@openssh.com", true, nil) // until the answer or the connection's end
			asking.Store(false)
		}
	})
	armed.Done()
	return func() {
		stopped.Store(true)
		timer.Stop()
	}
}

// stillAllowed checks the sign-in again, for each channel.
func (c *connection) stillAllowed() error {
	id := c.grant.identity
	if !c.s.now().Before(id.Expires) {
		return c.deny(policy.Entry{}, refusal("Your sign-in has expired; connect again to renew it."), nil)
	}
	d := c.s.cfg.Decide(policy.Request{User: id.User, Action: policy.ActionSignIn, Source: c.source.Addr()})
	if !d.Allowed {
		return c.deny(policy.Entry{}, refusal(notAllowed(id.User)), d.Policies)
	}
	return nil
}

// deny enters a refusal and returns it for the user.
func (c *connection) deny(e policy.Entry, why refusal, policies []string) error {
	e.Kind = policy.EntryDeny
	if e.Detail == nil {
		e.Detail = map[string]string{}
	}
	e.Detail["reason"] = string(why)
	addPolicies(e.Detail, policies)
	c.enter(e)
	c.log.Info("denied", "reason", string(why), "target", e.Target, "login", e.Login)
	return why
}
