package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// roundStatus is what the round's session exits with, to see it come through.
const roundStatus = 7

// once is the state of one round.
type once struct {
	*demo
	client stock
	live   string // what the terminal showed
	id     string // of the recording
}

// round goes all the way with the stock client and says how far it came.
func (d *demo) round(ctx context.Context) error {
	if err := os.RemoveAll(d.path("once")); err != nil {
		return err
	}
	config, err := d.writeClient("once")
	if err != nil {
		return err
	}
	o := &once{demo: d, client: stock{config, 2 * time.Millisecond}}
	for _, s := range []step{
		{"sign in with the stock client", o.signIn},
		{"look at the certificate", o.certificate},
		{"log in through the bastion", o.session},
		{"see the secret masked", o.masked},
		{"list the recording", o.listed},
		{"export it", o.exported},
		{"find nothing of it on the disk", o.sealed},
		{"verify it", o.verified},
		{"ask the web pages", func(ctx context.Context) error { return get(ctx, d.webURL+"/healthz") }},
	} {
		start := time.Now()
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(d.out, "ok  %-30s %6.2fs\n", s.name, time.Since(start).Seconds())
	}
	return nil
}

func (o *once) signIn(ctx context.Context) error {
	p, err := o.client.certificate(ctx, "alice")
	if err != nil {
		return err
	}
	if p.url != o.idp.url+"/device" || p.code == "" {
		return fmt.Errorf("no URL and code were shown: %q", tail(p.text))
	}
	for _, want := range []string{"127.0.0.1", "SHA256:"} {
		if !strings.Contains(p.text, want) {
			return fmt.Errorf("what was shown has no %s: %q", want, tail(p.text))
		}
	}
	return nil
}

func (o *once) certificate(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "ssh-keygen", "-L", "-f", o.client.certFile()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	for _, want := range []string{"user certificate", "Valid: from ", " to ", "Principals:", " u-", "permit-pty"} {
		if !strings.Contains(string(out), want) {
			return fmt.Errorf("ssh-keygen -L shows no %q in %s", want, out)
		}
	}
	return nil
}

func (o *once) session(ctx context.Context) (err error) {
	o.live, err = o.client.session(ctx, roundStatus)
	return err
}

func (o *once) masked(context.Context) error {
	if !strings.Contains(o.live, "password=*") {
		return fmt.Errorf("the terminal does not show a masked password: %q", tail(o.live))
	}
	for _, secret := range []string{demoPassword, demoKey} {
		if strings.Contains(o.live, secret) {
			return fmt.Errorf("the terminal showed %s", secret)
		}
	}
	return nil
}

// listed finds the recording, which is complete a moment after the session.
func (o *once) listed(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errors.New("the recording is not listed as complete in time"))
	defer cancel()
	for {
		out, err := o.sallyportOutput(ctx, "ls", "--dir", o.path("data"), "--json")
		if err != nil {
			return err
		}
		if o.id = findRecording(out); o.id != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), tail(out))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// findRecording returns the id of the complete recording that ended with
// roundStatus and is the first, which is the newest. It takes an array of
// recordings, or one a line.
func findRecording(list string) string {
	type recording struct {
		Session struct {
			ID     string `json:"id"`
			Target string `json:"target"`
		} `json:"session"`
		Summary struct {
			State string `json:"state"`
			End   struct {
				ExitStatus *uint32 `json:"exit_status"`
			} `json:"end"`
		} `json:"summary"`
	}
	var all []recording
	if json.Unmarshal([]byte(list), &all) != nil {
		dec := json.NewDecoder(strings.NewReader(list))
		for {
			var r recording
			if dec.Decode(&r) != nil {
				break
			}
			all = append(all, r)
		}
	}
	for _, r := range all {
		if s := r.Summary.End.ExitStatus; r.Session.Target == hostName && r.Summary.State == "complete" && s != nil && *s == roundStatus {
			return r.Session.ID
		}
	}
	return ""
}

// exported compares the two views: the raw one has the secret, the other not.
func (o *once) exported(ctx context.Context) error {
	raw, err := o.sallyportOutput(ctx, "export", "--dir", o.path("data"), "--raw", "--format", "raw", o.id)
	if err != nil {
		return err
	}
	view, err := o.sallyportOutput(ctx, "export", "--dir", o.path("data"), "--format", "v2", o.id)
	if err != nil {
		return err
	}
	for _, secret := range []string{demoPassword, demoKey} {
		if !strings.Contains(raw, secret) {
			return fmt.Errorf("the raw export has no %s", secret)
		}
		if strings.Contains(view, secret) {
			return fmt.Errorf("the exported view has %s", secret)
		}
	}
	if !strings.HasPrefix(view, `{"version":2,`) && !strings.HasPrefix(view, `{"version": 2,`) {
		return fmt.Errorf("the exported view is no asciicast v2: %q", view[:min(len(view), 80)])
	}
	return nil
}

// sealed looks for the secrets in the clear, where all that is kept lies.
func (o *once) sealed(context.Context) error {
	return filepath.WalkDir(o.path("data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, secret := range []string{demoPassword, demoKey} {
			if bytes.Contains(b, []byte(secret)) {
				return fmt.Errorf("%s has %s in the clear", path, secret)
			}
		}
		return nil
	})
}

// verified proves that the recording is whole and unchanged.
func (o *once) verified(ctx context.Context) error {
	out, err := o.sallyportOutput(ctx, "verify", "--dir", o.path("data"), o.id)
	if err == nil && !strings.Contains(out, o.id+"  valid") {
		err = fmt.Errorf("it is not valid: %s", tail(out))
	}
	return err
}
