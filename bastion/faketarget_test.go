package bastion

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
)

// startFakeTarget is an SSH host that lets everybody in and whose commands the
// tests know.
func startFakeTarget(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(newKey(t))
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			go serveFakeTarget(raw, config)
		}
	}()
	return l.Addr().String()
}

func serveFakeTarget(raw net.Conn, config *ssh.ServerConfig) {
	conn, chans, reqs, err := ssh.NewServerConn(raw, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		go (&fakeShell{Channel: ch, user: conn.User(), sizes: make(chan [2]uint32, 1000)}).serve(reqs)
	}
}

// fakeShell is one session on the fake target.
type fakeShell struct {
	ssh.Channel
	user  string
	env   []string
	pty   proxy.PTY
	tty   bool
	sizes chan [2]uint32
}

func (s *fakeShell) serve(reqs <-chan *ssh.Request) {
	defer close(s.sizes)
	for r := range reqs {
		ok := true
		var start func() // after the reply, which a closed channel would swallow
		switch r.Type {
		case "pty-req":
			s.pty, _ = proxy.ParsePTY(r.Payload)
			s.tty = true
		case "window-change":
			cols, rows, _ := proxy.ParseWindowChange(r.Payload)
			s.sizes <- [2]uint32{cols, rows}
		case "env":
			var v envRequest
			ssh.Unmarshal(r.Payload, &v)
			s.env = append(s.env, v.Name+"="+v.Value)
		case "shell":
			start = func() { s.exec("") }
		case "exec", "subsystem":
			var m struct{ Command string }
			ssh.Unmarshal(r.Payload, &m)
			start = func() { s.exec(m.Command) }
		default:
			ok = false
		}
		r.Reply(ok, nil)
		if start != nil {
			go start()
		}
	}
}

func (s *fakeShell) exec(command string) {
	code := uint32(0)
	word, rest, _ := strings.Cut(command, " ")
	switch word {
	case "":
		fmt.Fprintf(s, "welcome %s pty=%v %s %dx%d\r\n", s.user, s.tty, s.pty.Term, s.pty.Cols, s.pty.Rows)
		s.readLine()
	case "sftp":
		io.WriteString(s, "sftp here\n")
	case "echo":
		fmt.Fprintln(s, rest)
	case "true":
	case "both":
		io.WriteString(s, "to stdout\n")
		io.WriteString(s.Stderr(), "to stderr\n")
		code = 7
	case "cat":
		io.Copy(s, s)
	case "env":
		fmt.Fprintln(s, strings.Join(s.env, " "))
	case "size": // the first size, then the newest that has come
		next := <-s.sizes
		fmt.Fprintf(s, "%dx%d\n%dx%d\n", s.pty.Cols, s.pty.Rows, next[0], next[1])
	case "length":
		fmt.Fprintln(s, len(command))
	case "user":
		fmt.Fprintln(s, s.user)
	case "wait": // until the channel is closed
		io.Copy(io.Discard, s)
		for range s.sizes {
		}
	default:
		fmt.Fprintf(s.Stderr(), "unknown command %q\n", word)
		code = 127
	}
	s.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
	s.CloseWrite()
	s.Close()
}

func (s *fakeShell) readLine() {
	var line []byte
	for {
		c, err := readByte(s)
		if err != nil || c == '\r' || c == '\n' {
			fmt.Fprintf(s, "got %q\r\n", line)
			return
		}
		line = append(line, c)
	}
}
