package redact

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func custom(patterns ...string) Config {
	c := Config{Disable: Builtin()}
	for i, p := range patterns {
		c.Custom = append(c.Custom, CustomRule{Name: "rule" + string(rune('0'+i)), Pattern: p})
	}
	return c
}

func TestCustomRules(t *testing.T) {
	for _, tc := range []struct{ pattern, in, want string }{
		{`ACME-[0-9]{6}`, "x ACME-123456 y ACME-12x", "x ACME-****** y ACME-12x"},
		{`\bACME-[0-9]+\b`, "ACME-12 XACME-12 ACME-12x ", "ACME-** XACME-12 ACME-12x "},
		{`(?i)acme-[0-9]+`, "Acme-12 ACME-34\n", "Acme-** ACME-**\n"},
		{`ACME-[0-9]{3}(?:-[0-9]{3})?`, "ACME-123-456 ACME-123-45 ", "ACME-******* ACME-***-45 "},
		{`user=\w+ key=(\w+);`, "user=bob key=hunter2; x user=bob key=hunter2 ", "user=bob key=*******; x user=bob key=hunter2 "},
		{`pin (\d{4})`, "pin 1234 pin 123 ", "pin **** pin 123 "},
		{`\d{4}-\d{4}`, "1234-5678 123-4567 12345-6789", "********* 123-4567 1*********"},
		{`\b\d{4}\b`, "1234 12345 x1234 9876\n", "**** 12345 x1234 ****\n"},
		{`[a-f]+z`, "abcz abcx fz", "**** abcx **"},
		{`(?:red|green)-\d+`, "red-1 green-22 blue-3\n", "***** ******** blue-3\n"},
		{`hunter2`, "my hunter2 hunter3 hunter2", "my ******* hunter3 *******"},
		{`^secret.*$`, "secret plans\nno secret plans\n", "secret******\nno secret plans\n"},
		{`пароль=\S+`, "пароль=тайна x", "пароль=***** x"},
		{`密[^密]+`, "密日本\n", "密****\n"},
		{`a.*?;`, "abc;def;", "a***def;"},
		{`(a)(b)c`, "abc", "*bc"},
		{`(ab)c+d`, "abcd", "abcd"}, // group 1 lies in the anchor, which is shown
		{`[ab](c+)d`, "accd accx bcd", "a**d accx b*d"},
		{`日本+`, "日本本 x", "日本** x"},
	} {
		r := compile(t, custom(tc.pattern))
		t.Run(tc.pattern, func(t *testing.T) { everySplit(t, r, 80, tc.in+"\r\n", tc.want+"\r\n") })
	}
}

// TestCustomShapes: custom rules see the same text as the built-in ones.
func TestCustomShapes(t *testing.T) {
	r := compile(t, custom(`ACME-[0-9]{6}`, `[0-9]{4}Z`))
	for _, tc := range []struct {
		in, want string
		cols     int
	}{
		{"AC\x1b[1mME-12\x1b[m3456", "AC\x1b[1mME-**\x1b[m****", 80},
		{"x ACME- \r123456 y", "x ACME- \r****** y", 7},
		{"ACME-13\b \b23456\n", "ACME-**\b \b*****\n", 80},
		{"12\x1b[1m34Z 1234\x1b[mY", "**\x1b[1m*** 1234\x1b[mY", 80},
	} {
		everySplit(t, r, tc.cols, tc.in+"\r\n", tc.want+"\r\n")
	}
}

// TestCustomDeadline: a rule with a literal beginning hides what is typed
// slowly; one without shows it, except a literal that is half complete.
func TestCustomDeadline(t *testing.T) {
	r := compile(t, custom(`ACME-[0-9]{6}`, `[0-9]{4}Z`, `hunter2`, `key (\w{5});`))
	for _, tc := range []struct{ in, want string }{
		{"ACME-123456 ", "ACME-****** "}, {"1234Z ", "1234* "}, {"hunter2 ", "hun**** "}, {"key abcde; ", "key *****; "},
	} {
		m := r.NewMasker(80)
		c := &collector{}
		for i := range len(tc.in) {
			now := t0.Add(time.Duration(i) * time.Second)
			c.add(t, m.Feed([]byte(tc.in[i:i+1]), now))
			c.add(t, m.Flush(now.Add(DefaultHoldTime)))
		}
		if got := string(c.view); got != tc.want {
			t.Errorf("%q typed slowly: %q, want %q", tc.in, got, tc.want)
		}
	}
}

