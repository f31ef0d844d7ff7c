package main

import (
	"context"
	"errors"
	"fmt"

	"sallyport/bastion"
	"sallyport/bastion/console"
	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/catalog"
	"sallyport/replay"
)

// keeperAct is what a Keeper does to a recording.
type keeperAct = func(ctx context.Context, id, reason, by string) error

// known refuses what is about no recording that the index or the archive has: a
// mistyped id must not pass for one that is held.
func known(k *archive.Keeper, cat *catalog.Catalog, do keeperAct) keeperAct {
	return func(ctx context.Context, id, reason, by string) error {
		_, err := cat.Recording(ctx, policy.SessionID(id))
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
		found := err == nil
		for _, err := range k.Store.List(ctx, archive.RecordingPrefix(id)) {
			if err != nil {
				return err
			}
			found = true
			break
		}
		if !found {
			return replay.ErrNotFound
		}
		return do(ctx, id, reason, by)
	}
}

// localKeeping are the verbs of somebody on the machine itself.
func localKeeping(k *archive.Keeper, cat *catalog.Catalog, v replay.Viewer) console.Keeping {
	with := func(act keeperAct) func(context.Context, policy.SessionID, string) error {
		do := known(k, cat, act)
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
	by := fmt.Sprintf("%s (%s)", user, user.Subject)
	with := func(verb string, act keeperAct) func(context.Context, policy.SessionID, string) error {
		do := known(n.keeper, n.catalog, act)
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
			return do(ctx, string(id), reason, by)
		}
	}
	return &console.Keeping{Hold: with("hold", n.keeper.Hold), Unhold: with("unhold", n.keeper.Unhold), Delete: with("delete", n.keeper.Shred)}
}
