package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
)

// stock runs the OpenSSH client with one ssh_config.
type stock struct {
	config string
	pace   time.Duration // between two keys typed
}

// prompt is what the bastion showed to somebody who has to sign in.
type prompt struct {
	text, url, code string
}

var (
	promptURL  = regexp.MustCompile(`https?://[^\s?]+`)
	promptCode = regexp.MustCompile(`(?m)^\s*([A-Z0-9]{4}-[A-Z0-9]{4})\s*$`)
)

// certificate runs "ssh bastion cert", approves the sign-in that it asks for as
// login, and keeps the certificate beside the key. What was shown is empty when
// the key was signed in already.
func (s stock) certificate(ctx context.Context, login string) (prompt, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", "-F", s.config, bastionName, "cert")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // nothing to read passwords from
	cmd.WaitDelay = time.Second
	var out strings.Builder
	cmd.Stdout = &out
	errOut, w, err := os.Pipe()
	if err != nil {
		return prompt{}, err
	}
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		return prompt{}, errors.Join(err, w.Close(), errOut.Close())
	}
	w.Close()
	var shown prompt
	var approval error
	var reading sync.WaitGroup
	reading.Go(func() { // ends with the client, which has the other end
		defer errOut.Close()
		shown, approval = approveWhenAsked(ctx, errOut, login)
		if approval != nil {
			cancel()
		}
		rest, _ := io.ReadAll(errOut)
		shown.text += string(rest)
	})
	err = cmd.Wait()
	reading.Wait()
	if err = errors.Join(approval, err); err != nil {
		return shown, fmt.Errorf("ssh %s cert: %w: %s", bastionName, err, tail(shown.text))
	}
	return shown, s.keep(out.String())
}

// approveWhenAsked reads until a URL and a code were shown, and approves.
func approveWhenAsked(ctx context.Context, r io.Reader, login string) (prompt, error) {
	var p prompt
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		p.text += line
		if p.url == "" {
			p.url = promptURL.FindString(line)
		}
		if m := promptCode.FindStringSubmatch(line); m != nil {
			p.code = m[1]
		}
		if err != nil {
			return p, nil
		}
		if p.url != "" && p.code != "" {
			return p, approve(ctx, p, login)
		}
	}
}

// approve does what a person does with the page at the URL.
func approve(ctx context.Context, p prompt, login string) error {
	form := url.Values{"user_code": {p.code}, "login": {login}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("approving: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("approving: %s answers %s", p.url, resp.Status)
	}
	return nil
}

// certFile is where ssh looks for the certificate of the key.
func (s stock) certFile() string {
	return filepath.Join(filepath.Dir(s.config), "id_ed25519-cert.pub")
}

func (s stock) keep(line string) error {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return fmt.Errorf("no certificate, but %q: %w", tail(line), err)
	}
	if _, ok := key.(*ssh.Certificate); !ok {
		return fmt.Errorf("no certificate, but %q", tail(line))
	}
	return writeFile(s.certFile(), []byte(line))
}

// terminal is the stock client on a terminal, and somebody who types.
type terminal struct {
	*expect
	cmd  *exec.Cmd
	tty  *os.File
	pace time.Duration
}

// open starts "ssh args" on a terminal of 100 by 28.
func (s stock) open(ctx context.Context, args ...string) (*terminal, error) {
	cmd := exec.CommandContext(ctx, "ssh", append([]string{"-F", s.config}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 100, Rows: 28})
	if err != nil {
		return nil, err
	}
	return &terminal{newExpect(tty), cmd, tty, s.pace}, nil
}

// typeLine types, and presses Enter.
func (t *terminal) typeLine(ctx context.Context, line string) error {
	for _, r := range line + "\r" {
		if _, err := t.tty.WriteString(string(r)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(t.pace):
		}
	}
	return nil
}

// close waits for the client's end and returns its exit code.
func (t *terminal) close() (int, error) {
	err := t.cmd.Wait()
	t.tty.Close()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}
