package proxy

import (
	"fmt"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// exit is how the target says that the session ended (RFC 4254, section 6.10),
// kept verbatim for the client.
type exit struct {
	request string
	payload []byte
	end     policy.End
}

// setExit keeps the first exit-status or exit-signal that can be parsed. A
// broken one is not passed on: clients end the connection over it.
func (s *session) setExit(r *ssh.Request) {
	e, err := parseExit(r.Type, r.Payload)
	r.Reply(err == nil, nil)
	if err != nil {
		s.count(r, policy.FromTarget, seenBadExit)
		s.log.Warn("exit of the target not understood", "err", err)
		return
	}
	s.exitMu.Lock()
	defer s.exitMu.Unlock()
	if s.exit != nil {
		s.count(r, policy.FromTarget, seenNextExit)
		return
	}
	o := seenExit
	if r.Type == "exit-signal" {
		o = seenExitSignal
	}
	s.count(r, policy.FromTarget, o)
	s.exit = e
	close(s.exited)
}

// sendExit passes the target's exit on, if it gave one.
func (s *session) sendExit() {
	s.exitMu.Lock()
	e := s.exit
	s.exitMu.Unlock()
	if e != nil {
		s.o.Client.Channel.SendRequest(e.request, false, e.payload)
	}
}

func parseExit(request string, payload []byte) (*exit, error) {
	e := &exit{request: request, payload: payload}
	if request == "exit-status" {
		var m struct{ Status uint32 }
		if err := ssh.Unmarshal(payload, &m); err != nil {
			return nil, fmt.Errorf("exit-status: %w", err)
		}
		e.end.ExitStatus = &m.Status
		return e, nil
	}
	var m struct {
		Signal     string
		CoreDumped bool
		Message    string
		Language   string
	}
	if err := ssh.Unmarshal(payload, &m); err != nil {
		return nil, fmt.Errorf("exit-signal: %w", err)
	}
	if !signalName(m.Signal) {
		return nil, fmt.Errorf("exit-signal: name %s is not allowed", clip(m.Signal))
	}
	e.end.ExitSignal = m.Signal
	return e, nil
}

// parseSignal returns the name in a signal request (RFC 4254, section 6.9).
func parseSignal(payload []byte) (string, error) {
	var m struct{ Signal string }
	if err := ssh.Unmarshal(payload, &m); err != nil {
		return "", fmt.Errorf("signal: %w", err)
	}
	if !signalName(m.Signal) {
		return "", fmt.Errorf("signal: name %s is not allowed", clip(m.Signal))
	}
	return m.Signal, nil
}

// signalName reports whether s has the form of a signal's name without "SIG",
// or of a private one with an @ and a domain.
func signalName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '@', c == '.', c == '-', c == '_', c == '+':
		default:
			return false
		}
	}
	return true
}
