package main

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

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

// Help is read in a terminal of 80 columns.
func TestHelpFits(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		var out strings.Builder
		cmd.SetOut(&out)
		if err := cmd.Help(); err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && !strings.Contains(line, "[flags]") {
				t.Errorf("%s: %d columns: %s", cmd.CommandPath(), n, line)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(rootCommand())
}
