package proxy

import (
	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// What becomes of the requests of a session (Options.Seen). A request counts
// once, where it came from, whether or not it was passed on.
var (
	seenWaiting    = policy.Outcome{Note: "not passed on: the session ended first"}
	seenTooMany    = policy.Outcome{Note: "refused: too many were waiting"}
	seenSuperseded = policy.Outcome{Note: "not passed on: a newer one followed"}
	seenEmpty      = policy.Outcome{Note: "passed on unrecorded; it carries nothing"}
	seenUnrecorded = policy.Outcome{Note: "passed on unrecorded"}
	seenSize       = policy.Outcome{Captured: true, Note: "columns and rows"}
	seenNoSize     = policy.Outcome{Note: "passed on unrecorded: no terminal, or a size of zero"}
	seenSignal     = policy.Outcome{Captured: true}
	seenBreak      = policy.Outcome{Captured: true, Note: "that it came, not its length"}
	seenExit       = policy.Outcome{Captured: true}
	seenExitSignal = policy.Outcome{Captured: true, Note: "the signal's name, not its message"}
	seenBadExit    = policy.Outcome{Note: "dropped: it cannot be read"}
	seenNextExit   = policy.Outcome{Note: "dropped: the session had an exit already"}
)

// passed says what becomes of a request that no recording has a place for.
func passed(wireType string) policy.Outcome {
	if wireType == "xon-xoff" || wireType == "signal" || wireType == "break" {
		return seenUnrecorded
	}
	return seenEmpty
}

// count counts a request of this session.
func (s *session) count(r *ssh.Request, from string, o policy.Outcome) policy.Seen {
	if s.o.Seen == nil {
		return policy.Seen{}
	}
	return s.o.Seen(r, from, o)
}
