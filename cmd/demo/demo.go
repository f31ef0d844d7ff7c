package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	gliderssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// The names of the demo.
const (
	bastionName = "demo-bastion"
	suffix      = "demo.internal"
	hostName    = "demo-host"
	hostLogin   = "demo"
	clientID    = "sallyport"
)

const (
	readyTimeout = 20 * time.Second
	stopGrace    = 10 * time.Second
)

// demo is everything that runs. One goroutine starts and stops it.
type demo struct {
	options
	out io.Writer

	bin, sshAddr, webURL string
	logFile              *os.File
	log                  *slog.Logger
	idp                  *issuer
	idpServer            *http.Server
	hostListener         net.Listener
	host                 *gliderssh.Server
	bastion              *child
}

// steps start the demo, in order.
func (d *demo) steps() []step {
	return []step{
		{"prepare the folder", d.prepare},
		{"start the development issuer", d.startIssuer},
		{"write the configuration", d.configure},
		{"start the demo host", d.startHost},
		{"start the bastion", d.startBastion},
		{"record a session", d.record},
		{"write demo.json", d.writeDescription},
	}
}

func (d *demo) path(elem ...string) string {
	return filepath.Join(append([]string{d.dir}, elem...)...)
}

func (d *demo) prepare(context.Context) (err error) {
	if d.bin, err = findBinary(d.sallyport); err != nil {
		return err
	}
	if strings.ContainsAny(d.dir, " \t\"'%\\\n") {
		return fmt.Errorf("%q: ssh_config cannot name a folder with spaces, quotes or %%", d.dir)
	}
	for _, program := range []string{"ssh", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("the OpenSSH client is missing: %w", err)
		}
	}
	if d.dir == "" {
		d.dir, err = os.MkdirTemp("", "sallyport-demo-")
	} else if d.dir, err = filepath.Abs(d.dir); err == nil {
		err = os.MkdirAll(d.dir, 0o700)
	}
	if err != nil {
		return err
	}
	os.Remove(d.path("demo.json")) // it says that all is ready
	d.logFile, err = os.OpenFile(d.path("demo.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	d.log = slog.New(slog.NewTextHandler(d.logFile, nil))
	slog.SetDefault(d.log) // the issuer's library logs there
	return nil
}

func (d *demo) startIssuer(context.Context) error {
	l, err := d.listen("idp", d.ports.idp)
	if err != nil {
		return err
	}
	d.idp, err = newIssuer("http://"+l.Addr().String(), client{id: clientID, redirects: []string{"http://127.0.0.1/callback"}})
	if err != nil {
		l.Close()
		return err
	}
	d.idpServer = &http.Server{Handler: d.idp, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelWarn)}
	go d.idpServer.Serve(l) // until stop closes it
	return nil
}

// startHost lets the bastion make its authorities and sign the host's key, then
// serves.
func (d *demo) startHost(ctx context.Context) error {
	line, err := d.sallyportOutput(ctx, "ca", "show", "--config", d.path("sallyport.yaml"), "target")
	if err != nil {
		return err
	}
	userCA, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return fmt.Errorf("the target CA: %w", err)
	}
	key, err := ensureKey(d.path("host", "ssh_host_ed25519_key"))
	if err != nil {
		return err
	}
	if _, err := d.sallyportOutput(ctx, "ca", "sign-host", "--config", d.path("sallyport.yaml"), "--name", hostName, key+".pub"); err != nil {
		return err
	}
	signer, err := loadCertified(key)
	if err != nil {
		return err
	}
	home := d.path("host", "home")
	if err := writeHome(home); err != nil {
		return err
	}
	d.host = (&host{name: hostName, logins: []string{hostLogin}, home: home, userCA: userCA, key: signer, log: d.log}).server()
	go d.host.Serve(d.hostListener) // until stop closes it
	return nil
}

func (d *demo) startBastion(ctx context.Context) error {
	if err := d.writeClientFiles(ctx); err != nil {
		return err
	}
	cmd := exec.Command(d.bin, "serve", "--config", d.path("sallyport.yaml"))
	var err error
	if d.bastion, err = startChild(cmd, d.path("serve.out")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, errors.New("it is not ready in time"))
	defer cancel()
	for {
		if err = get(ctx, d.webURL+"/readyz"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-d.bastion.done:
			return fmt.Errorf("it ended: %v\n%s%s", d.bastion.err, lastLines(d.path("serve.out"), 5), lastLines(d.path("sallyport.log"), 5))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// get succeeds when url answers 200.
func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("%s answers %s: %s", url, resp.Status, body)
	}
	return nil
}

// sallyportOutput runs a verb of the product and returns what it printed.
func (d *demo) sallyportOutput(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.bin, args...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errOut, time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("sallyport %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// stop ends the bastion first, so that sessions end in order, then the rest.
func (d *demo) stop() error {
	var err error
	if d.bastion != nil {
		err = d.bastion.stop(stopGrace)
	}
	if d.host != nil {
		d.host.Close()
	}
	if d.hostListener != nil {
		d.hostListener.Close()
	}
	if d.idpServer != nil {
		d.idpServer.Close()
	}
	if d.logFile != nil {
		d.logFile.Close()
	}
	return err
}

// explain says what to paste next.
func (d *demo) explain() {
	ssh := "ssh -F " + d.path("ssh_config")
	fmt.Fprintf(d.out, `Sallyport runs; all its files are in %[1]s. Ctrl-C stops it and leaves them.

Sign in: open the URL that it shows, approve as alice, bob, carol or dave
  %[2]s %[3]s
Fetch a certificate for the key, then log in to the demo host
  %[2]s %[3]s cert > %[1]s/id_ed25519-cert.pub
  %[2]s -J %[3]s %[4]s@%[5]s
List the recordings that you may see, and play one
  %[2]s %[3]s ls
  %[2]s -t %[3]s play ID
Verify, on this machine, that they are whole and unchanged
  %[7]s verify --dir %[1]s/data
Replay them in a browser: alice sees her own, carol sees all of them
  %[6]s
`, d.dir, ssh, bastionName, hostLogin, hostName, d.webURL, d.bin)
}
