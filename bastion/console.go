package bastion

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxConsoleCommand is the longest command line for the bastion itself, in
// bytes. What goes to a target has no such limit.
const maxConsoleCommand = 64 << 10

var errSignalled = errors.New("the client sent a signal to end the command")

// runConsole runs a command of the bastion's own.
func (s *session) runConsole(line string) error {
	if len(line) > maxConsoleCommand {
		return refusef("The command is longer than %d KiB, the most that the bastion itself takes.", maxConsoleCommand>>10)
	}
	args, err := splitCommand(line)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	call := ConsoleCall{
		Identity: s.c.grant.identity, Key: s.c.grant.key, Source: s.c.source,
		Args: args, In: s.ch, Out: s.ch, Err: s.ch.Stderr(),
	}
	if s.pty != nil {
		var raw atomic.Bool
		call.Out = &lineFeeds{w: s.ch, raw: &raw}
		call.Err = &lineFeeds{w: s.ch.Stderr(), raw: &raw}
		cols, rows := s.pty.size()
		call.PTY = &PTY{Term: s.pty.Term, Cols: cols, Rows: rows, Raw: raw.Store}
	}
	w := s.watch(func() { cancel(errSignalled) })
	if call.PTY != nil {
		call.PTY.Resize = w.resize
	}
	code := s.c.s.cfg.Console(ctx, call)
	w.stop()
	if code < 0 || code > 255 {
		code = 1
	}
	s.exit(uint32(code))
	return nil
}

// hello is for a client that wants a shell here but has no terminal.
func (s *session) hello() error {
	id := s.c.grant.identity
	fmt.Fprintf(s.ch, "You are signed in as %s until %s.\n", printable(id.User.String(), 200), clock(id.Expires))
	io.WriteString(s.ch, "To reach a target, connect as LOGIN@TARGET; for a menu, use a terminal (ssh -t); `help` lists the commands.\n")
	s.exit(0)
	return nil
}

// watcher handles the requests of a session while the bastion itself talks to
// the user.
type watcher struct {
	resize   chan [2]int // the newest size only
	quit     chan struct{}
	finished chan struct{}
}

// watch starts a watcher, which owns s.reqs and s.pty until stop. interrupted
// is called for a signal that should end what runs.
func (s *session) watch(interrupted func()) *watcher {
	w := &watcher{make(chan [2]int, 1), make(chan struct{}), make(chan struct{})}
	go func() {
		defer close(w.finished)
		for {
			select {
			case <-w.quit:
				return
			case r, ok := <-s.reqs:
				if !ok {
					return
				}
				w.handle(s, r, interrupted)
			}
		}
	}()
	return w
}

// stop ends the watcher and waits for it.
func (w *watcher) stop() {
	close(w.quit)
	<-w.finished
}

func (w *watcher) handle(s *session, r *ssh.Request, interrupted func()) {
	switch r.Type {
	case "window-change":
		if s.resize(r) {
			w.report(s.pty.size())
		}
	case "signal":
		var m struct{ Name string }
		if ssh.Unmarshal(r.Payload, &m) == nil {
			switch m.Name {
			case "INT", "TERM", "HUP", "QUIT", "KILL":
				interrupted()
			}
		}
		s.answer(r, true, seenOurs)
	case "keepalive@openssh.com":
		s.answer(r, true, seenAnswered)
	case "auth-agent-req@openssh.com", "x11-req":
		s.refuseRequest(r)
	default:
		s.refuseQuietly(r)
	}
}

// report replaces a size that nobody has taken yet.
func (w *watcher) report(cols, rows int) {
	select {
	case <-w.resize:
	default:
	}
	select {
	case w.resize <- [2]int{cols, rows}:
	default:
	}
}

// lineFeeds writes to a client whose terminal is raw: a line feed needs its
// carriage return, as a terminal driver would add it, unless raw is set.
type lineFeeds struct {
	w    io.Writer
	raw  *atomic.Bool
	last byte
}

func (l *lineFeeds) Write(p []byte) (int, error) {
	if l.raw.Load() || bytes.IndexByte(p, '\n') < 0 {
		if len(p) > 0 {
			l.last = p[len(p)-1]
		}
		return l.w.Write(p)
	}
	out := make([]byte, 0, len(p)+16)
	for _, c := range p {
		if c == '\n' && l.last != '\r' {
			out = append(out, '\r')
		}
		out = append(out, c)
		l.last = c
	}
	if _, err := l.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// clock shows a time of day to people.
func clock(t time.Time) string { return t.UTC().Format("15:04 MST") }
