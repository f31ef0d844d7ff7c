package console

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sallyport/replay"
	"sallyport/replay/term"
)

// playOptions are the flags of play.
type playOptions struct {
	raw        bool
	speed      float64
	idle, from time.Duration
}

func playCommand(env Env) *cobra.Command {
	var o playOptions
	what := "ID"
	if env.Viewer.Local {
		what = "ID or FILE"
	}
	cmd := &cobra.Command{Use: "play " + what, Short: "Play a recording in this terminal", Args: oneID,
		Long: `Play a recording in this terminal. Space pauses, the arrow keys seek and change
the speed, ? shows all keys, q quits. Over SSH, ask for a terminal: ssh -t.
Without a terminal it plays straight through. Secrets stay masked unless --raw
is given, which needs a right of its own.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openForPlay(cmd.Context(), env, args[0], o.view())
			if err != nil {
				return err
			}
			defer s.Close()
			return play(cmd.Context(), env, s, o)
		}}
	f := cmd.Flags()
	f.BoolVar(&o.raw, "raw", false, "show what redaction hid")
	f.Float64Var(&o.speed, "speed", 1, "how many times as fast")
	f.DurationVar(&o.idle, "idle", 2*time.Second, "longest pause; 0 keeps all")
	f.DurationVar(&o.from, "from", 0, "begin at this time, for example 1m30s")
	return cmd
}

func (o playOptions) view() replay.View {
	if o.raw {
		return replay.Raw
	}
	return replay.Masked
}

// openForPlay opens a recording by its id, or, for somebody on the machine
// itself, a file.
func openForPlay(ctx context.Context, env Env, name string, view replay.View) (*replay.Stream, error) {
	if env.Viewer.Local {
		if _, err := os.Stat(name); err == nil {
			return replay.OpenFile(name, view)
		}
	}
	id, err := findID(ctx, env, name)
	if err != nil {
		return nil, err
	}
	return env.Library.Open(ctx, env.Viewer, id, view)
}

func play(ctx context.Context, env Env, s *replay.Stream, o playOptions) error {
	if o.speed <= 0 || o.speed > 1000 || o.idle < 0 || o.from < 0 {
		return &UsageError{"--speed is above 0 and up to 1000; --idle and --from are not negative"}
	}
	opts := term.Options{Out: env.Out, Speed: o.speed, IdleLimit: o.idle, From: o.from, Length: s.Recording().Summary.Duration,
		// A file from elsewhere does not say so, but comes from a terminal.
		LineFeeds: len(s.Header().Extra) > 0 && !s.Recording().Session.TTY}
	if env.OpenTerminal != nil {
		t, err := env.OpenTerminal()
		if err != nil {
			return err
		}
		defer t.Close()
		opts.In, opts.Cols, opts.Rows, opts.Resize = t.In, t.Cols, t.Rows, t.Resize
	}
	err := term.Play(ctx, s, opts)
	if errors.Is(err, replay.ErrTruncated) {
		fmt.Fprintln(env.Err, "the recording is cut off here")
		return nil
	}
	return err
}
