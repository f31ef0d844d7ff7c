package redact

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestTypingIsNotDelayed: before an anchor is complete every byte leaves at
// once, and so does every byte of a body that is recognised.
func TestTypingIsNotDelayed(t *testing.T) {
	r := compile(t, Config{})
	for _, s := range []string{
		"bob@host:~$ ls -la /tmp\r\n", "AKIA", "-----BEGIN RSA PRIVATE KEY-----\r\n", "Password: ",
		"export PASSWORD=", "http://localhost", "\x1b[1;32mtoken\x1b[m = ", "grüße 日本\r\n", "50% \r60% \r\b \b",
	} {
		m := r.NewMasker(80)
		c := &collector{}
		for _, p := range strings.SplitAfter(s, "") {
			c.add(t, m.Feed([]byte(p), t0))
			if _, held := m.Deadline(); held {
				t.Fatalf("%q: held back after %q", s, c.raw)
			}
		}
	}
	m := r.NewMasker(80)
	m.Feed([]byte("password=hunter2"), t0)
	if out := m.Feed([]byte("x"), t0); len(out) != 1 || len(out[0].Masks) != 1 {
		t.Fatalf("a byte of a recognised secret is not masked at once: %v", out)
	}
}

// TestFalseStart is T21: what is held is released by the byte that shows that
// it is no secret, or else at the deadline.
func TestFalseStart(t *testing.T) {
	r := compile(t, Config{})
	for _, tc := range []struct{ start, end string }{
		{"AKIAIOSFODNN7EXAMPL", "e"}, {"AKIAIOSF", "\n"}, {"eyJhbGciOi", " "}, {"ghp_abc", "."},
		{"http://host:8080", "/"}, {"password=non", "e\n"}, {"token: ab", "\n"}, {"AKIAIOSF", "\x1b[9;1H"},
	} {
		m := r.NewMasker(80)
		c := &collector{}
		c.add(t, m.Feed([]byte(tc.start), t0))
		due, held := m.Deadline()
		if !held || due.Sub(t0) != DefaultHoldTime {
			t.Fatalf("%q: held %v, due after %v", tc.start, held, due.Sub(t0))
		}
		c.add(t, m.Feed([]byte(tc.end), t0))
		if _, held := m.Deadline(); held {
			t.Errorf("%q: still held after %q", tc.start, tc.end)
		}
		if got := string(c.view); got != tc.start+tc.end {
			t.Errorf("view %q, want %q", got, tc.start+tc.end)
		}
	}
}

// TestDeadline: when time runs out before a secret is recognised, what may be
// one is masked, and the rest of it as it comes.
func TestDeadline(t *testing.T) {
	r := compile(t, Config{})
	for _, tc := range []struct{ in, want string }{
		{keyID, "AKIA" + stars(16)},
		{"password=hunter2", "password=*******"},
		{"token=true1", "token=*****"},
		{jwt, "eyJ" + stars(len(jwt)-3)},
		{"postgres://bob:hunter2@db/x", "postgres://bob:*******@db/x"},
		{"http://localhost:8080/x", "http://localhost:8080/x"},
		{pem, "-----BEGIN OPENSSH PRIVATE KEY-----\r\n" + stars(70) + "\r\n" + stars(70) + "\r\n" +
			stars(8) + "\r\n-----END OPENSSH PRIVATE KEY-----\r\n"},
		{"-----BEGIN RSA PRIVATE KEY-----\r\nbob@host:~$ ls\r\nfile\r\n",
			"-----BEGIN RSA PRIVATE KEY-----\r\n***@host:~$ ls\r\nfile\r\n"},
	} {
		m := r.NewMasker(80)
		c := &collector{}
		now := t0
		for i := range len(tc.in) {
			c.add(t, m.Feed([]byte(tc.in[i:i+1]), now))
			if due, held := m.Deadline(); held {
				if due.Sub(now) > DefaultHoldTime {
					t.Fatalf("due in %v", due.Sub(now))
				}
				now = due
				c.add(t, m.Flush(now))
				if _, held := m.Deadline(); held {
					t.Fatal("held after the deadline")
				}
			}
			now = now.Add(time.Second)
		}
		if got := string(c.view); got != tc.want || string(c.raw) != tc.in {
			t.Errorf("typed slowly:\n got %q\nwant %q", got, tc.want)
		}
	}
}

// TestOverdue: Feed itself decides about what Flush should have been called
// for.
func TestOverdue(t *testing.T) {
	m := compile(t, Config{}).NewMasker(80)
	c := &collector{}
	c.add(t, m.Feed([]byte("AKIAIOSF"), t0))
	c.add(t, m.Feed([]byte(" x"), t0.Add(DefaultHoldTime)))
	if got := string(c.view); got != "AKIA**** x" {
		t.Errorf("view %q", got)
	}
}

// TestDeadlineIsOfTheOldestByte: more bytes do not put the deadline off.
func TestDeadlineIsOfTheOldestByte(t *testing.T) {
	m := compile(t, Config{}).NewMasker(80)
	for i, b := range []byte("AKIAIOSF") {
		m.Feed([]byte{b}, t0.Add(time.Duration(i)*time.Millisecond))
	}
	if due, _ := m.Deadline(); due.Sub(t0) != 4*time.Millisecond+DefaultHoldTime {
		t.Errorf("due %v after the start", due.Sub(t0))
	}
}

// TestHoldBytes: the hold-back is bounded in bytes, whatever they are.
func TestHoldBytes(t *testing.T) {
	r := compile(t, Config{Custom: []CustomRule{{"any", `q.*z`}, {"digits", `[0-9]{600}`}}})
	for _, s := range []string{
		"eyJ" + strings.Repeat("a", 5000), "AKIAB" + strings.Repeat("\x1b[1m", 2000), "AKIAB\x1b]0;" + strings.Repeat("t", 5000),
		"q" + strings.Repeat("y", 5000), strings.Repeat("1", 5000), "AKIAB" + strings.Repeat("\b ", 3000),
		"-----BEGIN PRIVATE KEY-----" + strings.Repeat("ab ", 2000), "x://u:" + strings.Repeat("y", 5000),
		"AKIAB" + strings.Repeat("\u200d", 2000),
	} {
		for _, parts := range [][]string{{s}, bytewise(s)} {
			if got := feed(t, r, 80, parts...).biggest; got >= DefaultHoldBytes+utf8.UTFMax {
				t.Errorf("%.20q in %d parts: %d bytes held", s, len(parts), got)
			}
		}
	}
}

// TestCutCharacter: a character in two reads is masked as one.
func TestCutCharacter(t *testing.T) {
	r := compile(t, Config{})
	everySplit(t, r, 80, "password=日本 x\n", "password=**** x\n")
	m := r.NewMasker(80)
	c := &collector{}
	c.add(t, m.Feed([]byte("password=ab\xe6\x97"), t0))
	c.add(t, m.Flush(t0))
	c.add(t, m.Feed([]byte("\xa5 x"), t0))
	if want := "password=***** x"; string(c.view) != want {
		t.Errorf("view %q, want %q", c.view, want)
	}
}
