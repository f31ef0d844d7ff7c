package redact

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/clipperhouse/displaywidth"
)

const (
	keyID  = "AKIAIOSFODNN7EXAMPLE"
	keySec = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	jwt    = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
)

var t0 = time.Unix(1700000000, 0)

func compile(t testing.TB, c Config) *Rules {
	t.Helper()
	r, err := Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// collector joins chunks and checks what holds for each of them.
type collector struct {
	raw, view []byte
	masks     []Mask // Off counted from the start of the stream
	biggest   int
}

func (c *collector) add(t testing.TB, chunks []Chunk) {
	t.Helper()
	for _, k := range chunks {
		if len(k.Raw) == 0 {
			t.Fatal("empty chunk")
		}
		end := 0
		for _, m := range k.Masks {
			if m.Rule == "" || m.Off < end || m.Len <= 0 || m.Off+m.Len > len(k.Raw) {
				t.Fatalf("mask %+v of a chunk of %d bytes, after %d", m, len(k.Raw), end)
			}
			if got := cells(k.Raw[m.Off : m.Off+m.Len]); got != m.Cells {
				t.Fatalf("mask %+v hides %d cells", m, got)
			}
			end = m.Off + m.Len
			m.Off += len(c.raw)
			c.masks = append(c.masks, m)
		}
		c.view = append(c.view, View(k.Raw, k.Masks)...)
		c.raw = append(c.raw, k.Raw...)
	}
}

// feed passes parts through a new masker without time going by.
func feed(t testing.TB, r *Rules, cols int, parts ...string) *collector {
	t.Helper()
	m := r.NewMasker(cols)
	c := &collector{}
	for _, p := range parts {
		c.add(t, m.Feed([]byte(p), t0))
		c.biggest = max(c.biggest, len(m.held))
	}
	c.add(t, m.Flush(t0))
	if want := strings.Join(parts, ""); string(c.raw) != want {
		t.Fatalf("raw bytes differ:\n got %q\nwant %q", c.raw, want)
	}
	if _, held := m.Deadline(); held {
		t.Fatal("something is held after Flush")
	}
	return c
}

// everySplit feeds s whole, byte by byte, and cut in two at every position,
// and checks that the view is always want.
func everySplit(t *testing.T, r *Rules, cols int, s, want string) {
	t.Helper()
	check := func(how string, parts ...string) {
		t.Helper()
		if got := string(feed(t, r, cols, parts...).view); got != want {
			t.Fatalf("%s:\n got %q\nwant %q", how, got, want)
		}
	}
	check("whole", s)
	check("byte by byte", bytewise(s)...)
	for i := 1; i < len(s); i++ {
		check("cut before "+s[i:], s[:i], s[i:])
	}
}

func bytewise(s string) []string {
	parts := make([]string, len(s))
	for i := range len(s) {
		parts[i] = s[i : i+1]
	}
	return parts
}

func stars(n int) string { return strings.Repeat("*", n) }

func TestBuiltinRules(t *testing.T) {
	r := compile(t, Config{})
	for _, tc := range []struct{ in, want, rule string }{
		{"id " + keyID + "\r\n", "id AKIA" + stars(16) + "\r\n", "aws-access-key-id"},
		{"ASIAIOSFODNN7EXAMPLE", "ASIA" + stars(16), "aws-access-key-id"},
		{"aws_secret_access_key = " + keySec + "\n", "aws_secret_access_key = " + stars(40) + "\n", "aws-secret-access-key"},
		{"export AWS_SECRET_ACCESS_KEY=" + keySec + "; ls", "export AWS_SECRET_ACCESS_KEY=" + stars(41) + " ls", "aws-secret-access-key"},
		{`"SecretAccessKey": "` + keySec + `",`, `"SecretAccessKey": "` + stars(40) + `",`, "aws-secret-access-key"},
		{"Authorization: Bearer " + jwt + "\n", "Authorization: Bearer " + stars(len(jwt)) + "\n", "authorization"},
		{"x=" + jwt + " y", "x=eyJ" + stars(len(jwt)-3) + " y", "jwt"},
		{"ghp_" + stars36, "ghp_" + stars(36), "github-token"},
		{"github_pat_11ABCDEFG0abcdefghijkl_mnopqrst", "github_pat_" + stars(31), "github-token"},
		{"glpat-abcdefghij0123456789", "glpat-" + stars(20), "gitlab-token"},
		{"xoxb-123456789012-abcdef", "xoxb-" + stars(19), "slack-token"},
		{"AIzaSyA-1234567890abcdefghijklmnopqrstu", "AIza" + stars(35), "service-token"},
		{"password=hunter2\r\n", "password=*******\r\n", "password"},
		{"PASSWORD='hunter 2' x", "PASSWORD='********' x", "password"},
		{`export DB_PASSWORD="a\"b c" x`, `export DB_PASSWORD="******" x`, "password"},
		{"passwd: hunter2 ", "passwd: ******* ", "password"},
		{`{"password":"hunter2","user":"bob"}`, `{"password":"*******","user":"bob"}`, "password"},
		{`"{\"password\": \"hunter2\", \"a\": 1}"`, `"{\"password\": \"********", \"a\": 1}"`, "password"},
		{"password: \"hunter2\"\n  user: bob", "password: \"*******\"\n  user: bob", "password"},
		{"PGPASSWORD=hunter2 psql", "PGPASSWORD=******* psql", "password"},
		{"--password=hunter2 -h db", "--password=******* -h db", "password"},
		{"$cfg['password'] = 'hunter2';", "$cfg['password'] = '*******';", "password"},
		{"password := `hunter2`", "password := `*******`", "password"},
		{"password='ab'b\"c d\" e", "password='**'*\"***\" e", "password"},
		{"password=$'a\\'b c' d", "password=$'******' d", "password"},
		{"password=pässwörd ", "password=******** ", "password"},
		{"password=日本語 ", "password=****** ", "password"},
		{"client_secret: abcdef\n", "client_secret: ******\n", "secret"},
		{"SECRET_KEY=abcdef\n", "SECRET_KEY=******\n", "secret"},
		{"api_key = \"abcdef\"", "api_key = \"******\"", "secret"},
		{"X-Api-Key: abcdef\r\n", "X-Api-Key: ******\r\n", "secret"},
		{"GITHUB_TOKEN=abcdef", "GITHUB_TOKEN=******", "secret"},
		{"Server=db;User=sa;Pwd=hunter2 x", "Server=db;User=sa;Pwd=******* x", "password"},
		{"postgres://bob:hunter2@db:5432/x", "postgres://bob:*******@db:5432/x", "url-password"},
		{"redis://:hunter2@db/0", "redis://:*******@db/0", "url-password"},
		{"amqp://u:12345@h/", "amqp://u:*****@h/", "url-password"},
		{"mysql://u:p@ss@h/db", "mysql://u:*@**@h/db", "url-password"},
		{"https://oauth2:glpat-abcdefghij0123456789@g.com/", "https://oauth2:" + "******" + stars(20) + "@g.com/", ""},
		{"authorization: basic dXNlcjpwdw==\r\n", "authorization: basic " + stars(12) + "\r\n", "authorization"},
	} {
		everySplit(t, r, 200, tc.in, tc.want)
		c := feed(t, r, 200, tc.in)
		for _, m := range c.masks {
			if tc.rule != "" && m.Rule != tc.rule {
				t.Errorf("%q: masked by %q, want %q", tc.in, m.Rule, tc.rule)
			}
		}
	}
}

const stars36 = "abcdefghijklmnopqrstuvwxyz0123456789"

const pem = "-----BEGIN OPENSSH PRIVATE KEY-----\r\n" +
	"b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\r\n" +
	"QyNTUxOQAAACBUNYk1VTtHB5WLkq2Pp9YIGuVAtnsHQfUxC/WcnLHfoAAAAJi0BHDMtARw\r\n" +
	"zAAAAAt=\r\n" +
	"-----END OPENSSH PRIVATE KEY-----\r\n"

func TestPrivateKeys(t *testing.T) {
	r := compile(t, Config{})
	masked := "-----BEGIN OPENSSH PRIVATE KEY-----\r\n" + stars(70) + "\r\n" + stars(70) + "\r\n" +
		stars(8) + "\r\n-----END OPENSSH PRIVATE KEY-----\r\n"
	line := "MIIEpAIBAAKCAQEA7bq2h0S9q1xX0u8i9y3k"
	for _, tc := range []struct{ name, in, want string }{
		{"whole", pem + "$ ls\r\n", masked + "$ ls\r\n"},
		{"lf only", strings.ReplaceAll(pem, "\r", ""), strings.ReplaceAll(masked, "\r", "")},
		{"in json", `{"key":"-----BEGIN PRIVATE KEY-----\n` + line + `\nAb==\n-----END PRIVATE KEY-----\n"}`,
			`{"key":"-----BEGIN PRIVATE KEY-----` + stars(2+len(line)+2+4+2) + `-----END PRIVATE KEY-----\n"}`},
		{"numbered", "1\t-----BEGIN RSA PRIVATE KEY-----\n     2\t" + line + "\n     3\tAb==\n     4\t-----END RSA PRIVATE KEY-----\nok",
			"1\t-----BEGIN RSA PRIVATE KEY-----\n******\t" + stars(len(line)) + "\n******\t****\n     4\t-----END RSA PRIVATE KEY-----\nok"},
		{"truncated", "-----BEGIN EC PRIVATE KEY-----\r\n" + line + "\r\nbob@host:~$ ls\r\n" + line,
			"-----BEGIN EC PRIVATE KEY-----\r\n" + stars(len(line)) + "\r\nbob@host:~$ ls\r\n" + line},
		{"headers", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n" + line + "\n-----END RSA PRIVATE KEY-----\n",
			"-----BEGIN RSA PRIVATE KEY-----\n" + "********** ***********\n"[:0] + stars(22) + "\n" + stars(24) + "\n\n" + stars(len(line)) + "\n-----END RSA PRIVATE KEY-----\n"},
		{"pgp", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n" + line + "\n=aBcD\n-----END PGP PRIVATE KEY BLOCK-----\nx",
			"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n" + stars(len(line)) + "\n*****\n-----END PGP PRIVATE KEY BLOCK-----\nx"},
		{"public", "-----BEGIN PUBLIC KEY-----\n" + line + "\n", "-----BEGIN PUBLIC KEY-----\n" + line + "\n"},
		{"certificate", "-----BEGIN CERTIFICATE-----\n" + line + "\n", "-----BEGIN CERTIFICATE-----\n" + line + "\n"},
		{"end only", "-----END RSA PRIVATE KEY-----\n" + line + "\n", "-----END RSA PRIVATE KEY-----\n" + line + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) { everySplit(t, r, 100, tc.in, tc.want) })
	}
}

