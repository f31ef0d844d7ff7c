// Package console holds the verbs that people run on the bastion: over SSH as
// "ssh bastion VERB", and on the machine itself as "sallyport VERB --dir DATA".
// The code and the rights are the same; only who asks differs.
package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"sallyport/policy"
	"sallyport/recorder/catalog"
	"sallyport/replay"
)

// Env is what the verbs know of whoever runs them. Fields that are nil or
// empty take the verbs that need them away.
type Env struct {
	Viewer   replay.Viewer
	Library  *replay.Library
	Out, Err io.Writer
	// Certificate issues one for the key that signed this connection, as an
	// authorized_keys line.
	Certificate func(context.Context) (string, error)
	Targets     func() []TargetView
	Expires     time.Time // of the sign-in
	CALine      string    // @cert-authority line for known_hosts
	// OpenTerminal takes the user's terminal over for the player; nil when
	// there is none.
	OpenTerminal func() (*Terminal, error)
}

// Terminal is the user's terminal in raw mode.
type Terminal struct {
	In         io.Reader
	Cols, Rows int
	Resize     <-chan [2]int // columns and rows
	Close      func()        // gives it back as it was
}

// TargetView is a target as its user sees it: the logins are those allowed.
type TargetView struct {
	Name   string            `json:"name"`
	Logins []policy.Login    `json:"logins"`
	Labels map[string]string `json:"labels,omitempty"`
}

// UsageError is a mistake in how a verb was called: exit code 2.
type UsageError struct{ Msg string }

func (e *UsageError) Error() string { return e.Msg }

// ExitCode is what a command that ended with err exits with: 0 fine, 1 the
// answer is no, 2 misuse.
func ExitCode(err error) int {
	var usage *UsageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return 2
	}
	return 1
}

// Run runs args and returns the exit code. Errors are one line on env.Err.
func Run(ctx context.Context, env Env, args []string) int {
	root := &cobra.Command{Use: "bastion", Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "ssh BASTION"}, Short: "What you can do here, each as: ssh BASTION VERB", SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &UsageError{err.Error()} })
	root.AddCommand(Commands(env)...)
	root.SetArgs(args)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetIn(strings.NewReader(""))
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if _, _, findErr := root.Find(args); findErr != nil {
		err = &UsageError{fmt.Sprintf("unknown verb %q; try: help", clip(args[0], 40))}
	}
	fmt.Fprintln(env.Err, Printable(err.Error()))
	return ExitCode(err)
}

// Commands returns the verbs for env.
func Commands(env Env) []*cobra.Command {
	var cmds []*cobra.Command
	if env.Library != nil {
		cmds = append(cmds, lsCommand(env), showCommand(env), playCommand(env), exportCommand(env))
	}
	if env.Certificate != nil {
		cmds = append(cmds, certCommand(env))
	}
	if env.Targets != nil {
		cmds = append(cmds, targetsCommand(env), statusCommand(env))
	}
	if env.CALine != "" {
		cmds = append(cmds, &cobra.Command{Use: "ca", Short: "Print the @cert-authority line for known_hosts", Args: noArgs,
			Run: func(*cobra.Command, []string) { fmt.Fprintln(env.Out, env.CALine) }})
	}
	return cmds
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &UsageError{fmt.Sprintf("%s takes no argument, found %q", cmd.Name(), args[0])}
	}
	return nil
}

func oneID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return &UsageError{cmd.Name() + " takes one recording's ID; ls lists them"}
	}
	return nil
}

func lsCommand(env Env) *cobra.Command {
	var f catalog.Filter
	var since, until, state string
	var asJSON bool
	cmd := &cobra.Command{Use: "ls", Short: "List recordings, newest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if f.From, err = parseWhen("since", since, time.Now()); err != nil {
				return err
			}
			if f.To, err = parseWhen("until", until, time.Now()); err != nil {
				return err
			}
			switch f.State = policy.RecordingState(state); f.State {
			case "", policy.RecordingOpen, policy.RecordingComplete, policy.RecordingInterrupted:
			default:
				return &UsageError{fmt.Sprintf("--state is open, complete or interrupted, not %q", state)}
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
			return writeTable(env.Out, list)
		}}
	fl := cmd.Flags()
	fl.StringVar(&f.User, "user", "", "part of the user's name, address or subject")
	fl.StringVar(&f.Target, "target", "", "part of the target's name")
	fl.StringVar(&f.Text, "text", "", "part of user, target, login, command or id")
	fl.StringVar(&since, "since", "", "started then or later: 90m, 24h or 7d ago, or 2006-01-02[T15:04] (UTC)")
	fl.StringVar(&until, "until", "", "started before then, written likewise")
	fl.StringVar(&state, "state", "", "open, complete or interrupted")
	fl.IntVar(&f.Limit, "limit", 50, "at most so many; 0 for all")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// parseWhen reads a time: so long ago, a day or a minute of UTC.
