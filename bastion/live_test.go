package bastion

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"sallyport/policy"
)

// Whoever runs the server can end a session: its user reads why, its recording
// is closed with the reason, and the connection goes on.
func TestLiveEndsASession(t *testing.T) {
	live := make(chan context.CancelCauseFunc, 8)
	over := make(chan policy.SessionID, 8)
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", func(cfg *Config) {
		cfg.Live = func(ctx context.Context, id policy.SessionID) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			live <- cancel
			return ctx, func() { cancel(nil); over <- id }
		}
	})
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	s.Stdout, s.Stderr = &out, &errOut
	if err := s.Start("wait"); err != nil {
		t.Fatal(err)
	}
	end := <-live
	end(errors.New("the disk of the bastion is almost full, so this session was ended"))
	finish(t, s, &out, &errOut)
	id := <-over
	if !strings.Contains(errOut.String(), "almost full") {
		t.Errorf("the user read %q", errOut.String())
	}
	if e := f.entriesOf(policy.EntrySessionEnd); len(e) != 1 || e[0].Session != id || !strings.Contains(e[0].Detail["reason"], "almost full") {
		t.Errorf("%+v", e)
	}
	again, err := c.NewSession()
	if err != nil {
		t.Fatalf("the connection ended too: %v", err)
	}
	if got, err := again.Output("echo on"); err != nil || len(got) == 0 {
		t.Errorf("the next session: %q %v", got, err)
	}
}
