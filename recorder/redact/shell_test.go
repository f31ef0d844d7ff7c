package redact

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// shell is a real bash on a real terminal, its output masked.
type shell struct {
	t      *testing.T
	tty    *os.File
	output chan []byte
	masker *Masker
	seen   collector
}

func startShell(t *testing.T, cols int) *shell {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatal("bash is not installed")
		}
		t.Skip("bash is not installed")
	}
	cmd := exec.Command(bash, "--norc", "--noprofile", "-i")
	cmd.Env = []string{"TERM=xterm-256color", "PS1=$ ", "HISTFILE=", "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME=" + t.TempDir()}
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: uint16(cols)})
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, tty: tty, output: make(chan []byte, 1000), masker: compile(t, Config{}).NewMasker(cols)}
	go func() { // ends when the shell does
		defer close(s.output)
		for {
			b := make([]byte, 4096)
			n, err := tty.Read(b)
			if n > 0 {
				s.output <- b[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		tty.Close()
		for range s.output {
		}
	})
	return s
}

// until reads output until the view, without escape sequences, has text n
// times, or silence when text is empty.
func (s *shell) until(text string, n int) {
	s.t.Helper()
	end := time.After(10 * time.Second)
	for {
		var flush <-chan time.Time
		if due, held := s.masker.Deadline(); held {
			flush = time.After(time.Until(due))
		}
		quiet := time.After(100 * time.Millisecond)
		if text != "" {
			if strings.Count(plainText(s.seen.view), text) >= n {
				return
			}
			quiet = nil
		}
		select {
		case b, ok := <-s.output:
			if !ok {
				s.t.Fatal("the shell ended")
			}
			s.seen.add(s.t, s.masker.Feed(b, time.Now()))
		case now := <-flush:
			s.seen.add(s.t, s.masker.Flush(now))
		case <-quiet:
			return
		case <-end:
			s.t.Fatalf("no %q in %q", text, s.seen.view)
		}
	}
}

func (s *shell) send(keys string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// typeSlowly sends one key at a time and waits for its echo to be over.
func (s *shell) typeSlowly(keys string) {
	for _, k := range keys {
		s.send(string(k))
		select {
		case b := <-s.output:
			s.seen.add(s.t, s.masker.Feed(b, time.Now()))
		case <-time.After(50 * time.Millisecond):
		}
		if due, held := s.masker.Deadline(); held && time.Until(due) < 20*time.Millisecond {
			time.Sleep(time.Until(due))
			s.seen.add(s.t, s.masker.Flush(time.Now()))
		}
	}
}

// plainText is what of b is text or a control character.
func plainText(b []byte) string {
	var lex lexer
	var out bytes.Buffer
	for i := 0; i < len(b); {
		size, _, text := lex.unit(b[i:])
		if text || b[i] == '\n' || b[i] == '\r' || b[i] == '\b' {
			out.Write(b[i : i+size])
		}
		i += size
	}
	return out.String()
}

// TestRealShell types secrets into bash at several widths, edits them, and
// recalls them. The secrets are made of characters that come nowhere else.
func TestRealShell(t *testing.T) {
	for _, cols := range []int{24, 37, 80} {
		t.Run(strconv.Itoa(cols), func(t *testing.T) {
			t.Parallel()
			typeSecrets(t, cols)
		})
	}
}

func typeSecrets(t *testing.T, cols int) {
	const id, pw = "AKIAQZXJQZXJ7834QZXJ", "QXZJ7834QXZJ"
	s := startShell(t, cols)
	s.until("$ ", 1)
	// pasted, with a long line that wraps
	s.send("echo one two three " + id + " done\r")
	s.until("done", 2)
	// typed key by key, edited with backspaces
	s.typeSlowly("echo password=" + pw + "\x7f\x7f\x7f" + "QZX fine")
	s.until("", 0)
	s.send("\r")
	s.until("fine", 2)
	// recalled, and changed at the beginning, the end and within
	for _, keys := range []string{
		"\x1b[A\x1b[A", "\x01echo \x05 end", "\x1b[D\x1b[D\x1b[D\x1b[D", "\x01\x1bd\x1bd", "\x19", "\x05 ok\r",
		"\x1b[A\x1b[A", "\x05\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D", "\x7f\x7fQJ", "\x1b[D\x1b[DZ\x7f8", "\x01env \x05.\r",
		"\x0c\x1b[A", "\x12AKIA", "\r",
	} {
		s.send(keys)
		s.until("", 0)
	}
	if !bytes.ContainsAny(s.seen.raw, "QZXJ") {
		t.Fatal("nothing was typed")
	}
	text := plainText(s.seen.view)
	if i := strings.IndexAny(text, "QZXJ78"); i >= 0 {
		t.Errorf("%d columns: part of a secret at %d of the view:\n%q\nraw %q", cols, i, text, s.seen.raw)
	}
	if got, want := cells(s.seen.view), cells(s.seen.raw); got != want {
		t.Errorf("%d columns: %d cells in the view, %d in the raw bytes", cols, got, want)
	}
}
