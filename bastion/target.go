package bastion

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
	"sallyport/policy"
)

// runTarget runs st on a target: decide, record, connect, splice. An error
// means that the user has been told nothing yet.
func (s *session) runTarget(where userName, st start) error {
	target, d, err := s.permit(where, st)
	if err != nil {
		return err
	}
	about := s.describe(target, where.Login, st, d)
	rec, err := s.c.s.cfg.OpenRecording(s.ctx, about)
	if err != nil {
		s.c.log.Error("a recording could not be opened", "session", about.ID, "error", err)
		s.c.deny(entryOf(about), "The recording could not be opened.", nil)
		if _, ok := userMessage(err); ok {
			return err
		}
		return refusef("The session is not started because it cannot be recorded (session %s).", about.ID)
	}
	if err := s.c.enter(startEntry(about)); err != nil {
		rec.Close(policy.End{Reason: "the start of the session could not be entered in the ledger"})
		return refusal("The session is not started because it cannot be entered in the ledger.")
	}
	channel, requests, err := s.reach(target, where.Login)
	if err != nil {
		end := policy.End{Reason: "the target was not reached: " + printable(err.Error(), 1000)}
		sum, closeErr := rec.Close(end)
		s.ended(about, sum, end, closeErr)
		return err
	}
	sum, end, err := proxy.Run(s.c.ctx, proxy.Options{
		Client:     proxy.Side{Channel: s.ch, Requests: s.reqs},
		Target:     proxy.Side{Channel: channel, Requests: requests},
		Recording:  rec,
		Start:      s.requests(st),
		Session:    about.ID,
		MaxSession: d.Obligations.MaxSession, IdleTimeout: d.Obligations.IdleTimeout,
		Log: s.c.log.With("session", about.ID),
	})
	s.ended(about, sum, end, err)
	return nil
}

// permit decides whether the session may be, and enters the decision.
func (s *session) permit(where userName, st start) (policy.Target, policy.Decision, error) {
	c := s.c
	e := policy.Entry{Target: printable(where.Target, maxTarget), Login: where.Login, Detail: map[string]string{"action": string(st.action)}}
	if st.command != "" {
		e.Detail["command"] = printable(st.command, 1000)
	}
	var none policy.Decision
	target, ok := c.s.cfg.Lookup(where.Target)
	if !ok {
		return target, none, c.deny(e, refusal(fmt.Sprintf("There is no target named %q here.", e.Target)), nil)
	}
	e.Target = target.Name
	if !target.Allows(where.Login) {
		return target, none, c.deny(e, refusal(fmt.Sprintf("The login %q is not among those of %s.", where.Login, target.Name)), nil)
	}
	d := c.s.cfg.Decide(policy.Request{User: c.grant.identity.User, Action: st.action, Target: target, Login: where.Login, Source: c.source.Addr()})
	if !d.Allowed {
		e.Detail["decision"] = d.Reason
		return target, none, c.deny(e, refusal(fmt.Sprintf("You are not allowed to use %s on %s as %s.", st.action, target.Name, where.Login)), d.Policies)
	}
	e.Kind = policy.EntryPermit
	addPolicies(e.Detail, d.Policies)
	if err := c.enter(e); err != nil {
		return target, none, refusal("The session is not started because it cannot be entered in the ledger.")
	}
	return target, d, nil
}

// describe is what the recording says about the session.
func (s *session) describe(t policy.Target, login policy.Login, st start, d policy.Decision) policy.Session {
	now := s.c.s.now()
	id := s.c.grant.identity
	about := policy.Session{
		ID: policy.NewSessionID(now), Connection: s.c.id, User: id.User, Source: s.c.source.String(),
		Client: printable(string(s.c.sconn.ClientVersion()), 255), Key: id.Key, Serial: id.Serial,
		Target: t.Name, Login: login, Action: st.action, Command: st.command,
		Start: now, RedactStreams: d.Obligations.Redact,
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
	return about
}

// reach opens a session on the target, over the connection that this client
// already has to it, if any.
func (s *session) reach(t policy.Target, login policy.Login) (ssh.Channel, <-chan *ssh.Request, error) {
	ch, reqs, err := s.c.ups.session(s.ctx, t, login)
	if err == nil {
		return ch, reqs, nil
	}
	if s.ctx.Err() != nil { // not the target's fault
		return nil, nil, refusal(causeOf(s.ctx).Error())
	}
	s.c.log.Warn("a target was not reached", "target", t.Name, "login", login, "error", err)
	var m interface{ HostKeyMismatch() bool }
	if errors.As(err, &m) && m.HostKeyMismatch() {
		text, _ := userMessage(err)
		s.c.enter(policy.Entry{Kind: policy.EntryHostKey, Target: t.Name, Login: login, Detail: map[string]string{"reason": text}})
	}
	if _, ok := userMessage(err); !ok {
		err = fmt.Errorf("%w (%v)", refusef("%s cannot be reached from the bastion; its log has the reason under connection %s.", t.Name, s.c.id), err)
	}
	return nil, nil, err
}

// ended enters how a session ended.
func (s *session) ended(about policy.Session, sum policy.Summary, end policy.End, err error) {
	e := entryOf(about)
	e.Kind = policy.EntrySessionEnd
	e.Detail = map[string]string{
		"state": string(sum.State), "duration": sum.Duration.Round(time.Millisecond).String(),
		"output": strconv.FormatInt(sum.OutputBytes, 10), "stderr": strconv.FormatInt(sum.StderrBytes, 10),
		"input": strconv.FormatInt(sum.InputBytes, 10), "masks": strconv.FormatInt(sum.Masks, 10),
	}
	for k, v := range map[string]string{"reason": end.Reason, "exit_signal": printable(end.ExitSignal, 64), "sha256": sum.SHA256} {
		if v != "" {
			e.Detail[k] = v
		}
	}
	if end.ExitStatus != nil {
		e.Detail["exit_status"] = strconv.FormatUint(uint64(*end.ExitStatus), 10)
	}
	if err != nil {
		e.Detail["error"] = printable(err.Error(), 500)
		s.c.log.Error("a recording is not complete", "session", about.ID, "error", err)
	}
	s.c.enter(e)
}

func startEntry(about policy.Session) policy.Entry {
	e := entryOf(about)
	e.Kind = policy.EntrySessionStart
	e.Detail = map[string]string{"action": string(about.Action), "client": about.Client, "key": string(about.Key)}
	if about.Command != "" {
		e.Detail["command"] = printable(about.Command, 1000)
	}
	if about.TTY {
		e.Detail["terminal"] = fmt.Sprintf("%s %dx%d", about.Term, about.Cols, about.Rows)
	}
	return e
}

func entryOf(about policy.Session) policy.Entry {
	return policy.Entry{Session: about.ID, Target: about.Target, Login: about.Login}
}

func addPolicies(detail map[string]string, policies []string) {
	if len(policies) > 0 {
		detail["policies"] = strings.Join(policies, " ")
	}
}

// causeOf prefers why ctx ended over the bare fact.
func causeOf(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return ctx.Err()
}