// TestMatcherAgreesWithRegexp compares the incremental matcher with package
// regexp on lines of text, for rules without an anchor.
func TestMatcherAgreesWithRegexp(t *testing.T) {
	patterns := []string{
		`[ab]+c`, `[ab]+?c`, `(?:[ax]|[ax]b)(?:c|bcd)(?:d*)`, `[0-9]{2,4}`, `\b[a-c]{2}\b`, `[ab]x?y?`, `^[abc]+`, `[abc]+$`,
		`[a-c]([0-9]+)[a-c]`, `[ab]c|[ab]cd`, `[ab]cd|[ab]c`, `(?:[ab]|c)\B[x0]`, `[ab](?:x(y)|z)`, `.y`, `\w+\s\w`,
	}
	alphabet := "abcdxyz01 "
	seed := uint32(1)
	for _, p := range patterns {
		r, re := compile(t, custom(p)), regexp.MustCompile(p)
		for range 300 {
			var b strings.Builder
			for range 12 {
				seed = seed*1664525 + 1013904223
				b.WriteByte(alphabet[seed>>16%uint32(len(alphabet))])
			}
			s := b.String()
			if got, want := string(feed(t, r, 80, s+"\n").view), maskAll(re, s)+"\n"; got != want && !masksMore(got, want) {
				t.Fatalf("%s on %q: %q, want %q", p, s, got, want)
			}
		}
	}
}

// masksMore tells whether got hides all that want hides.
func masksMore(got, want string) bool {
	for i := range len(want) {
		if want[i] == '*' && got[i] != '*' {
			return false
		}
	}
	return true
}

func maskAll(re *regexp.Regexp, s string) string {
	b := []byte(s)
	for _, m := range re.FindAllStringSubmatchIndex(s, -1) {
		from, to := m[0], m[1]
		if len(m) > 2 {
			from, to = m[2], m[3]
		}
		for i := max(from, 0); i < to; i++ {
			b[i] = '*'
		}
	}
	return string(b)
}

func TestCompileErrors(t *testing.T) {
	many := make([]CustomRule, 300)
	for _, tc := range []struct {
		c    Config
		want string
	}{
		{Config{Disable: []string{"nope"}}, `redact: there is no built-in rule "nope" to disable; there are private-key, aws-access-key-id,`},
		{Config{Custom: []CustomRule{{"", "x"}}}, "redact: custom rule 1 has no name"},
		{Config{Custom: []CustomRule{{"a", "x(y"}}}, `redact: custom rule "a": error parsing regexp: missing closing ): ` + "`x(y`"},
		{Config{Custom: []CustomRule{{"a", "x*"}}}, `redact: custom rule "a": the pattern matches the empty string`},
		{Config{Custom: []CustomRule{{"a", `\b`}}}, `redact: custom rule "a": the pattern matches the empty string`},
		{Config{Custom: []CustomRule{{"a", ""}}}, `redact: custom rule "a": the pattern matches the empty string`},
		{Config{Custom: []CustomRule{{"a", "(?:x{1000}){1}y{1000}"}}}, `redact: custom rule "a": the pattern is too complex`},
		{Config{Custom: []CustomRule{{"a", strings.Repeat("x", 5000)}}}, `redact: custom rule "a": the pattern is longer than 4096 bytes`},
		{Config{Custom: []CustomRule{{"a", "x1"}, {"a", "x2"}}}, `redact: there are two rules named "a"`},
		{Config{Custom: []CustomRule{{"jwt", "x1"}}}, `redact: there are two rules named "jwt"`},
		{Config{Custom: []CustomRule{{strings.Repeat("n", 101), "x1"}}}, "redact: the name of custom rule 1 is longer than 100 bytes"},
		{Config{Custom: many}, "redact: 300 custom rules are more than the 256 allowed"},
		{Config{HoldBytes: -1}, "redact: hold-back of -1 bytes is not between 1 and 65536"},
		{Config{HoldTime: time.Hour}, "redact: hold-back of 1h0m0s is not between 0 and 1s"},
	} {
		_, err := Compile(tc.c)
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("error %v, want %s", err, tc.want)
		}
	}
}

func TestDisable(t *testing.T) {
	r := compile(t, Config{Disable: []string{"password"}})
	if got := string(feed(t, r, 80, "password=hunter2 "+keyID).view); got != "password=hunter2 AKIA"+stars(16) {
		t.Errorf("view %q", got)
	}
	none := compile(t, Config{Disable: Builtin()})
	if got := string(feed(t, none, 80, "password=hunter2 "+keyID).view); strings.Contains(got, "*") {
		t.Errorf("masked with no rule: %q", got)
	}
}
