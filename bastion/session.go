package bastion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
	"sallyport/policy"
)

// session is one session channel (RFC 4254, section 6) on the client's side.
type session struct {
	c    *connection
	ch   ssh.Channel
	reqs <-chan *ssh.Request // always drained behind the scenes
	// ctx is done when the client has closed the channel or the connection
	// has ended: nothing that takes time is worth going on with then.
	ctx context.Context
	end context.CancelCauseFunc

	pty   *terminal   // nil when the client asked for none
	sized policy.Seen // the request that pty has its size from
	env   []envVar
	asked []string // names of variables that the client asked for, escaped
	menu  bool     // the bastion's menu was shown

	channel policy.Seen   // this channel, in c.seen
	count   *requestCount // its requests
	// refused are the types of requests that an entry was made for.
	refused map[string]bool
}

// start is the request that says what the session is to run.
type start struct {
	req     *ssh.Request
	action  policy.Action
	command string // the command line, or the subsystem's name
	err     error  // for the user: why it cannot be run
}

func (st start) reply(ok bool) { st.req.Reply(ok, nil) }

var (
	errNoStart      = errors.New("no shell, command or subsystem was asked for in time")
	errSessionEnded = errors.New("the client closed the session")
)

// session owns one session channel from its opening to its close.
func (c *connection) session(nc ssh.NewChannel, seen policy.Seen) {
	s, err := c.accept(nc, seen)
	if err != nil {
		c.log.Debug("a session could not be accepted", "error", err)
		return
	}
	defer s.release()
	st, err := s.await()
	if err != nil {
		if errors.Is(err, errNoStart) {
			s.refuse(refusal("No shell, command or subsystem was asked for in time."))
		}
		return
	}
	// What goes wrong from here on is told on stderr, with an exit status.
	st.reply(true)
	if err := s.run(st); err != nil {
		s.refuse(err)
	}
}

// run does what st asks for. An error means that nothing was started.
func (s *session) run(st start) error {
	where, err := s.c.destination()
	if st.err != nil {
		err = st.err
	}
	if err != nil {
		e := policy.Entry{Target: where.Target, Login: where.Login, Detail: map[string]string{"action": string(st.action)}}
		return s.c.deny(e, refusal(err.Error()), nil)
	}
	if err := s.c.stillAllowed(); err != nil {
		return err
	}
	if where.Target != "" {
		return s.runTarget(where, st)
	}
	s.channel.Now(seenBastion)
	switch {
	case st.action == policy.ActionExec:
		return s.runConsole(st.command)
	case st.action != policy.ActionShell:
		return refusef("The subsystem %q needs a target; connect as LOGIN@TARGET.", st.command)
	case s.pty == nil:
		return s.hello()
	}
	return s.runMenu(st)
}

// destination says where the connection's user name leads.
func (c *connection) destination() (userName, error) {
	if c.jump == nil {
		return parseUserName(c.sconn.User())
	}
	if err := checkLogin(c.sconn.User()); err != nil {
		return userName{}, err
	}
	return userName{Login: policy.Login(c.sconn.User()), Target: c.jump.Name}, nil
}

// accept opens the channel and begins to drain its requests.
func (c *connection) accept(nc ssh.NewChannel, seen policy.Seen) (*session, error) {
	ch, reqs, err := nc.Accept()
	if err != nil {
		return nil, err
	}
	s := &session{c: c, ch: ch, channel: seen, count: &requestCount{}, refused: map[string]bool{}}
	s.ctx, s.end = context.WithCancelCause(c.ctx)
	s.reqs = queueRequests(reqs, s.count, func() { s.end(errSessionEnded) })
	return s, nil
}

// release closes the channel, if it is still open, and drains its requests
// until the client has closed it too.
func (s *session) release() {
	s.ch.Close()
	s.end(nil)
	go func() { // ends with the client's close or the connection
		for r := range s.reqs {
			s.refuseQuietly(r)
		}
	}()
}

// await takes the requests before the start: terminal and environment.
func (s *session) await() (start, error) {
	t := time.NewTimer(s.c.s.limits.Setup)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return start{}, errNoStart
		case r, ok := <-s.reqs:
			if !ok {
				return start{}, errSessionEnded
			}
			if st, ok := s.prepare(r); ok {
				return st, nil
			}
		}
	}
}

// refuse tells the user why nothing was started: one line on stderr and exit
// status 1.
func (s *session) refuse(err error) {
	text, ok := userMessage(err)
	if !ok {
		text = fmt.Sprintf("The session could not be started; the bastion's log has the reason under connection %s.", s.c.id)
	}
	s.channel.Now(seenNothing)
	s.c.log.Info("a session was refused", "reason", printable(err.Error(), 1000))
	s.say(text)
	s.exit(1)
}

// say writes one line to stderr. In a terminal, the client's is raw.
func (s *session) say(text string) {
	end := "\n"
	if s.pty != nil {
		end = "\r\n"
	}
	io.WriteString(s.ch.Stderr(), "sallyport: "+text+end)
}

// exit ends the session: exit status, EOF, close (RFC 4254, section 6.10).
func (s *session) exit(code uint32) {
	s.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
	s.ch.CloseWrite()
	s.ch.Close()
}

// requests are what the target is asked for before anything else flows.
func (s *session) requests(st start) []proxy.Request {
	granted := func(ok bool) {
		if !ok {
			s.pty.seen.Now(seenNoTerminal)
		}
	}
	var list []proxy.Request
	if s.pty != nil {
		list = append(list, proxy.Request{Type: "pty-req", Payload: s.pty.payload(), Reply: granted})
	}
	for _, v := range s.env {
		list = append(list, proxy.Request{Type: "env", Payload: ssh.Marshal(envRequest{v.Name, v.Value})})
	}
	return append(list, proxy.Request{Type: st.req.Type, Payload: st.req.Payload})
}
