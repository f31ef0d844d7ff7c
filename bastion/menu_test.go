package bastion

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// inTerminal runs the stock client in a real terminal of 80 by 24 and returns
// it with everything that it shows.
func (s *stock) inTerminal(args ...string) (*os.File, *syncBuffer, func() int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	cmd := s.command(ctx, args...)
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		s.t.Fatal(err)
	}
	shown := &syncBuffer{}
	copied := make(chan struct{})
	go func() { io.Copy(shown, f); close(copied) }()
	wait := func() int {
		cmd.Wait()
		f.Close()
		<-copied
		cancel()
		return cmd.ProcessState.ExitCode()
	}
	return f, shown, wait
}

func expect(t *testing.T, shown *syncBuffer, want string) {
	t.Helper()
	waitForText(t, shown, &syncBuffer{}, want)
}

// A user with a terminal and no target picks one; a change of size reaches the
// session that follows, and so does what was typed ahead.
func TestMenuInATerminal(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key, raw := newKeyFile(t)
	f.bind(key.PublicKey(), alice)
	f.deny = func(r policy.Request) bool { return r.Login == "app" }
	term, shown, wait := f.stock(key, raw).inTerminal("bastion")
	expect(t, shown, "Number or name (q quits): ")
	if s := shown.String(); !strings.Contains(s, "   1  root@db1\r\n   2  www@web1\r\n") || strings.Contains(s, "app@") {
		t.Errorf("shown:\n%s", s)
	}
	pty.Setsize(term, &pty.Winsize{Rows: 50, Cols: 132})
	time.Sleep(100 * time.Millisecond)
	io.WriteString(term, "9\r")
	expect(t, shown, "There is no number 9 in the list.")
	io.WriteString(term, "db7\r")
	expect(t, shown, `"db7" is not in the list.`)
	io.WriteString(term, "wrong\x15web1x\x7f\x1b[A\rahead\r")
	expect(t, shown, "welcome www pty=true")
	if !strings.Contains(shown.String(), "132x50") {
		t.Errorf("the size did not reach the target:\n%s", shown)
	}
	expect(t, shown, `got "ahead"`)
	if code := wait(); code != 0 {
		t.Errorf("exit %d\n%s", code, shown)
	}
	e := f.waitEntries(policy.EntrySessionEnd, 1)
	if e[0].Target != "web1" || e[0].Login != "www" {
		t.Errorf("%+v", e)
	}
	if s := f.recordingOf(e[0].Session).session; s.Cols != 132 || s.Rows != 50 || !s.TTY {
		t.Errorf("%+v", s)
	}
	for _, line := range strings.Split(shown.String(), "\r\n") {
		if len(line) > 80 {
			t.Errorf("a line of %d columns: %q", len(line), line)
		}
	}
}

func TestMenuEnds(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key, raw := newKeyFile(t)
	f.bind(key.PublicKey(), alice)
	for typed, want := range map[string]int{"q\r": 0, "quit\r": 0, "\x04": 0, "\x03": 130, "xyz\x03": 130} {
		term, shown, wait := f.stock(key, raw).inTerminal("bastion")
		expect(t, shown, "(q quits): ")
		io.WriteString(term, typed)
		if code := wait(); code != want {
			t.Errorf("%q: exit %d, want %d\n%s", typed, code, want, shown)
		}
	}
	if len(f.connects) != 0 {
		t.Error("a target was reached")
	}
}

func TestMenuGivesUp(t *testing.T) {
	_, c := aliceAt(t, newFakeWorld(t), "alice", nil)
	tty := func(s *ssh.Session) { s.RequestPty("xterm", 24, 80, nil) }
	got := run(t, c, "", func(s *ssh.Session) {
		tty(s)
		s.Stdin = strings.NewReader(strings.Repeat("nothing\r", maxMenuAnswers) + "1\r")
	})
	if got.code != 1 || !strings.HasSuffix(got.err, "None of the answers was in the list.\r\n") {
		t.Error(got)
	}
	if got := run(t, c, "", func(s *ssh.Session) { tty(s); s.Stdin = strings.NewReader("") }); got.code != 1 || got.err != "" {
		t.Error(got)
	}
}

// A menu that waits for its answer does not outlive the sign-in: what is chosen
// after that, or after policy has changed its mind, is not opened.
func TestMenuChecksTheSignInAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		later  time.Duration
		denied bool
		want   string
	}{
		"expired": {2 * time.Hour, false, "Your sign-in has expired; connect again to renew it."},
		"denied":  {0, true, "alice@example.com is not allowed to sign in here."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFakeWorld(t)
			var later atomic.Int64
			var denied atomic.Bool
			w.now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
			w.deny = func(r policy.Request) bool { return r.Action == policy.ActionSignIn && denied.Load() }
			f := startFront(t, w, nil)
			key, raw := newKeyFile(t)
			f.bind(key.PublicKey(), alice)
			term, shown, wait := f.stock(key, raw).inTerminal("bastion")
			expect(t, shown, "(q quits): ")
			later.Store(int64(tc.later))
			denied.Store(tc.denied)
			io.WriteString(term, "1\r")
			if code := wait(); code != 1 || !strings.Contains(shown.String(), tc.want) {
				t.Errorf("exit %d\n%s", code, shown)
			}
			if len(f.connects) != 0 {
				t.Error("a target was reached")
			}
		})
	}
}

