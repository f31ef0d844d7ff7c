package console

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"sallyport/policy"
)

// Keeping changes what becomes of recordings. Its functions judge the rights of
// whoever runs the verbs, and enter what they did in the ledger. A sentence for
// the user is in the method UserMessage() string of an error, if it has one.
type Keeping struct {
	Hold, Unhold keepFunc
	// Delete destroys the keys of a recording, and with them the recording.
	Delete keepFunc
}

type keepFunc = func(ctx context.Context, id policy.SessionID, reason string) error

// maxReason is the longest reason for the ledger, in bytes.
const maxReason = 500

func keepCommands(env Env) []*cobra.Command {
	return []*cobra.Command{
		keepCommand(env, "hold", "Keep a recording, whatever its retention says",
			`Keep a recording, whatever its retention says, until unhold. Nobody can delete
it meanwhile. It takes the right to administer.`, "is held",
			func(k *Keeping) keepFunc { return k.Hold }),
		keepCommand(env, "unhold", "Let a recording that is held go its way",
			`Lift the hold of a recording: it is kept for as long as its retention says, and
can be deleted again. It takes the right to administer.`, "is not held any more",
			func(k *Keeping) keepFunc { return k.Unhold }),
		keepCommand(env, "delete", "Delete a recording for good",
			`Delete a recording for good: its keys are destroyed, so that nobody can open it
or any copy of it. The ledger keeps that it was there, who deleted it and why.
It takes the right to administer, the whole ID, and a recording that is not
held.`, "is deleted",
			func(k *Keeping) keepFunc { return k.Delete }),
	}
}

func keepCommand(env Env, verb, short, long, done string, do func(*Keeping) keepFunc) *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: verb + " ID --reason TEXT", Short: short, Long: long, Args: oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkReason(reason); err != nil {
				return err
			}
			id, err := keepID(cmd.Context(), env, verb, args[0])
			if err != nil {
				return err
			}
			if err := do(env.Keeping)(cmd.Context(), id, reason); err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Out, "%s %s.\n", id, done)
			return err
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why: a `TEXT` for the ledger")
	return cmd
}

func checkReason(reason string) error {
	switch {
	case strings.TrimSpace(reason) == "":
		return &UsageError{"--reason is needed: the ledger keeps why"}
	case len(reason) > maxReason:
		return &UsageError{fmt.Sprintf("--reason is at most %d bytes", maxReason)}
	case strings.ContainsFunc(reason, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }):
		return &UsageError{"--reason is one line of plain text"}
	}
	return nil
}

// keepID finds the recording that a verb is about. What cannot be undone takes
// the whole ID.
func keepID(ctx context.Context, env Env, verb, text string) (policy.SessionID, error) {
	if id, err := policy.ParseSessionID(text); err == nil || verb != "delete" {
		if err == nil {
			return id, nil
		}
		return findID(ctx, env, text)
	}
	return "", &UsageError{"delete takes the whole ID, since it cannot be undone; ls --wide shows it"}
}