func parseWhen(flag, text string, now time.Time) (time.Time, error) {
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
	return time.Time{}, &UsageError{fmt.Sprintf("--%s: want 90m, 24h or 7d for so long ago, or a time such as 2006-01-02T15:04, found %q", flag, text)}
}

func writeTable(out io.Writer, list []policy.Recording) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "No recordings that you may replay.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTARTED (UTC)\tUSER\tTARGET\tWHAT\tTIME\tEND")
	for _, r := range list {
		s := r.Session
		what := string(s.Action)
		if s.Command != "" {
			what = clip(s.Command, 30)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s@%s\t%s\t%s\t%s\n", s.ID, s.Start.UTC().Format("2006-01-02 15:04"), Printable(clip(s.User.String(), 30)),
			Printable(string(s.Login)), Printable(s.Target), Printable(what), r.Summary.Duration.Round(time.Second), endText(r.Summary))
	}
	return w.Flush()
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

func exportCommand(env Env) *cobra.Command {
	var format, file string
	var raw bool
	cmd := &cobra.Command{Use: "export ID", Short: "Write a recording to standard output", Args: oneID,
		Long: `Write a recording to standard output. --format v2 and v3 are asciicast; raw is
the output's bytes; txt is the output without escape sequences. Secrets stay
masked unless --raw is given, which needs a right of its own.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := replay.ParseFormat(format)
			if err != nil {
				return &UsageError{err.Error()}
			}
			id, err := findID(cmd.Context(), env, args[0])
			if err != nil {
				return err
			}
			view := replay.Masked
			if raw {
				view = replay.Raw
			}
			s, err := env.Library.OpenExport(cmd.Context(), env.Viewer, id, view)
			if err != nil {
				return err
			}
			defer s.Close()
			out, done := env.Out, func() error { return nil }
			if file != "" {
				fh, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
				if err != nil {
					return err
				}
				out, done = fh, fh.Close
			}
			report, err := replay.Export(out, s, f)
			if err = errors.Join(err, done()); err != nil {
				return err
			}
			if report.Replaced > 0 {
				fmt.Fprintf(env.Err, "%d bytes that are not UTF-8 were replaced; --format raw keeps them\n", report.Replaced)
			}
			if report.Truncated {
				fmt.Fprintln(env.Err, "the recording is cut off; all whole events are here")
			}
			return nil
		}}
	cmd.Flags().StringVar(&format, "format", "v3", "v2, v3, raw or txt")
	cmd.Flags().BoolVar(&raw, "raw", false, "show what redaction hid, and what was typed")
	if env.Viewer.Local { // a remote user names no file of the bastion
		cmd.Flags().StringVarP(&file, "output", "o", "", "write to a new `FILE`")
	}
	return cmd
}

func certCommand(env Env) *cobra.Command {
	return &cobra.Command{Use: "cert", Short: "Print a certificate for the key of this connection", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			line, err := env.Certificate(cmd.Context())
			if err == nil {
				_, err = fmt.Fprintln(env.Out, line)
			}
			return err
		}}
}

func targetsCommand(env Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "targets", Short: "List what you may reach", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			list := append([]TargetView{}, env.Targets()...)
			if asJSON {
				return writeJSON(env.Out, list)
			}
			if len(list) == 0 {
				fmt.Fprintln(env.Out, "There is no target that you may reach.")
			}
			for _, t := range list {
				for _, l := range t.Logins {
					fmt.Fprintf(env.Out, "%s@%s\n", Printable(string(l)), Printable(t.Name))
				}
			}
			return nil
		}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func statusCommand(env Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "status", Short: "Say who you are here, and until when", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return writeJSON(env.Out, map[string]any{"user": env.Viewer.User, "expires": env.Expires})
			}
			_, err := fmt.Fprintf(env.Out, "You are %s, until %s.\n", Printable(env.Viewer.User.String()), env.Expires.UTC().Format("2006-01-02 15:04 UTC"))
			return err
		}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// Printable replaces what a terminal would not show as a plain character:
// control characters, and those that turn or hide text.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
