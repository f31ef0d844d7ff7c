package console_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"sallyport/bastion/console"
	"sallyport/policy"
)

func TestKeepingVerbs(t *testing.T) {
	d := newDesk(t)
	var did []string
	note := func(what string) func(context.Context, policy.SessionID, string) error {
		return func(_ context.Context, id policy.SessionID, reason string) error {
			did = append(did, what+" "+string(id)+" "+reason)
			if reason == "no" {
				return errors.New("the recording is held: case 17")
			}
			return nil
		}
	}
	d.env.Keeping = &console.Keeping{Hold: note("hold"), Unhold: note("unhold"), Delete: note("delete")}
	const id = "06h0gx8ezqsxbady6552thj49r"
	for _, tc := range []struct {
		args []string
		code int
		out  string
		err  string
		did  string
	}{
		{[]string{"hold", "06h0gx8e", "--reason", "case 17"}, 0, id + " is held.\n", "", "hold " + id + " case 17"},
		{[]string{"unhold", id, "--reason", "closed"}, 0, id + " is not held any more.\n", "", "unhold " + id + " closed"},
		{[]string{"delete", id, "--reason", "asked by the user"}, 0, id + " is deleted.\n", "", "delete " + id + " asked by the user"},
		{[]string{"delete", id, "--reason", "no"}, 1, "", "the recording is held: case 17\n", "delete " + id + " no"},
		{[]string{"delete", "06h0gx8e", "--reason", "x"}, 2, "", "delete takes the whole ID, since it cannot be undone", ""},
		{[]string{"hold", id}, 2, "", "--reason is needed", ""},
		{[]string{"hold", id, "--reason", "  "}, 2, "", "--reason is needed", ""},
		{[]string{"hold", id, "--reason", "a\nb"}, 2, "", "--reason is one line of plain text", ""},
		{[]string{"hold", id, "--reason", "\x1b[31m"}, 2, "", "--reason is one line of plain text", ""},
		{[]string{"hold", id, "--reason", strings.Repeat("x", 501)}, 2, "", "--reason is at most 500 bytes", ""},
		{[]string{"hold"}, 2, "", "hold takes one recording's ID", ""},
		{[]string{"unhold", "zzzz", "--reason", "x"}, 1, "", "no recording", ""},
	} {
		did = nil
		code := d.run(tc.args...)
		if code != tc.code || d.out.String() != tc.out || !strings.HasPrefix(d.err.String(), tc.err) || strings.Count(d.err.String(), "\n") > 1 || strings.Join(did, ";") != tc.did {
			t.Errorf("%q: exit %d, out %q, err %q, did %q", tc.args, code, d.out.String(), d.err.String(), did)
		}
	}
	d.env.Keeping = nil
	if code := d.run("hold", id, "--reason", "x"); code != 2 || !strings.Contains(d.err.String(), "unknown verb") {
		t.Errorf("without them: exit %d, %s", code, d.err.String())
	}
}
