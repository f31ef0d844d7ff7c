package bastion

import (
	"context"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// How long a refused connection lives at most, and how long its client has to
// hang up by itself once it was told.
const (
	refusedTime   = 10 * time.Second
	refusedHangup = time.Second
)

// serveRefused tells a client that authenticated as nobody why, in its first
// session, and ends the connection. Nothing else is possible on it.
func (c *connection) serveRefused(chans <-chan ssh.NewChannel) {
	c.log.Info("a connection is refused", "reason", c.grant.refusal)
	last := time.AfterFunc(refusedTime, func() { c.sconn.Close() })
	defer last.Stop()
	told := false
	for nc := range chans {
		if nc.ChannelType() != "session" || told {
			nc.Reject(ssh.Prohibited, c.grant.refusal)
			continue
		}
		told = true
		c.channels.Add(1)
		c.wg.Go(func() {
			defer c.channels.Add(-1)
			c.tellRefused(nc)
		})
	}
}

// tellRefused takes one session, waits for what it should run, and says the
// sentence instead.
func (c *connection) tellRefused(nc ssh.NewChannel) {
	s, err := c.accept(nc, policy.Seen{})
	if err != nil {
		return
	}
	defer s.release()
	if st, err := s.await(); err == nil {
		st.reply(true)
		s.refuse(refusal(c.grant.refusal))
	}
	select {
	case <-c.hungUp():
	case <-time.After(refusedHangup):
	}
	c.sconn.Close()
}

// hungUp is closed when the client has ended the connection.
func (c *connection) hungUp() <-chan struct{} {
	gone := make(chan struct{})
	context.AfterFunc(c.ctx, func() { close(gone) })
	return gone
}
