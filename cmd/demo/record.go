package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// The secrets that the demo prints, which nobody watching may see.
var (
	demoPassword = "hunter2-demo"
	demoKey      = "AKIA" + "Z3QW7RTY5UPLK2MN"
)

// record signs in as alice and makes one session, so that there is something to
// look at.
func (d *demo) record(ctx context.Context) error {
	config, err := d.writeClient("recorded")
	if err != nil {
		return err
	}
	s := stock{config, 25 * time.Millisecond} // as a person in a hurry
	os.Remove(s.certFile())
	if _, err := s.certificate(ctx, "alice"); err != nil {
		return err
	}
	_, err = s.session(ctx, 0)
	return err
}

// session logs in to the demo host through the bastion, types a few commands
// and leaves with status. It returns all that the terminal showed.
func (s stock) session(ctx context.Context, status int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	t, err := s.open(ctx, "-J", bastionName, hostLogin+"@"+hostName)
	if err != nil {
		return "", err
	}
	err = t.act(ctx, status)
	if err != nil {
		cancel() // ends the client
	}
	code, waitErr := t.close()
	switch {
	case err != nil:
		return t.text(), err
	case waitErr != nil:
		return t.text(), waitErr
	case code != status:
		return t.text(), fmt.Errorf("the session ended with status %d, want %d; there was %q", code, status, tail(t.text()))
	}
	return t.text(), nil
}

// act types. Each command is followed by a wait for what only its output shows.
func (t *terminal) act(ctx context.Context, status int) error {
	if err := t.first(ctx); err != nil {
		return err
	}
	for _, c := range []struct{ line, want string }{
		{"cat welcome.txt", "part of the Sallyport demo."},
		{"uname -sm; echo on $DEMO_HOST", "on " + hostName},
		{"echo password=" + demoPassword + "; echo shown-$((1+1))", "shown-2"},
		{"echo aws_access_key_id " + demoKey + "; echo shown-$((1+2))", "shown-3"},
		{`for i in 1 2 3 4 5 6; do printf '\033[4%dm      ' $i; sleep 0.1; done; printf '\033[0m\n'; echo shown-$((2+2))`, "shown-4"},
	} {
		if err := t.typeLine(ctx, c.line); err != nil {
			return err
		}
		if err := t.wait(ctx, c.want); err != nil {
			return err
		}
		time.Sleep(10 * t.pace) // to read it
	}
	return t.typeLine(ctx, fmt.Sprintf("exit %d", status))
}

// first waits until the shell is there: something was printed, then nothing for
// a moment.
func (t *terminal) first(ctx context.Context) error {
	for last := ""; ; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no prompt: %w; there was %q", context.Cause(ctx), tail(t.text()))
		case <-time.After(300 * time.Millisecond):
		}
		now := t.text()
		if strings.TrimSpace(now) != "" && now == last {
			return nil
		}
		last = now
	}
}
