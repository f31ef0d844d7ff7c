package term_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait of the tests in a real terminal.
const patience = 20 * time.Second

// screen is a terminal of 80 columns and 24 rows with a shell in it.
type screen struct {
	t      *testing.T
	socket string
}

func newScreen(t *testing.T) *screen {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("tmux is not installed")
	}
	dir, err := os.MkdirTemp("", "sp") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t, filepath.Join(dir, "s")}
	t.Cleanup(func() {
		_ = exec.Command("tmux", "-S", s.socket, "kill-server").Run()
		os.RemoveAll(dir)
	})
	s.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "env -u ENV PS1='ready> ' sh")
	s.shows("ready>")
	return s
}

func (s *screen) tmux(args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "tmux", append([]string{"-u", "-S", s.socket}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// line types a command for the shell.
func (s *screen) line(command string) { s.t.Helper(); s.tmux("send-keys", "-l", command+"\r") }

func (s *screen) keys(keys ...string) {
	s.t.Helper()
	s.tmux(append([]string{"send-keys", "--"}, keys...)...)
}

func (s *screen) text() string { s.t.Helper(); return s.tmux("capture-pane", "-p") }

// until waits for the screen to be as ok wants it.
func (s *screen) until(what string, ok func(string) bool) string {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		text := s.text()
		if ok(text) {
			return text
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the screen never shows %s:\n%s", what, text)
		}
	}
}

func (s *screen) shows(texts ...string) string {
	s.t.Helper()
	return s.until(strconv.Quote(strings.Join(texts, " and ")), func(screen string) bool {
		for _, t := range texts {
			if !strings.Contains(screen, t) {
				return false
			}
		}
		return true
	})
}

// buildPlayer builds the program that people play recordings with.
func buildPlayer(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "sallyport")
	if out, err := exec.Command("go", "build", "-o", bin, "sallyport/cmd/sallyport").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// writeCast writes a recording whose texts come a minute apart, so that nothing
// moves but what a key moves. A text that begins with # is a marker.
func writeCast(t *testing.T, texts ...string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`{"version":2,"width":80,"height":24}` + "\n")
	for i, text := range texts {
		code := "o"
		if strings.HasPrefix(text, "#") {
			code = "m"
		}
		fmt.Fprintf(&b, "[%d, %q, %s]\n", i*60, code, jsonText(text))
	}
	file := filepath.Join(t.TempDir(), "a.cast")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func jsonText(s string) string {
	return strings.NewReplacer("\x1b", `\u001b`, "\r", `\r`, "\n", `\n`, "\a", `\u0007`).Replace(`"` + s + `"`)
}

func TestKeysInATerminal(t *testing.T) {
	s := newScreen(t)
	file := writeCast(t, "first line\r\n", "second line\r\n", "#here", "\x1b[?1049h\x1b[Hother screen\x1b]0;evil\x07\x1b[31m\x1b(0\x1b[5;10r\x1b[?25l\x1b[?2004h\x1b[?1000h", "\x1b[3;1Hlast words")
	s.line("before=$(stty -g)")
	s.line(buildPlayer(t) + " play --idle 0 " + file)
	s.shows("first line", "00:00", "1x  playing")
	s.until("no status line after a while", func(text string) bool {
		return strings.Contains(text, "first line") && !strings.Contains(text, "playing")
	})
	s.keys("Space")
	s.shows("first line", "paused")
	s.keys("Up", "+")
	s.shows("4x  paused")
	s.keys("-")
	s.shows("2x  paused")
	s.keys(".")
	s.shows("first line", "second line", "01:00")
	s.keys("]")
	s.shows("second line", "02:00")
	s.keys("Right")
	s.shows("02:05")
	s.keys("Left", "Left")
	s.shows("01:55")
	s.keys("?")
	s.shows("marker before or after", "pause or play")
	s.keys("9")
	s.until("the other screen", func(text string) bool {
		return strings.Contains(text, "other screen") && strings.Contains(text, "03:36 / 04:00") && !strings.Contains(text, "marker before")
	})
	s.keys(".")
	s.shows("last words", "the end")
	s.tmux("resize-window", "-x", "90", "-y", "30")
	s.until("the status line in row 30", func(text string) bool {
		rows := strings.Split(text, "\n")
		return len(rows) >= 30 && strings.Contains(rows[29], "the end") && strings.Contains(rows[2], "last words")
	})
	if name := s.tmux("display-message", "-p", "#{pane_title}"); strings.Contains(name, "evil") {
		t.Errorf("the recording named the terminal %q", name)
	}
	s.keys("0")
	s.until("the beginning", func(text string) bool {
		return strings.Contains(text, "00:00") && !strings.Contains(text, "other screen")
	})
	s.keys("9", ".", "q")
	s.leftAsItWas()
}

// leftAsItWas says that the shell's terminal is as it was before the player.
func (s *screen) leftAsItWas() {
	s.t.Helper()
	s.shows("ready>")
	s.line(`clear; [ "$(stty -g)" = "$before" ] && echo settings are the same`)
	s.until("the same settings", func(text string) bool { return strings.HasPrefix(text, "settings are the same") })
	flags := s.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{scroll_region_upper} #{origin_flag} #{wrap_flag} #{insert_flag}")
	if strings.TrimSpace(flags) != "0 1 0 0 0 1 0" {
		s.t.Errorf("other screen, cursor, mouse, region, origin, wrap, insert: %s", flags)
	}
}

func TestControlCAndSignalsLeaveTheTerminalAsItWas(t *testing.T) {
	bin := buildPlayer(t)
	file := writeCast(t, "one\x1b[?1049htwo\x1b[?25l\x1b[?6h\x1b[4h", "three")
	for name, end := range map[string]func(*screen){
		"control-c": func(s *screen) { s.keys("C-c") },
		"SIGTERM": func(s *screen) {
			s.tmux("run-shell", "kill $(ps -o pid= --ppid #{pane_pid})")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScreen(t)
			s.line("before=$(stty -g)")
			s.line(bin + " play --idle 0 " + file)
			s.shows("two")
			end(s)
			s.leftAsItWas()
		})
	}
}
