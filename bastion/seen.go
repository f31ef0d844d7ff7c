package bastion

import "sallyport/policy"

// What becomes of channels and requests: the sentences of coverage lists.
var (
	// Of the client's channels.
	seenOpen     = policy.Outcome{Note: "opened; nothing was started on it"}
	seenNothing  = policy.Outcome{Note: "refused: nothing was started on it"}
	seenTooOften = policy.Outcome{Note: "refused: there were too many at a time"}
	seenBastion  = policy.Outcome{Note: "a command or menu of the bastion itself, which no recording holds"}
	seenRecorded = policy.Outcome{Captured: true, Note: "in a recording of its own"}
	seenNowhere  = policy.Outcome{Note: "refused: it leads to no target that the user may use"}
	seenUnproven = policy.Outcome{Note: "an SSH connection that ends here and has not been authenticated"}
	seenJump     = policy.Outcome{Captured: true, Note: "an SSH connection that ends here; its sessions are in recordings of their own"}
	// Of connection-wide requests.
	seenAnswered = policy.Outcome{Note: "answered here; it carries nothing"}
	seenAsked    = policy.Outcome{Note: "asks whether the client is there; it carries nothing"}
	// Of the session's requests until it is spliced. What comes later is
	// package proxy's.
	seenWaiting    = policy.Outcome{Note: "not passed on: the session ended first"}
	seenTooMany    = policy.Outcome{Note: "refused: too many were waiting"}
	seenSuperseded = policy.Outcome{Note: "not passed on: a newer one followed"}
	seenStart      = policy.Outcome{Captured: true}
	seenTerminal   = policy.Outcome{Captured: true, Note: "type and size; its modes are passed on unrecorded"}
	seenNoTerminal = policy.Outcome{Captured: true, Note: "type and size; the target granted no terminal"}
	seenStartSize  = policy.Outcome{Captured: true, Note: "columns and rows, as those of the start"}
	seenEnv        = policy.Outcome{Captured: true}
	seenNoEnv      = policy.Outcome{Note: "refused: not among the variables that may pass"}
	seenOurs       = policy.Outcome{Note: "meant for the bastion's own menu or command, which no recording holds"}
	// Of the channels that the bastion opens on targets.
	seenUnopened = policy.Outcome{Note: "not opened: the target has not answered"}
	seenDeclined = policy.Outcome{Note: "not opened: the target refused"}
	seenProbe    = policy.Outcome{Note: "the bastion's own context probe; what it found is in the host context"}
)

// Words of the channel that a recording is of.
const (
	noteMenu      = "what came before, in the bastion's menu, is not recorded"
	noteUnreached = "nothing flowed: the target was not reached"
	noteOwn       = "this session"
	noteUpstream  = "this session, at the target"
	noteCarrier   = "carries this connection, which ends here"
	noteOuter     = "outer connection: "
)

// coverage is the list of what was on the connections of the session up to now:
// those of the client, and the one to the target if it was reached.
func (s *session) coverage(at *reached) []policy.Channel {
	own := policy.Channel{Kind: policy.KindChannel, Type: "session", From: policy.FromClient, Count: 1, Captured: at != nil, Note: noteOwn}
	switch {
	case at == nil:
		own.Note += "; " + noteUnreached
	case s.menu:
		own.Note += "; " + noteMenu
	}
	list := append([]policy.Channel{own}, s.c.seen.List(s.channel)...)
	for c := s.c; c.outer != nil; c = c.outer {
		list = append(list, policy.Channel{Kind: policy.KindChannel, Type: "direct-tcpip", From: policy.FromClient, Count: 1, Captured: true, Note: noteOuter + noteCarrier})
		for _, row := range c.outer.seen.List(c.carrier) {
			row.Note = noteOuter + row.Note
			list = append(list, row)
		}
	}
	list = append(list, s.count.List()...)
	if at == nil {
		return list
	}
	list = append(list, policy.Channel{Kind: policy.KindChannel, Type: "session", From: policy.FromBastion, Count: 1, Captured: true, Note: noteUpstream})
	return append(append(list, at.sh.seen.List(at.seen)...), at.sh.up.Seen()...)
}
