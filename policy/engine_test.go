package policy

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const testPolicies = `@cert_ttl("1h")
permit(principal, action == Action::"signIn", resource);

@max_session("8h")
permit(principal in Group::"engineers", action in [Action::"shell", Action::"exec"], resource)
when { resource.hasTag("env") && resource.getTag("env") == "prod" && context has login && context.login == "root" };

@max_session("1h") @redact("all")
permit(principal in Group::"oncall", action == Action::"shell", resource);

permit(principal, action == Action::"replay", resource)
when { context has owner && context.owner == principal };

forbid(principal, action, resource)
when { context has source && !context.source.isInRange(ip("10.0.0.0/8")) };
`

var (
	engineer = User{Issuer: "i", Subject: "e", Groups: []string{"engineers"}}
	oncall   = User{Issuer: "i", Subject: "o", Groups: []string{"engineers", "oncall"}}
	stranger = User{Issuer: "i", Subject: "s", Groups: []string{`x" in Group::"engineers`}}
	prod     = Target{Name: "db1", Labels: map[string]string{"env": "prod"}}
)

func mustParse(t testing.TB, src string) *Engine {
	t.Helper()
	e, err := Parse("p.cedar", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestDecide(t *testing.T) {
	e := mustParse(t, testPolicies)
	for _, tc := range []struct {
		name string
		r    Request
		want bool
	}{
		{"anybody signs in", Request{User: stranger, Action: ActionSignIn}, true},
		{"engineer, root, prod", Request{User: engineer, Action: ActionShell, Target: prod, Login: "root"}, true},
		{"engineer, other login", Request{User: engineer, Action: ActionShell, Target: prod, Login: "postgres"}, false},
		{"engineer, no label", Request{User: engineer, Action: ActionShell, Target: Target{Name: "x"}, Login: "root"}, false},
		{"engineer, sftp", Request{User: engineer, Action: ActionSFTP, Target: prod, Login: "root"}, false},
		{"stranger with a hostile group", Request{User: stranger, Action: ActionShell, Target: prod, Login: "root"}, false},
		{"nobody", Request{Action: ActionShell, Target: prod, Login: "root"}, false},
		{"own recording", Request{User: engineer, Action: ActionReplay, Target: prod, Owner: engineer}, true},
		{"another's recording", Request{User: engineer, Action: ActionReplay, Target: prod, Owner: oncall}, false},
		{"own recording, raw", Request{User: engineer, Action: ActionReplayRaw, Target: prod, Owner: engineer}, false},
		{"right network", Request{User: oncall, Action: ActionShell, Target: prod, Source: netip.MustParseAddr("10.1.2.3")}, true},
		{"v4-mapped v6", Request{User: oncall, Action: ActionShell, Target: prod, Source: netip.MustParseAddr("::ffff:10.1.2.3")}, true},
		{"forbid wins", Request{User: oncall, Action: ActionShell, Target: prod, Source: netip.MustParseAddr("192.0.2.1")}, false},
		{"unknown action", Request{User: oncall, Action: "fly", Target: prod}, false},
	} {
		if d := e.Decide(tc.r); d.Allowed != tc.want {
			t.Errorf("%s: %+v", tc.name, d)
		}
	}
}

// What a provider or a configuration writes into groups, labels, names and
// logins is a value to Cedar, never a part of a policy, and nothing of an owner
// or a target rubs off on who asks.
func TestHostileWordsStayWords(t *testing.T) {
	e := mustParse(t, testPolicies)
	hostile := []string{
		`engineers"`, `"engineers`, `Group::"engineers"`, "engineers\x00", "Engineers", " engineers", "engineers ",
		"engineers\n", "*", "", `\"engineers\"`, "engineers\u200b", "engine\u0435rs", strings.Repeat("engineers", 1000),
		`x" in Group::"engineers`, `"); permit(principal, action, resource); //`,
	}
	root := Request{User: engineer, Action: ActionShell, Target: prod, Login: "root"}
	if !e.Decide(root).Allowed {
		t.Fatal("the rest of this test shows nothing")
	}
	for _, h := range hostile {
		for what, r := range map[string]Request{
			"group":            {User: User{Issuer: "i", Subject: "s", Groups: []string{h}}, Action: ActionShell, Target: prod, Login: "root"},
			"subject":          {User: User{Issuer: "i", Subject: h + "x"}, Action: ActionShell, Target: prod, Login: "root"},
			"name and e-mail":  {User: User{Issuer: "i", Subject: "s", Name: h, Email: h}, Action: ActionShell, Target: prod, Login: "root"},
			"label's value":    {User: engineer, Action: ActionShell, Target: Target{Name: "db1", Labels: map[string]string{"env": h}}, Login: "root"},
			"label's name":     {User: engineer, Action: ActionShell, Target: Target{Name: "db1", Labels: map[string]string{h: "prod"}}, Login: "root"},
			"target's name":    {User: engineer, Action: ActionShell, Target: Target{Name: h}, Login: "root"},
			"login":            {User: engineer, Action: ActionShell, Target: prod, Login: Login("root" + h + "x")},
			"action":           {User: engineer, Action: Action(h), Target: prod, Login: "root"},
			"owner's subject":  {User: stranger, Action: ActionReplay, Target: prod, Owner: User{Issuer: "i", Subject: "s" + h + "x"}},
			"owner's group":    {User: stranger, Action: ActionShell, Target: prod, Login: "root", Owner: engineer},
			"the same subject": {User: User{Issuer: "other", Subject: engineer.Subject}, Action: ActionReplay, Target: prod, Owner: engineer},
		} {
			if d := e.Decide(r); d.Allowed {
				t.Errorf("%s %.40q: %+v", what, h, d)
			}
		}
	}
}

func TestObligationsAreMergedStrictestFirst(t *testing.T) {
	d := mustParse(t, testPolicies).Decide(Request{User: oncall, Action: ActionShell, Target: prod, Login: "root"})
	if d.Obligations.MaxSession != time.Hour || !d.Obligations.Redact || len(d.Policies) != 2 {
		t.Errorf("%+v", d)
	}
}

func TestAPolicyThatCannotBeEvaluatedDenies(t *testing.T) {
	e := mustParse(t, `permit(principal, action, resource);
forbid(principal, action, resource) when { 9223372036854775807 + 1 > 0 };`)
	if d := e.Decide(Request{User: engineer, Action: ActionSignIn}); d.Allowed || !strings.Contains(d.Reason, "p.cedar:2") {
		t.Errorf("%+v", d)
	}
}

func TestParseErrorsNameThePlace(t *testing.T) {
	for _, tc := range []struct{ src, want string }{
		{"permit(principal, action, resource)\npermit(principal, action, resource);", "p.cedar:2:7: syntax error near"},
		{"\npermit(principal, action == Action::\"fly\", resource);", `p.cedar:2:29: unknown action Action::"fly"; known: signIn, `},
		{"permit(principal, action == Action::\"shell\", resource)\nwhen { resource.nme == \"x\" };", "p.cedar:2:16: attribute `nme` on entity type `Target` not found"},
		{"permit(principal in Team::\"x\", action, resource);", "p.cedar:1:21: unknown entity type Team; known: User, Group, Target, Bastion"},
		{"permit(principal, action == Action::\"shell\", resource)\nwhen { context.login == \"x\" };", "p.cedar:2:8: context.login may be absent; write: context has login && context.login"},
		{"permit(principal, action == Action::\"shell\", resource)\nwhen { resource.getTag(\"env\") == \"x\" };", `p.cedar:2:17: the label env may be absent; write: resource.hasTag("env")`},
		{"@cert_ttl(\"soon\")\npermit(principal, action, resource);", `p.cedar:1:1: @cert_ttl: want a duration such as 30m or 8h, found "soon"`},
		{"@cert_tll(\"1h\")\npermit(principal, action, resource);", "p.cedar:1:1: @cert_tll: unknown annotation"},
	} {
		_, err := Parse("p.cedar", []byte(tc.src))
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q:\n got %v\nwant %s", tc.src, err, tc.want)
		}
	}
}

func TestReloadKeepsTheOldWhenTheNewIsBad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.cedar")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(testPolicies)
	s, err := NewStore(path)
	if err != nil {
		t.Fatal(err)
	}
	r := Request{User: engineer, Action: ActionSignIn}
	write("permit(")
	if _, err := s.Reload(); err == nil || !s.Decide(r).Allowed {
		t.Errorf("a bad file: %v, %+v", err, s.Decide(r))
	}
	write("forbid(principal, action, resource);")
	if changed, err := s.Reload(); err != nil || !changed || s.Decide(r).Allowed {
		t.Errorf("a new file: %v %v %+v", changed, err, s.Decide(r))
	}
	if changed, err := s.Reload(); err != nil || changed {
		t.Errorf("the same file: %v %v", changed, err)
	}
}

func TestExplainNamesThePolicy(t *testing.T) {
	got := mustParse(t, testPolicies).Explain(Request{User: engineer, Action: ActionShell, Target: prod, Login: "root"}).String()
	if !strings.Contains(got, "root@db1? yes") || !strings.Contains(got, "permitted by p.cedar:4") {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(testPolicies))
	f.Add([]byte(`@id("a") permit(principal, action, resource);`))
	f.Fuzz(func(t *testing.T, src []byte) {
		if e, err := Parse("p", src); err == nil {
			e.Decide(Request{User: engineer, Action: ActionShell, Target: prod})
		}
	})
}
