package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// An error may quote a hostile server: it must not write to the terminal.
func TestErrorsArePrintable(t *testing.T) {
	var out strings.Builder
	cmd := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error { return errors.New("refused: \x1b]0;title\x07\u009b2J") }}
	cmd.SetErr(&out)
	cmd.SetArgs(nil)
	if code := execute(t.Context(), cmd); code != 1 || out.String() != "sallyport: refused: ]0;title2J\n" {
		t.Errorf("%d %q", code, out.String())
	}
}