// TestNoFalsePositives: what looks like the beginning of a secret is not one.
func TestNoFalsePositives(t *testing.T) {
	r := compile(t, Config{})
	for _, s := range []string{
		"Password: \r\nLast login: today\r\n",
		"bob@db's password: \r\nWelcome\r\n",
		"[sudo] password for bob: \r\nroot\r\n",
		"Enter passphrase for key '/home/bob/.ssh/id': \r\nok",
		"password:\n  min: 8\n",
		"passwd: password updated successfully\r\n",
		"passwd: all authentication tokens updated successfully.\r\n",
		"password = None\r\n", "\"password\": null,", "token: true, x", "password: ''",
		"type Token::Ident = 1", "Unexpected token: }\r\n", "the secret of success", "passwords: many",
		"max_tokens: 4096", "secrets: {\"a\": 1}", "secret: {}", "password: []", "secret: [ 1 ]", "tokenizer=fast",
		"http://localhost:8080/path", "http://host:80", "http://host:443?x=a@b", "https://bob@host/",
		"docker://nginx:latest", "git clone ssh://git@host:2222/x.git", "see http://a.b: and c@d",
		"AKIA", "AKIAIOSFODNN7", "AKIA is a prefix", "SAKIAIOSFODNN7EXAMPLE", "eyJ", "keyJhbGciOiJIUzI1NiJ9.abc",
		"eyJhbGciOiJIUzI1NiJ9 and", "eyJ0.x", "ghp_short ", "xoxb-1 ", "Bearer of good news, basically",
		"-----BEGIN", "-----BEGIN RSA PRIVATE KEY", "-----BEGIN RSA PRIVATE KEY----\nabc",
		"PWD=/home/bob", "OLDPWD=/x",
	} {
		s += "\r\n" // where the text ends is known, so nothing is undecided
		everySplit(t, r, 80, s, s)
	}
}

