package cast

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestAsciinema holds what is written as version 2 to what Debian's asciinema
// makes of it: the output, byte by byte.
func TestAsciinema(t *testing.T) {
	program, err := exec.LookPath("asciinema")
	if err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("asciinema is not installed (Debian package asciinema)")
	}
	want := strings.Builder{}
	var events []Event
	for i, data := range []string{
		"hello \x1b[1mworld\x1b[0m\r\n", "naïve — 漢字 🎉", "\u0085\u009b\u2028\u2029\ufeff\u00a0\x7f", "\x00\x01\x1f\"\\/\b\f\t\v",
		"", "\uFFFD", strings.Repeat("x", 100_000), "</script>\n",
	} {
		want.WriteString(data)
		at := time.Duration(i) * 1234567 * time.Microsecond
		events = append(events, Event{at, CodeOutput, data}, Event{at, CodeInput, "typed"}, Event{at, CodeResize, "132x50"},
			Event{at, CodeMarker, "here"})
	}
	for _, h := range []Header{
		{Version: 2, Cols: 80, Rows: 24, Term: "xterm-256color", Timestamp: 1700000000, Title: "\u2028 <t>", Command: "a\nb", IdleTimeLimit: 2},
		{Version: 2},
	} {
		file := filepath.Join(t.TempDir(), "a.cast")
		if err := os.WriteFile(file, write(t, h, events), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := asciinemaCat(t, program, file); got != want.String() {
			t.Errorf("asciinema shows %.300q, want %.300q", got, want.String())
		}
	}
}

// asciinemaCat returns the output of a recording. The program wants a
// terminal, though it only writes to standard output.
func asciinemaCat(t *testing.T, program, file string) string {
	t.Helper()
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ptmx.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "cat", file)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+t.TempDir())
	err = cmd.Run()
	tty.Close()
	if err != nil || errs.Len() > 0 {
		t.Fatalf("asciinema cat: %v: %s", err, errs.String())
	}
	return out.String()
}
