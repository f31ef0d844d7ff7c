package bastion

import (
	"fmt"
	"maps"
	"slices"

	"sallyport/policy"
)

// permit decides whether the session may be, and enters the decision. It
// returns what the recording says about the session.
func (s *session) permit(where userName, st start) (policy.Session, policy.Target, policy.Decision, error) {
	c := s.c
	e := policy.Entry{Target: printable(where.Target, maxTarget), Login: where.Login, Detail: map[string]string{"action": string(st.action)}}
	if st.command != "" {
		e.Detail["command"] = printable(st.command, 1000)
	}
	no := func(err error) (policy.Session, policy.Target, policy.Decision, error) {
		return policy.Session{}, policy.Target{}, policy.Decision{}, err
	}
	target, ok := c.s.cfg.Lookup(where.Target)
	if !ok {
		c.deny(e, refusal(fmt.Sprintf("There is no target named %q.", e.Target)), nil)
		return no(noTarget(where.Target))
	}
	e.Target = target.Name
	if !target.Allows(where.Login) {
		return no(c.denyOn(target, where.Target, e, refusal(fmt.Sprintf("The login %q is not among those of %s.", where.Login, target.Name)), nil))
	}
	about := s.describe(target, where.Login, st)
	d := c.s.cfg.Decide(policy.Request{User: about.User, Action: st.action, Target: target, Login: where.Login, Source: c.source.Addr()})
	if !d.Allowed {
		e.Detail["decision"] = d.Reason
		return no(c.denyOn(target, where.Target, e, refusal(fmt.Sprintf("You are not allowed to use %s on %s as %s.", st.action, target.Name, where.Login)), d.Policies))
	}
	about.Policies = slices.Clone(d.Policies)
	about.Retention, about.RedactStreams = d.Obligations.Retention, d.Obligations.Redact
	e.Kind = policy.EntryPermit
	addPolicies(e.Detail, d.Policies)
	if err := c.enter(e); err != nil {
		return no(refusal("The session is not started because it cannot be entered in the ledger."))
	}
	return about, target, d, nil
}

// describe is what is known of the session before it is decided about. The
// digests are taken right before the decision, so that they are of what
// decides.
func (s *session) describe(t policy.Target, login policy.Login, st start) policy.Session {
	now := s.c.s.now()
	id := s.c.grant.identity
	about := policy.Session{
		ID: policy.NewSessionID(now), Connection: s.c.id, User: id.User, Source: s.c.source.String(),
		Client: printable(string(s.c.sconn.ClientVersion()), 255), Key: id.Key, Serial: id.Serial,
		Target: t.Name, Login: login, Action: st.action, Command: st.command,
		Start: now, Labels: maps.Clone(t.Labels), Address: t.Address, AskedEnv: slices.Clone(s.asked),
	}
	if s.pty != nil {
		about.TTY, about.Term = true, s.pty.Term
		about.Cols, about.Rows = s.pty.size()
	}
	if len(s.env) > 0 {
		about.Env = map[string]string{}
		for _, v := range s.env {
			about.Env[v.Name] = v.Value
		}
	}
	if st.action == policy.ActionSFTP {
		about.Coverage = append(about.Coverage, "sftp: recorded as a byte stream, files are not parsed")
	}
	if f := s.c.s.cfg.Digests; f != nil {
		about.PolicyDigest, about.ConfigDigest = f()
	}
	return about
}

// noTarget is what a user reads about a target that does not exist, and about
// one that the user may do nothing with: the answer must not tell which.
func noTarget(name string) refusal {
	return refusal(fmt.Sprintf("There is no target named %q here that you may use.", printable(name, maxTarget)))
}

// denyOn enters why the user may not do something with t, and returns it. Who
// may do nothing at all with t, which was asked for as name, is not told that
// it exists.
func (c *connection) denyOn(t policy.Target, name string, e policy.Entry, why refusal, policies []string) error {
	err := c.deny(e, why, policies)
	if !c.knows(t) {
		return noTarget(name)
	}
	return err
}

// knownBy are the actions of which one allowed tells a user that a target
// exists. Rights to one's own recordings do not count, since a policy gives
// them without a look at the target.
var knownBy = []policy.Action{
	policy.ActionShell, policy.ActionExec, policy.ActionSFTP, policy.ActionCommand, policy.ActionForward, policy.ActionAgent,
	policy.ActionRequest, policy.ActionApprove, policy.ActionReplay, policy.ActionReplayRaw, policy.ActionWatch, policy.ActionJoin, policy.ActionTerminate,
}

// knows reports whether the user may do anything with t.
func (c *connection) knows(t policy.Target) bool {
	for _, login := range t.Logins {
		for _, a := range knownBy {
			r := policy.Request{User: c.grant.identity.User, Action: a, Target: t, Login: login, Source: c.source.Addr()}
			if c.s.cfg.Decide(r).Allowed {
				return true
			}
		}
	}
	return false
}