func TestView(t *testing.T) {
	for _, tc := range []struct {
		raw   string
		masks []Mask
		want  string
	}{
		{"abc", nil, "abc"},
		{"abcdef", []Mask{{Off: 1, Len: 2}, {Off: 4, Len: 1}}, "a**d*f"},
		{"日本e\u0301x", []Mask{{Off: 0, Len: 9}}, "*****x"},
		{"a\x1b[31mb\x1b]0;title\x07c\r\n\td", []Mask{{Off: 0, Len: 22}}, "*\x1b[31m*\x1b]0;title\x07*\r\n\t*"},
		{"\xffab\xe6\x97", []Mask{{Off: 0, Len: 5}}, "*****"},
		{"abc", []Mask{{Off: 2, Len: 9}}, "ab*"},
		{"abc", []Mask{{Off: -2, Len: 3}, {Off: 9, Len: 1}, {Off: 1, Len: -1}}, "*bc"},
		{"abcd", []Mask{{Off: 1, Len: 2}, {Off: 0, Len: 3}, {Off: 2, Len: 2}}, "a***"},
		{"abc", []Mask{{Off: 1, Len: int(^uint(0) >> 1)}}, "a**"},
	} {
		if got := string(View([]byte(tc.raw), tc.masks)); got != tc.want {
			t.Errorf("View(%q, %v) = %q, want %q", tc.raw, tc.masks, got, tc.want)
		}
	}
}

func TestViewLeavesRawAlone(t *testing.T) {
	raw := []byte("secret")
	View(raw, []Mask{{Off: 0, Len: 6}})
	if !bytes.Equal(raw, []byte("secret")) {
		t.Fatalf("raw is now %q", raw)
	}
}

// TestCellWidth: the short cuts say what the table says.
func TestCellWidth(t *testing.T) {
	for r := rune(0xa0); r < 0x20000; r++ {
		if got, want := cellWidth(r, 3), displaywidth.Rune(r); got != want {
			t.Errorf("%U: %d cells, want %d", r, got, want)
		}
	}
}
