package bastion

import (
	"strings"
	"testing"
)

func TestParseUserName(t *testing.T) {
	for _, tc := range []struct {
		in, login, target, err string
	}{
		{"root@db1", "root", "db1", ""},
		{"alice@corp@db1.bastion.test", "alice@corp", "db1.bastion.test", ""},
		{`CORP\alice@db1`, `CORP\alice`, "db1", ""},
		{"machine$@DB-1_a", "machine$", "DB-1_a", ""},
		{"alice", "", "", ""},
		{"", "", "", ""},
		{"jürgen", "", "", ""},
		{"@db1", "", "", "empty"},
		{"root@", "", "", "empty"},
		{"@", "", "", "empty"},
		{"a@@b", "", "", ""},
		{"-oProxyCommand=x@db1", "", "", `cannot start with "-"`},
		{"@x@db1", "", "", `cannot start with "@"`},
		{"root@-db1", "", "", "starts with a letter or a digit"},
		{"root@.db1", "", "", "starts with a letter or a digit"},
		{"root@db1/../x", "", "", "character that is not allowed"},
		{"root@[::1]", "", "", "starts with a letter or a digit"},
		{"ro ot@db1", "", "", "character that is not allowed"},
		{"root\x00@db1", "", "", "character that is not allowed"},
		{"root\n@db1", "", "", "character that is not allowed"},
		{"jürgen@db1", "", "", "character that is not allowed"},
		{"ro\u202eot@db1", "", "", "character that is not allowed"},
		{"a\x1b[2Jb", "", "", "cannot be printed"},
		{"\xff", "", "", "cannot be printed"},
		{strings.Repeat("a", 65) + "@db1", "", "", "longer than 64"},
		{"root@" + strings.Repeat("a", 256), "", "", "longer than 255"},
		{strings.Repeat("a", 513), "", "", "longer than 512"},
	} {
		u, err := parseUserName(tc.in)
		switch {
		case tc.in == "a@@b":
			if err != nil || u.Login != "a@" || u.Target != "b" {
				t.Errorf("%q: %v %v", tc.in, u, err)
			}
		case tc.err != "":
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: error %v, want %q", tc.in, err, tc.err)
			} else if printable(err.Error(), 1000) != err.Error() || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: the error %q is not one printable line", tc.in, err)
			}
		case err != nil || string(u.Login) != tc.login || u.Target != tc.target:
			t.Errorf("%q: %+v %v", tc.in, u, err)
		}
	}
}

func FuzzParseUserName(f *testing.F) {
	for _, s := range []string{"root@db1", "a@b@c", "", "@", "-x@y", "a\x00@b", "\xff@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseUserName(s)
		if err != nil {
			if u != (userName{}) {
				t.Fatalf("%q: %+v with error %v", s, u, err)
			}
			if m, ok := userMessage(err); !ok || m != err.Error() {
				t.Fatalf("%q: the error %q is not for users", s, err)
			}
			return
		}
		if (u.Login == "") != (u.Target == "") {
			t.Fatalf("%q: %+v is half a name", s, u)
		}
		if u.Target == "" {
			return
		}
		if u.String() != s {
			t.Fatalf("%q came back as %q", s, u)
		}
		if !isPrintableASCII(s) || strings.ContainsAny(s, " /'\"`;|&<>(){}*?[]!#~") || s[0] == '-' {
			t.Fatalf("%q was accepted", s)
		}
	})
}
