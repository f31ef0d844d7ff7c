package console

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/policy"
	"sallyport/recorder/catalog"
)

// idLength is the length of a whole id.
const idLength = 26

// findID turns what somebody typed into an id: all of it, or as much of its
// beginning or end as one recording has that the viewer may replay.
func findID(ctx context.Context, env Env, text string) (policy.SessionID, error) {
	if id, err := policy.ParseSessionID(text); err == nil {
		return id, nil
	}
	if len(text) < 4 || len(text) >= idLength || strings.Trim(text, "0123456789abcdefghjkmnpqrstvwxyz") != "" {
		return "", &UsageError{fmt.Sprintf("%q is no recording's ID; ls lists them, and 4 characters of the beginning or end are enough if no other has them", clip(text, 40))}
	}
	list, err := env.Library.List(ctx, env.Viewer, catalog.Filter{Text: text})
	if err != nil {
		return "", err
	}
	var found []policy.SessionID
	for _, r := range list {
		if id := string(r.Session.ID); strings.HasPrefix(id, text) || strings.HasSuffix(id, text) {
			found = append(found, r.Session.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no recording that you may replay has an ID with %q at its beginning or end", text)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%d recordings have an ID with %q at the beginning or end, for example %s and %s", len(found), text, found[0], found[1])
}

func showCommand(env Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "show ID", Short: "Describe one recording", Args: oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := findID(cmd.Context(), env, args[0])
			if err != nil {
				return err
			}
			r, err := env.Library.Show(cmd.Context(), env.Viewer, id)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(env.Out, r)
			}
			return describe(env.Out, r)
		}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
