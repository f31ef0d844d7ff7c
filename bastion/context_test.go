package bastion

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// A recording says who, by which policy and configuration, and what was
// reached, in words that later changes do not touch.
func TestContextOfASession(t *testing.T) {
	w := newFakeWorld(t)
	user := policy.User{Issuer: alice.Issuer, Subject: alice.Subject, Name: "Alice", Email: "a@example.com", Groups: []string{"sre", "dba"}}
	w.targets[0].Labels = map[string]string{"env": "prod"}
	f := startFront(t, w, func(c *Config) {
		decide := c.Decide
		c.Decide = func(r policy.Request) policy.Decision {
			d := decide(r)
			d.Policies = []string{"policy.cedar:3 @dba", "policy.cedar:9"}
			d.Obligations.Retention = 90 * 24 * time.Hour
			return d
		}
		c.Digests = func() (string, string) { return "1234", "abcd" }
	})
	key := newKey(t)
	f.bind(key.PublicKey(), user)
	c := f.mustDial("root@db1", key)
	if got := run(t, c, "true", func(s *ssh.Session) {
		for _, v := range []string{"LANG", "LD_PRELOAD", "LANG"} {
			s.Setenv(v, "C")
		}
	}); got.code != 0 {
		t.Fatal(got)
	}
	rec := f.recordingOf(f.waitEntries(policy.EntrySessionEnd, 1)[0].Session)
	f.targets[0].Labels["env"] = "changed"
	s := rec.session
	if !reflect.DeepEqual(s.User, user) || s.Labels["env"] != "prod" || s.Address != f.targetAddr || s.PolicyDigest != "1234" || s.ConfigDigest != "abcd" ||
		!slices.Equal(s.Policies, []string{"policy.cedar:3 @dba", "policy.cedar:9"}) || s.Retention != 90*24*time.Hour ||
		!slices.Equal(s.AskedEnv, []string{"LANG", "LD_PRELOAD"}) || len(s.Env) != 1 {
		t.Errorf("%+v", s)
	}
	if e := rec.end; e.Address != f.targetAddr || e.HostKey != "SHA256:fake" || e.Host != nil {
		t.Errorf("%+v", e)
	}
}

// The names of variables that are kept are bounded, also in length.
func TestAskedEnvironmentIsBounded(t *testing.T) {
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", nil)
	run(t, c, "true", func(s *ssh.Session) {
		for i := range 300 {
			s.Setenv("V"+strings.Repeat("x", i), "")
		}
	})
	rec := f.recordingOf(f.waitEntries(policy.EntrySessionEnd, 1)[0].Session)
	if n := len(rec.session.AskedEnv); n != maxEnv {
		t.Errorf("%d names", n)
	}
	if env := find(rec.end.Channels, "request", "client", "env"); len(env) != 1 || env[0].Count != 300 || env[0].Note != "refused: not among the variables that may pass" {
		t.Errorf("%+v", env)
	}
}

// The answer about a target that does not exist, and about one that the user
// may do nothing with, is the same; the entry says which it was. Who may do
// something there is told what is wrong.
func TestTargetsThatAUserMayNotKnow(t *testing.T) {
	w := newFakeWorld(t)
	w.deny = func(r policy.Request) bool {
		return r.Target.Name == "web1" || r.Target.Name == "db1" && r.Action != policy.ActionReplay
	}
	f := startFront(t, w, nil)
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	for _, tc := range []struct{ user, says, entry string }{
		{"www@web9", `There is no target named "web9" here that you may use.`, `There is no target named "web9".`},
		{"www@web1", `There is no target named "web1" here that you may use.`, "You are not allowed to use exec on web1 as www."},
		{"nobody@web1", `There is no target named "web1" here that you may use.`, `The login "nobody" is not among those of web1.`},
		{"www@WEB1", `There is no target named "WEB1" here that you may use.`, "You are not allowed to use exec on web1 as www."},
		{"root@db1", "You are not allowed to use exec on db1 as root.", "You are not allowed to use exec on db1 as root."},
		{"nobody@db1", `The login "nobody" is not among those of db1.`, `The login "nobody" is not among those of db1.`},
	} {
		before := len(f.entriesOf(policy.EntryDeny))
		got := run(t, f.mustDial(tc.user, key), "true", nil)
		if got.err != "sallyport: "+tc.says+"\n" || got.out != "" || got.code != 1 {
			t.Errorf("%s: %v", tc.user, got)
		}
		if e := f.entriesOf(policy.EntryDeny)[before:]; len(e) != 1 || e[0].Detail["reason"] != tc.entry {
			t.Errorf("%s is entered as %+v", tc.user, e)
		}
	}
	c := f.mustDial("x", key)
	for _, tc := range []struct {
		addr, says, entry string
	}{
		{"web9:22", `"web9" is not a target of this bastion that you may use.`, "there is no such target"},
		{"web1:22", `"web1" is not a target of this bastion that you may use.`, "the user may do nothing with web1"},
		{"web1:80", `"web1" is not a target of this bastion that you may use.`, "the user may do nothing with web1"},
		{"web9:80", `"web9" is not a target of this bastion that you may use.`, "there is no such target"},
		{"db1:80", "Port 80 of db1 cannot be reached through this bastion, only ssh.", "Port 80 of db1 cannot be reached through this bastion, only ssh."},
	} {
		before := len(f.entriesOf(policy.EntryChannelDenied))
		_, err := c.Dial("tcp", tc.addr)
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) || refused.Message != tc.says || refused.Reason != ssh.Prohibited {
			t.Errorf("%s: %v", tc.addr, err)
		}
		if e := f.entriesOf(policy.EntryChannelDenied)[before:]; len(e) != 1 || e[0].Detail["reason"] != tc.entry {
			t.Errorf("%s is entered as %+v", tc.addr, e)
		}
	}
	if inner, err := jump(f, c, "db1:22", "root", ssh.PublicKeys(key)); err != nil {
		t.Error(err)
	} else {
		inner.Close()
	}
}