func TestMenuWithNothingToReach(t *testing.T) {
	w := newFakeWorld(t)
	w.deny = func(r policy.Request) bool { return r.Action == policy.ActionShell }
	_, c := aliceAt(t, w, "alice", nil)
	got := run(t, c, "", func(s *ssh.Session) { s.RequestPty("xterm", 24, 80, nil) })
	if got.code != 1 || got.err != "sallyport: There is no target here that you may open a shell on.\r\n" {
		t.Error(got)
	}
}

// A menu of any length is bounded, and names cannot write to the terminal.
func TestMenuIsBoundedAndEscaped(t *testing.T) {
	var m menu
	for i := range 1000 {
		m.items = append(m.items, userName{"root", fmt.Sprintf("t%d", i)})
	}
	m.items[0].Target = "evil\x1b]0;title\x07\r\n" + strings.Repeat("x", 300)
	var out bytes.Buffer
	if err := m.show(&out, "Signed in as \x1b[2J"+strings.Repeat("y", 200)); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\x07") {
		t.Errorf("%q", out.String())
	}
	lines := strings.Split(out.String(), "\r\n")
	if len(lines) > maxMenuLines+6 {
		t.Errorf("%d lines", len(lines))
	}
	for _, l := range lines {
		if len(l) > 80 {
			t.Errorf("%d columns: %q", len(l), l)
		}
	}
	if u, problem := m.pick("1000"); problem != "" || u.Target != "t999" {
		t.Errorf("%v %q", u, problem)
	}
}

func TestMenuPick(t *testing.T) {
	m := menu{items: []userName{{"root", "db1"}, {"app", "db1"}, {"www", "web1"}}}
	for answer, want := range map[string]string{
		"1": "root@db1", "3": "www@web1", "web1": "www@web1", "WEB1": "www@web1", "app@db1": "app@db1",
		"0": "no number 0", "-1": "no number -1", "4": "no number 4", "99999999999999999999": "not in the list",
		"db1": "Which of root@db1, app@db1?", "x@db1": "not in the list", "\x00": "not in the list",
	} {
		u, problem := m.pick(answer)
		if got := u.String() + problem; !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", answer, got, want)
		}
	}
}

// Sizes that change while a command of the bastion's runs reach it, signals end
// it, and line feeds are translated unless it asks for raw output.
func TestConsoleWithTerminal(t *testing.T) {
	w := newFakeWorld(t)
	w.console = func(ctx context.Context, c ConsoleCall) int {
		io.WriteString(c.Out, "a\nb\r\nc")
		io.WriteString(c.Out, "\n")
		io.WriteString(c.Err, "e\n")
		c.PTY.Raw(true)
		io.WriteString(c.Out, "raw\n")
		c.PTY.Raw(false)
		size := <-c.PTY.Resize
		fmt.Fprintf(c.Out, "%s %dx%d then %dx%d\n", c.PTY.Term, c.PTY.Cols, c.PTY.Rows, size[0], size[1])
		<-ctx.Done()
		return 4
	}
	_, c := aliceAt(t, w, "alice", nil)
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut syncBuffer
	s.Stdout, s.Stderr = &out, &errOut
	s.RequestPty("vt100", 24, 80, nil)
	if err := s.Start("play 1"); err != nil {
		t.Fatal(err)
	}
	s.WindowChange(0, 99)
	waitForText(t, &out, &out, "then")
	s.Signal(ssh.SIGINT)
	err = s.Wait()
	if e, ok := err.(*ssh.ExitError); !ok || e.ExitStatus() != 4 {
		t.Errorf("%v", err)
	}
	if want := "a\r\nb\r\nc\r\nraw\nvt100 80x24 then 99x24\r\n"; out.String() != want || errOut.String() != "e\r\n" {
		t.Errorf("%q %q, want %q", out.String(), errOut.String(), want)
	}
}

func TestConsoleCommands(t *testing.T) {
	w := newFakeWorld(t)
	f, c := aliceAt(t, w, "alice", nil)
	if got := run(t, c, `ls --user 'a b'`, nil); got.out != `["ls" "--user" "a b"] as alice@example.com`+"\n" || got.code != 3 {
		t.Error(got)
	}
	for command, want := range map[string]string{
		"ls 'x": "The command has an opening ' without a closing one.",
		"ls " + strings.Repeat("x", maxConsoleCommand): "The command is longer than 64 KiB, the most that the bastion itself takes.",
	} {
		if got := run(t, c, command, nil); got.code != 1 || got.err != "sallyport: "+want+"\n" {
			t.Error(got)
		}
	}
	got := run(t, c, "", nil)
	if got.code != 0 || !strings.HasPrefix(got.out, "You are signed in as alice@example.com until ") {
		t.Error(got)
	}
	f.console = func(_ context.Context, c ConsoleCall) int {
		in, _ := io.ReadAll(c.In)
		fmt.Fprintf(c.Out, "%d bytes, key %v", len(in), c.Key != nil)
		return -5
	}
	if got := run(t, c, "x", func(s *ssh.Session) { s.Stdin = strings.NewReader("12345") }); got.out != "5 bytes, key true" || got.code != 1 {
		t.Error(got)
	}
}

func ptySize(f *os.File, rows, cols uint16) error {
	return pty.Setsize(f, &pty.Winsize{Rows: rows, Cols: cols})
}
