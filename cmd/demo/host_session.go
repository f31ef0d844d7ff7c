package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	gliderssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// The payloads of RFC 4254, section 6.
type (
	ptyRequest struct {
		Term                      string
		Cols, Rows, Width, Height uint32
		Modes                     string
	}
	windowChange  struct{ Cols, Rows, Width, Height uint32 }
	envRequest    struct{ Name, Value string }
	stringRequest struct{ Value string } // exec, subsystem, signal
	exitStatus    struct{ Status uint32 }
	exitSignal    struct {
		Signal   string // without SIG
		CoreDump bool
		Message  string
		Lang     string
	}
)

// hostSession is one session channel. Its requests are handled one by one by
// the goroutine that owns it; mu guards what the program's end touches too.
type hostSession struct {
	h       *host
	ch      ssh.Channel
	login   string
	remote  string
	ctx     context.Context
	env     []string
	pty     *ptyRequest
	modes   []terminalMode
	started bool

	mu     sync.Mutex
	term   *os.File // the terminal's controlling side, while there is one
	proc   *os.Process
	runner sync.WaitGroup
}

// session serves one session channel until it is closed and its program ended.
func (h *host) session(_ *gliderssh.Server, conn *ssh.ServerConn, newCh ssh.NewChannel, ctx gliderssh.Context) {
	ch, requests, err := newCh.Accept()
	if err != nil {
		return
	}
	s := &hostSession{h: h, ch: ch, login: conn.User(), remote: conn.RemoteAddr().String(), ctx: ctx}
	for r := range requests {
		ok := s.handle(r)
		if r.WantReply {
			r.Reply(ok, nil)
		}
	}
	s.kill(syscall.SIGHUP)
	last := time.AfterFunc(hangupGrace, func() { s.kill(syscall.SIGKILL) })
	defer last.Stop()
	s.runner.Wait()
}

// hangupGrace is how long a program may go on after its client has gone.
const hangupGrace = 2 * time.Second

// acceptedEnv are the names that clients may set, as in Debian's sshd_config.
func acceptedEnv(name string) bool { return name == "LANG" || strings.HasPrefix(name, "LC_") }

func (s *hostSession) handle(r *ssh.Request) bool {
	switch r.Type {
	case "env":
		var e envRequest
		if s.started || ssh.Unmarshal(r.Payload, &e) != nil || !acceptedEnv(e.Name) || len(s.env) > 64 || strings.ContainsRune(e.Name+e.Value, 0) {
			return false
		}
		s.env = append(s.env, e.Name+"="+e.Value)
		return true
	case "pty-req":
		var p ptyRequest
		if s.started || s.pty != nil || ssh.Unmarshal(r.Payload, &p) != nil {
			return false
		}
		s.pty, s.modes = &p, parseModes([]byte(p.Modes))
		return true
	case "shell":
		return s.start("")
	case "exec":
		var e stringRequest
		return ssh.Unmarshal(r.Payload, &e) == nil && e.Value != "" && s.start(e.Value)
	case "subsystem":
		var e stringRequest
		if ssh.Unmarshal(r.Payload, &e) != nil || e.Value != "sftp" {
			return false
		}
		if _, err := os.Stat(sftpServer); err != nil {
			return false
		}
		return s.start(sftpServer)
	case "window-change":
		var w windowChange
		return ssh.Unmarshal(r.Payload, &w) == nil && s.resize(w)
	case "signal":
		var e stringRequest
		return ssh.Unmarshal(r.Payload, &e) == nil && s.kill(signalNamed(e.Value))
	case "break":
		return s.sendBreak()
	}
	return false
}

const sftpServer = "/usr/lib/openssh/sftp-server"

func shellPath() string {
	for _, p := range []string{os.Getenv("SHELL"), "/bin/bash"} {
		if st, err := os.Stat(p); p != "" && err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
			return p
		}
	}
	return "/bin/sh"
}

