package bastion

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sallyport/bastion/proxy"
	"sallyport/policy"
)

// runTarget runs st on a target: decide, record, connect, splice. An error
// means that the user has been told nothing yet.
func (s *session) runTarget(where userName, st start) error {
	var about policy.Session
	var target policy.Target
	var d policy.Decision
	var rec proxy.Recording
	var err, openErr error
	apart(func() {
		if about, target, d, err = s.permit(where, st); err == nil {
			rec, openErr = s.c.s.cfg.OpenRecording(s.ctx, about)
		}
	})
	if err != nil {
		return err
	}
	if err := openErr; err != nil {
		s.c.log.Error("a recording could not be opened", "session", about.ID, "error", err)
		s.c.deny(entryOf(about), "The recording could not be opened.", nil)
		if _, ok := userMessage(err); ok {
			return err
		}
		return refusef("The session is not started because it cannot be recorded (session %s).", about.ID)
	}
	s.channel.Now(seenRecorded)
	if err := s.c.enter(startEntry(about)); err != nil {
		rec.Close(s.unreached("the start of the session could not be entered in the ledger", d.Obligations))
		return refusal("The session is not started because it cannot be entered in the ledger.")
	}
	at, err := s.reach(target, where.Login)
	if err != nil {
		end := s.unreached("the target was not reached: "+printable(err.Error(), 1000), d.Obligations)
		sum, closeErr := rec.Close(end)
		s.ended(about, sum, end, closeErr)
		return err
	}
	var asked *probe
	var await <-chan struct{}
	if d.Obligations.Context {
		asked = at.sh.ask(s.c)
		await = asked.done
	}
	ctx := s.c.ctx
	if s.c.s.cfg.Live != nil {
		live, over := s.c.s.cfg.Live(ctx, about.ID)
		defer over()
		ctx = live
	}
	sum, end, err := proxy.Run(ctx, proxy.Options{
		Client:     proxy.Side{Channel: s.ch, Requests: s.reqs},
		Target:     proxy.Side{Channel: at.ch, Requests: at.reqs},
		Recording:  rec,
		Start:      s.requests(st),
		Session:    about.ID,
		MaxSession: d.Obligations.MaxSession, IdleTimeout: d.Obligations.IdleTimeout,
		Seen: s.count.took,
		Complete: func(e *policy.End) {
			e.Address, e.HostKey = at.sh.up.Address(), at.sh.up.HostKey()
			e.Channels, e.Host = s.coverage(at), asked.result()
		},
		Await: await,
		Log:   s.c.log.With("session", about.ID),
	})
	s.ended(about, sum, end, err)
	return nil
}

// unreached is the end of a session that never was one.
func (s *session) unreached(reason string, o policy.Obligations) policy.End {
	end := policy.End{Reason: reason, Channels: s.coverage(nil)}
	if o.Context {
		end.Host = &policy.HostContext{Error: "the target was not reached"}
	}
	return end
}

// reach opens a session on the target, over the connection that this client
// already has to it, if any.
func (s *session) reach(t policy.Target, login policy.Login) (*reached, error) {
	at, err := s.c.ups.session(s.ctx, t, login)
	if err == nil {
		return at, nil
	}
	if s.ctx.Err() != nil { // not the target's fault
		return nil, refusal(causeOf(s.ctx).Error())
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
	return nil, err
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
