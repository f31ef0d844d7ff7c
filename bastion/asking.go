package bastion

import (
	"strings"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// prepare handles one request before the start, or returns the start.
func (s *session) prepare(r *ssh.Request) (start, bool) {
	switch r.Type {
	case "shell", "exec", "subsystem":
		st := parseStart(r)
		if st.err != nil {
			s.took(r, policy.Refused(r.Type))
		} else {
			s.took(r, seenStart)
		}
		return st, true
	case "pty-req":
		ok := s.setTerminal(r.Payload)
		if seen := s.answer(r, ok, seenTerminal); ok {
			s.pty.seen = seen
		}
	case "env":
		s.addEnv(r)
	case "window-change":
		s.resize(r)
	case "keepalive@openssh.com":
		s.answer(r, true, seenAnswered)
	case "auth-agent-req@openssh.com", "x11-req":
		s.refuseRequest(r)
	default:
		s.refuseQuietly(r)
	}
	return start{}, false
}

// took counts a request of the client, and what becomes of it.
func (s *session) took(r *ssh.Request, o policy.Outcome) policy.Seen {
	return s.count.took(r, policy.FromClient, o)
}

// answer replies to a request and counts it: as o, or as refused.
func (s *session) answer(r *ssh.Request, ok bool, o policy.Outcome) policy.Seen {
	if !ok && o.Captured {
		o = policy.Refused(r.Type)
	}
	seen := s.took(r, o)
	r.Reply(ok, nil)
	return seen
}

// resize takes a new size of the terminal before the session has started: the
// recording starts with the last.
func (s *session) resize(r *ssh.Request) bool {
	ok := s.pty.resize(r.Payload)
	if seen := s.answer(r, ok, seenStartSize); ok {
		s.sized.Now(seenSuperseded)
		s.sized = seen
	}
	return ok
}

// refuseRequest enters, once per type and session, what opens another way.
func (s *session) refuseRequest(r *ssh.Request) {
	if !s.refused[r.Type] {
		s.refused[r.Type] = true
		s.c.enterRefusal(r.Type, "This bastion forwards neither agents nor X11.")
	}
	s.refuseQuietly(r)
}

// refuseQuietly refuses what needs no entry.
func (s *session) refuseQuietly(r *ssh.Request) { s.answer(r, false, policy.Refused(r.Type)) }

// parseStart reads the request that says what is to run.
func parseStart(r *ssh.Request) start {
	switch r.Type {
	case "exec":
		st := start{req: r, action: policy.ActionExec}
		st.command, st.err = parseCommand(r.Payload)
		return st
	case "subsystem":
		return parseSubsystem(r)
	}
	return start{req: r, action: policy.ActionShell}
}

// parseCommand reads the payload of exec (RFC 4254, section 6.5).
func parseCommand(payload []byte) (string, error) {
	var m struct{ Command string }
	if err := ssh.Unmarshal(payload, &m); err != nil {
		return "", refusal("The request to run a command cannot be read.")
	}
	if strings.IndexByte(m.Command, 0) >= 0 {
		return "", refusal("The command holds a NUL byte, which no shell can take.")
	}
	return m.Command, nil
}

// parseSubsystem knows the one subsystem that targets are asked for.
func parseSubsystem(r *ssh.Request) start {
	st := start{req: r, action: policy.ActionSFTP}
	var m struct{ Name string }
	if err := ssh.Unmarshal(r.Payload, &m); err != nil {
		st.err = refusal("The request to start a subsystem cannot be read.")
		return st
	}
	st.command = m.Name
	if m.Name != "sftp" {
		st.err = refusef("The subsystem %q is not allowed; sftp is the only one.", printable(m.Name, 64))
	}
	return st
}