// command builds the program for a command line; none means a login shell.
func (s *hostSession) command(line string) *exec.Cmd {
	shell := shellPath()
	cmd := exec.Command(shell)
	if line == "" {
		cmd.Args = []string{"-" + shell[strings.LastIndexByte(shell, '/')+1:]}
	} else {
		cmd.Args = []string{shell, "-c", line}
	}
	cmd.Dir = s.h.home
	host, port, _ := strings.Cut(s.remote, ":")
	cmd.Env = append([]string{"HOME=" + s.h.home, "USER=" + s.login, "LOGNAME=" + s.login, "SHELL=" + shell,
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", "DEMO_HOST=" + s.h.name,
		"SSH_CLIENT=" + host + " " + port + " 22"}, s.env...)
	return cmd
}

// start runs the session's one program.
func (s *hostSession) start(line string) bool {
	if s.started {
		return false
	}
	s.started = true
	cmd := s.command(line)
	var wait func() error
	var err error
	if s.pty != nil {
		wait, err = s.startTerminal(cmd)
	} else {
		wait, err = s.startPipes(cmd)
	}
	if err != nil {
		s.h.log.Error("starting", "why", err)
		return false
	}
	s.mu.Lock()
	s.proc = cmd.Process
	s.mu.Unlock()
	s.runner.Add(1)
	go func() {
		defer s.runner.Done()
		err := wait()
		s.mu.Lock()
		s.proc = nil
		s.mu.Unlock()
		s.end(err)
	}()
	return true
}

// startTerminal runs cmd on a terminal of its own.
func (s *hostSession) startTerminal(cmd *exec.Cmd) (func() error, error) {
	term, tty, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer tty.Close()
	if term, err = pollable(term); err != nil {
		return nil, err
	}
	size := windowChange{s.pty.Cols, s.pty.Rows, s.pty.Width, s.pty.Height}
	if err := errors.Join(setSize(term, size), setModes(tty, s.modes)); err != nil {
		term.Close()
		return nil, err
	}
	cmd.Env = append(cmd.Env, "TERM="+s.pty.Term, "SSH_TTY="+tty.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		term.Close()
		return nil, err
	}
	s.mu.Lock()
	s.term = term
	s.mu.Unlock()
	go func() { // ends when the channel has EOF or the terminal is closed
		io.Copy(term, s.ch)
	}()
	drained := make(chan struct{})
	go func() { // ends when nobody has the terminal open, or it is closed
		defer close(drained)
		io.Copy(s.ch, term)
	}()
	return func() error {
		err := cmd.Wait()
		waitQuiet(drained)
		s.mu.Lock()
		s.term = nil
		s.mu.Unlock()
		term.Close()
		<-drained
		return err
	}, nil
}

// startPipes runs cmd with standard error apart.
func (s *hostSession) startPipes(cmd *exec.Cmd) (func() error, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = s.ch, s.ch.Stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = backgroundGrace
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends when the channel has EOF or the program's input is closed
		io.Copy(in, s.ch)
		in.Close()
	}()
	return func() error {
		err := cmd.Wait()
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil
		}
		return err
	}, nil
}

// end tells the client how the program ended: status or signal, EOF, close.
func (s *hostSession) end(err error) {
	status := exitStatus{}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		ws := exit.Sys().(syscall.WaitStatus)
		if ws.Signaled() {
			s.ch.SendRequest("exit-signal", false, ssh.Marshal(exitSignal{signalName(ws.Signal()), ws.CoreDump(), "", ""}))
			s.ch.CloseWrite()
			s.ch.Close()
			return
		}
		status.Status = uint32(ws.ExitStatus())
	} else if err != nil {
		status.Status = 255
	}
	s.ch.SendRequest("exit-status", false, ssh.Marshal(status))
	s.ch.CloseWrite()
	s.ch.Close()
}

func (s *hostSession) resize(w windowChange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.term != nil && setSize(s.term, w) == nil
}

// kill signals the program and, since it leads a process group, its children.
func (s *hostSession) kill(sig syscall.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sig != 0 && s.proc != nil && syscall.Kill(-s.proc.Pid, sig) == nil
}
