package main

import (
	"context"
	"errors"
	"fmt"

	"sallyport/bastion"
	"sallyport/bastion/console"
	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/replay"
)

// localKeeping are the verbs of somebody on the machine itself.
func localKeeping(k *archive.Keeper, v replay.Viewer) console.Keeping {
	with := func(do func(ctx context.Context, id, reason, by string) error) func(context.Context, policy.SessionID, string) error {
		return func(ctx context.Context, id policy.SessionID, reason string) error {
			return do(ctx, string(id), reason, v.Via)
		}
	}
	return console.Keeping{Hold: with(k.Hold), Unhold: with(k.Unhold), Delete: with(k.Shred)}
}

// keepingFor are the verbs of a user of the bastion, who needs the right to
// administer it.
func (n *node) keepingFor(c bastion.ConsoleCall) *console.Keeping {
	user := c.Identity.User
	with := func(verb string, do func(ctx context.Context, id, reason, by string) error) func(context.Context, policy.SessionID, string) error {
		return func(ctx context.Context, id policy.SessionID, reason string) error {
			d := n.decide(policy.Request{User: user, Action: policy.ActionAdminister, Source: c.Source.Addr()})
			if !d.Allowed {
				e := policy.Entry{Kind: policy.EntryDeny, User: &user, Session: id, Source: c.Source.String(),
					Detail: map[string]string{"action": string(policy.ActionAdminister), "verb": verb, "decision": d.Reason}}
				if err := n.audit(ctx, e); err != nil {
					return err
				}
				return &userError{fmt.Sprintf("You are not allowed to %s recordings; it takes the right to administer.", verb), errors.New(d.Reason)}
			}
			return do(ctx, string(id), reason, user.String())
		}
	}
	return &console.Keeping{Hold: with("hold", n.keeper.Hold), Unhold: with("unhold", n.keeper.Unhold), Delete: with("delete", n.keeper.Shred)}
}
