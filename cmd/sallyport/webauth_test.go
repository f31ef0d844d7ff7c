package main

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/policy"
)

// T7: a session in the browser does not keep groups that a later sign-in,
// anywhere, came without; and a sign-in that is refused still tells of them.
func TestT7WebSessionsFollowTheClaims(t *testing.T) {
	n := newStores(t)
	n.policy = newPolicy(t, `permit(principal in Group::"staff", action == Action::"signIn", resource);`)
	ctx, source := context.Background(), netip.MustParseAddr("192.0.2.1")
	before := policy.User{Issuer: "https://i", Subject: "s", Email: "a@b", Groups: []string{"staff", "dba"}}
	if d := n.stillWeb(before, source); d.Allowed {
		t.Error("a user whom nobody knows goes on")
	}
	if err := n.allowWeb(ctx, before, source); err != nil {
		t.Fatal(err)
	}
	reordered := before
	reordered.Groups = []string{"dba", "staff"}
	if d := n.stillWeb(reordered, source); !d.Allowed {
		t.Errorf("the order of groups matters: %s", d.Reason)
	}
	after := before
	after.Groups = []string{"staff"}
	if err := n.allowWeb(ctx, after, source); err != nil {
		t.Fatal(err)
	}
	if d := n.stillWeb(before, source); d.Allowed {
		t.Error("the older session keeps the group dba")
	}
	if d := n.stillWeb(after, source); !d.Allowed {
		t.Errorf("the newer session: %s", d.Reason)
	}
	gone := before
	gone.Groups = nil
	if err := n.allowWeb(ctx, gone, source); err == nil || !strings.Contains(err.Error(), "not allowed") {
		t.Errorf("without the group: %v", err)
	}
	if d := n.stillWeb(after, source); d.Allowed {
		t.Error("after a sign-in without any group the older session goes on")
	}
	if u, err := n.catalog.User(ctx, before.Principal()); err != nil || len(u.Groups) != 0 {
		t.Errorf("bound keys are still judged by %v (%v)", u.Groups, err)
	}
}

func newPolicy(t *testing.T, source string) *policy.Store {
	t.Helper()
	file := filepath.Join(t.TempDir(), "p.cedar")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := policy.NewStore(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
