package bastion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// Bounds of the menu: decisions that are asked for, lines that are shown,
// wrong answers, and the time for one.
const (
	maxMenuPairs   = 5000
	maxMenuLines   = 200
	maxMenuAnswers = 20
	menuTime       = 5 * time.Minute
	menuWidth      = 76
)

var (
	errQuit        = errors.New("the user quit the menu")
	errInterrupted = errors.New("the user interrupted the menu")
)

// menu is the list of what a user may open a shell on.
type menu struct {
	items []userName
	more  bool // there are more pairs than were asked about
}

// menu asks the policy about every target and login.
func (c *connection) menu() menu {
	targets := slices.Clone(c.s.cfg.Targets())
	slices.SortFunc(targets, func(a, b policy.Target) int { return strings.Compare(a.Name, b.Name) })
	var m menu
	asked := 0
	for _, t := range targets {
		for _, l := range t.Logins {
			if asked++; asked > maxMenuPairs {
				m.more = true
				return m
			}
			d := c.s.cfg.Decide(policy.Request{User: c.grant.identity.User, Action: policy.ActionShell, Target: t, Login: l, Source: c.source.Addr()})
			if d.Allowed {
				m.items = append(m.items, userName{l, t.Name})
			}
		}
	}
	return m
}

// runMenu lets the user pick a target, and goes on there.
func (s *session) runMenu(st start) error {
	m := s.c.menu()
	if len(m.items) == 0 {
		return refusal("There is no target here that you may open a shell on.")
	}
	s.menu = true
	w := s.watch(func() { s.ch.Close() })
	late := time.AfterFunc(menuTime, func() { s.abandon("The menu was left without a choice.") })
	stop := context.AfterFunc(s.c.ctx, func() { s.abandon(context.Cause(s.c.ctx).Error()) })
	choice, err := s.choose(m, func() { late.Reset(menuTime) })
	late.Stop()
	stop()
	w.stop()
	switch {
	case errors.Is(err, io.EOF): // there is nobody to tell, or it was told
		s.exit(1)
		return nil
	case errors.Is(err, errQuit):
		s.exit(0)
		return nil
	case errors.Is(err, errInterrupted):
		s.exit(130)
		return nil
	case err != nil:
		return err
	}
	// The answer may have taken longer than the sign-in lasts.
	if err := s.c.stillAllowed(); err != nil {
		return err
	}
	return s.runTarget(choice, st)
}

// abandon ends a session from beside whoever is writing to it.
func (s *session) abandon(why string) {
	s.say(why)
	s.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{1}))
	s.ch.Close()
}

// choose shows the menu and reads answers until one is clear. It calls answered
// for each.
func (s *session) choose(m menu, answered func()) (userName, error) {
	id := s.c.grant.identity
	if err := m.show(s.ch, fmt.Sprintf("Signed in as %s until %s.", id.User, clock(id.Expires))); err != nil {
		return userName{}, err
	}
	for range maxMenuAnswers {
		if _, err := io.WriteString(s.ch, "Number or name (q quits): "); err != nil {
			return userName{}, err
		}
		line, err := readLine(s.ch)
		if err != nil {
			return userName{}, err
		}
		answered()
		answer := strings.TrimSpace(line)
		switch answer {
		case "":
			continue
		case "q", "quit", "exit":
			return userName{}, errQuit
		}
		choice, problem := m.pick(answer)
		if problem == "" {
			return choice, nil
		}
		if _, err := io.WriteString(s.ch, printable(problem, 300)+"\r\n"); err != nil {
			return userName{}, err
		}
	}
	return userName{}, refusal("None of the answers was in the list.")
}

// show prints the list.
func (m menu) show(w io.Writer, title string) error {
	var b strings.Builder
	b.WriteString(printable(title, menuWidth) + "\r\n\r\n")
	for i, it := range m.items {
		if i == maxMenuLines {
			break
		}
		fmt.Fprintf(&b, "%4d  %s\r\n", i+1, printable(it.String(), menuWidth-6))
	}
	if n := len(m.items) - maxMenuLines; n > 0 || m.more {
		b.WriteString("   ..  and more, which you can name as LOGIN@TARGET\r\n")
	}
	b.WriteString("\r\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// pick finds what the user means: a number, LOGIN@TARGET, or a target's name.
// Otherwise it says what is wrong.
func (m menu) pick(answer string) (userName, string) {
	if n, err := strconv.Atoi(answer); err == nil {
		if n < 1 || n > len(m.items) {
			return userName{}, fmt.Sprintf("There is no number %d in the list.", n)
		}
		return m.items[n-1], ""
	}
	var found []userName
	for _, it := range m.items {
		if it.String() == answer {
			return it, ""
		}
		if strings.EqualFold(it.Target, answer) {
			found = append(found, it)
		}
	}
	switch len(found) {
	case 0:
		if u, err := parseUserName(answer); m.more && err == nil && u.Target != "" {
			return u, "" // permit decides
		}
		return userName{}, fmt.Sprintf("%q is not in the list.", answer)
	case 1:
		return found[0], ""
	}
	names := make([]string, len(found))
	for i, f := range found {
		names[i] = f.String()
	}
	return userName{}, fmt.Sprintf("Which of %s?", strings.Join(names, ", "))
}

// String is how users write it.
func (u userName) String() string { return string(u.Login) + "@" + u.Target }
