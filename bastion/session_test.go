package bastion

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

func TestExecOnTarget(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	c := f.mustDial("root@db1", key)
	if got := run(t, c, "both", nil); got.out != "to stdout\n" || got.err != "to stderr\n" || got.code != 7 {
		t.Fatal(got)
	}
	got := run(t, c, "cat", func(s *ssh.Session) { s.Stdin = strings.NewReader("through and through") })
	if got.out != "through and through" || got.code != 0 {
		t.Fatal(got)
	}
	ends := f.waitEntries(policy.EntrySessionEnd, 2)
	if n := len(f.connects); n != 1 {
		t.Errorf("%d connections to the target, want one for both sessions", n)
	}
	for i, e := range ends {
		if e.User == nil || e.User.String() != alice.String() || e.Target != "db1" || e.Login != "root" {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	rec := f.recordingOf(ends[0].Session)
	if string(rec.out[policy.StreamOutput]) != "to stdout\n" || string(rec.out[policy.StreamStderr]) != "to stderr\n" {
		t.Errorf("recorded %q", rec.out)
	}
	if r := string(f.recordingOf(ends[1].Session).input); r != "through and through" {
		t.Errorf("recorded input %q", r)
	}
}
