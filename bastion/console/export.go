package console

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sallyport/policy"
	"sallyport/replay"
)

func exportCommand(env Env) *cobra.Command {
	var format, file string
	var raw, bundle bool
	cmd := &cobra.Command{Use: "export ID", Short: "Write a recording to standard output", Args: oneID,
		Long: `Write a recording to standard output. --format v2 and v3 are asciicast; raw is
the output's bytes; txt is the output without escape sequences. Secrets stay
masked unless --raw is given, which needs a right of its own.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := replay.ParseFormat(format)
			if err != nil {
				return &UsageError{"--format: " + err.Error()}
			}
			if bundle && cmd.Flags().Changed("format") {
				return &UsageError{"--bundle has no --format"}
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
			if bundle {
				return errors.Join(env.Bundle(cmd.Context(), out, s), done())
			}
			report, err := replay.Export(out, s, f)
			if err = errors.Join(err, done()); err != nil {
				return err
			}
			remark(env.Err, report, s.Recording().Summary.State)
			return nil
		}}
	cmd.Flags().StringVar(&format, "format", "v3", "v2, v3, raw or txt")
	cmd.Flags().BoolVar(&raw, "raw", false, "show what redaction hid, and what was typed")
	if env.Bundle != nil {
		cmd.Long += "\n\n" + aboutBundles
		cmd.Flags().BoolVar(&bundle, "bundle", false, "write a zip that proves the recording to others")
	}
	if env.Viewer.Local { // a remote user names no file of the bastion
		cmd.Flags().StringVarP(&file, "output", "o", "", "write to a new `FILE`")
	}
	return cmd
}

const aboutBundles = `--bundle writes a zip for somebody without an account: the recording, the proof
of it from the ledger, and a page that plays it. It holds the keys of this one
recording, in this view.`

// remark says what a copy lacks, one line each.
func remark(out io.Writer, r replay.Report, state policy.RecordingState) {
	if r.Replaced > 0 {
		fmt.Fprintf(out, "%d bytes that are not UTF-8 were replaced; --format raw keeps them\n", r.Replaced)
	}
	switch {
	case state == policy.RecordingOpen:
		fmt.Fprintln(out, "the session is still open; this is its beginning")
	case r.Truncated:
		fmt.Fprintln(out, "the recording is cut off; all whole events are here")
	case state == policy.RecordingInterrupted:
		fmt.Fprintln(out, "the recording was interrupted; this is all there is")
	}
}
