package console

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	"sallyport/policy"
	"sallyport/recorder/catalog"
)

func lsCommand(env Env) *cobra.Command {
	var f catalog.Filter
	var since, until, state string
	var asJSON, wide bool
	cmd := &cobra.Command{Use: "ls", Short: "List recordings, newest first", Args: noArgs,
		Long: `List the recordings that you may replay, newest first. Other verbs take the ID
that is shown, or any beginning or end of it that no other recording has.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if f.From, err = ParseWhen("since", since, time.Now()); err != nil {
				return err
			}
			if f.To, err = ParseWhen("until", until, time.Now()); err != nil {
				return err
			}
			switch f.State = policy.RecordingState(state); f.State {
			case "", policy.RecordingOpen, policy.RecordingComplete, policy.RecordingInterrupted, policy.RecordingExpired:
			default:
				return &UsageError{fmt.Sprintf("--state is open, complete, interrupted or expired, not %q", clip(state, 40))}
			}
			if f.Limit < 0 {
				return &UsageError{"--limit is not negative"}
			}
			list, err := env.Library.List(cmd.Context(), env.Viewer, f)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(env.Out, append([]policy.Recording{}, list...))
			}
			return writeTable(env.Out, list, wide)
		}}
	fl := cmd.Flags()
	fl.StringVar(&f.User, "user", "", "part of the user's `NAME`, address or subject")
	fl.StringVar(&f.Target, "target", "", "part of the target's `NAME`")
	fl.StringVar(&f.Text, "text", "", "part of user, target, login, command or id")
	fl.StringVar(&since, "since", "", "started then or later: `WHEN` is 90m, 24h or 7d ago,\nor 2006-01-02 or 2006-01-02T15:04 in UTC")
	fl.StringVar(&until, "until", "", "started before `WHEN`")
	fl.StringVar(&state, "state", "", "open, complete, interrupted or expired")
	fl.IntVar(&f.Limit, "limit", 50, "at most `N`; 0 for all")
	fl.BoolVar(&wide, "wide", false, "whole IDs, names and commands")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// ParseWhen reads the time that a flag names: so long before now (90m, 24h, 7d),
// or a day or a minute of UTC. An empty text is the zero time; the error is a
// *UsageError.
func ParseWhen(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100_000 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02T15:04", "2006-01-02 15:04", time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, &UsageError{fmt.Sprintf("--%s: want 90m, 24h or 7d for so long ago, or a time such as 2006-01-02T15:04, found %q", flag, clip(text, 40))}
}

// tableWidth is how wide a table may be, in cells.
const tableWidth = 80

// writeTable prints list for people, 80 cells wide where the fixed columns
// leave room; wide shortens nothing.
func writeTable(out io.Writer, list []policy.Recording, wide bool) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "No recordings that you may replay.")
		return err
	}
	rows := [][]string{{"ID", "STARTED (UTC)", "USER", "TARGET", "WHAT", "TIME", "END"}}
	ids := shortIDs(list)
	for i, r := range list {
		s, id := r.Session, ids[i]
		what := clip(cmp.Or(s.Command, string(s.Action)), tableWidth)
		if wide {
			id, what = string(s.ID), cmp.Or(s.Command, string(s.Action))
		}
		length := ""
		if r.Summary.State != policy.RecordingOpen {
			length = r.Summary.Duration.Round(time.Second).String()
		}
		who, where := s.User.String(), string(s.Login)+"@"+s.Target
		if r.Summary.State == policy.RecordingExpired { // whose it was is gone with its keys
			who, where, length = "-", "-", "-"
		}
		rows = append(rows, []string{id, s.Start.UTC().Format("2006-01-02 15:04"), who, where, cmp.Or(what, "-"), length, endText(r.Summary)})
	}
	if wide {
		return writeRows(out, rows, 0)
	}
	return writeRows(out, rows, tableWidth, 2, 3, 4)
}

// shortIDs returns as much of the end of each id as tells it from the others
// in list, at least 8 characters: the end is random.
func shortIDs(list []policy.Recording) []string {
	for n := 8; ; n++ {
		ids, seen := make([]string, len(list)), map[string]bool{}
		for i, r := range list {
			id := string(r.Session.ID)
			ids[i] = id[max(0, len(id)-n):]
			seen[ids[i]] = true
		}
		if len(seen) == len(list) || n >= idLength {
			return ids
		}
	}
}

// writeRows prints rows in columns. Those in elastic are shortened until a line
// is at most width cells wide, the widest first, but to no fewer than 8 cells;
// a width of 0 shortens nothing.
func writeRows(out io.Writer, rows [][]string, width int, elastic ...int) error {
	cols := make([]int, len(rows[0]))
	total := 2 * (len(cols) - 1)
	for c := range cols {
		for _, row := range rows {
			row[c] = Printable(row[c])
			cols[c] = max(cols[c], ansi.StringWidth(row[c]))
		}
		total += cols[c]
	}
	for width > 0 && total > width {
		widest := slices.MaxFunc(elastic, func(a, b int) int { return cmp.Compare(cols[a], cols[b]) })
		if cols[widest] <= 8 {
			break
		}
		cols[widest]--
		total--
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for c, text := range row {
			text = ansi.Truncate(text, cols[c], "…")
			line.WriteString(text + strings.Repeat(" ", cols[c]-ansi.StringWidth(text)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func endText(s policy.Summary) string {
	switch {
	case s.State != policy.RecordingComplete:
		return string(s.State)
	case s.End.ExitSignal != "":
		return "signal " + Printable(s.End.ExitSignal)
	case s.End.ExitStatus != nil:
		return fmt.Sprint("exit ", *s.End.ExitStatus)
	}
	return "ended"
}
