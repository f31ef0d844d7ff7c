package redact

import (
	"fmt"
	"strings"
	"testing"
)

// readlineWrap breaks s where a terminal of cols cells wraps, the way that
// readline steps to the next row.
func readlineWrap(s string, cols int, step func(next string) string) string {
	var b strings.Builder
	for i := 0; i < len(s); i += cols {
		if i > 0 {
			b.WriteString(step(s[i : i+1]))
		}
		b.WriteString(s[i:min(i+cols, len(s))])
	}
	return b.String()
}

// TestShapes is T20: the shapes in which one secret may arrive. Each is fed
// whole, byte by byte, and cut at every position.
func TestShapes(t *testing.T) {
	spaceCR := func(string) string { return " \r" }
	nextCR := func(next string) string { return next + "\r" }
	colour := func(s string) string {
		return strings.Join(strings.Split(s, ""), "\x1b[1;31m")
	}
	links := func(s string) string {
		return strings.Join(strings.Split(s, ""), "\x1b]8;;http://x\x1b\\")
	}
	k := keyID[4:]
	head, tail := k[:8], k[8:]
	insIn, insWant := inserted(k)
	for _, tc := range []struct {
		name, in, want string
		cols           int
	}{
		{"whole", "x " + keyID + " y", "x AKIA" + stars(16) + " y", 80},
		{"SGR inside", colour(keyID) + " y", colour("AKIA"+stars(16)) + " y", 80},
		{"OSC inside", links(keyID) + " y", links("AKIA"+stars(16)) + " y", 80},
		{"DCS and title inside", "AKIA" + head + "\x1bPq#0\x1b\\\x1b]0;t\x07" + tail + "\n",
			"AKIA" + stars(8) + "\x1bPq#0\x1b\\\x1b]0;t\x07" + stars(8) + "\n", 80},
		{"charset and keypad sequences inside", "AKIA" + head + "\x1b(B\x1b=\x1b[?25l\x0f" + tail,
			"AKIA" + stars(8) + "\x1b(B\x1b=\x1b[?25l\x0f" + stars(8), 80},
		{"readline wrap, space and CR", readlineWrap("$ echo "+keyID+" z", 16, spaceCR),
			readlineWrap("$ echo AKIA"+stars(16)+" z", 16, spaceCR), 16},
		{"readline wrap, next character and CR", readlineWrap("$ echo "+keyID+" z", 16, nextCR),
			readlineWrap("$ echo AKIA"+stars(16)+" z", 16, func(next string) string {
				if strings.Contains("SF E", next) && next != " " {
					return "*\r"
				}
				return next + "\r"
			}), 16},
		{"wrap inside the anchor", readlineWrap("$ echo password=hunter22 z", 12, spaceCR),
			readlineWrap("$ echo password=******** z", 12, spaceCR), 12},
		{"wrap several times", readlineWrap("password=abcdefghijklmnopqrst z", 5, spaceCR),
			readlineWrap("password=******************** z", 5, spaceCR), 5},
		{"tty autowrap", strings.Repeat("x", 10) + " " + keyID + "\r\n", strings.Repeat("x", 10) + " AKIA" + stars(16) + "\r\n", 16},
		{"backspace overwrite", "AKIA" + head + "XX\b \b\b \b" + tail + " y",
			"AKIA" + stars(10) + "\b \b\b \b" + stars(8) + " y", 80},
		{"backspace without erasing", "AKIA" + head + "X\b" + tail + " y", "AKIA" + stars(9) + "\b" + stars(8) + " y", 80},
		{"backspace into the anchor", "AKIX\b \bA" + k + " y", "AKIX\b \bA" + stars(16) + " y", 80},
		{"backspace in a value", "password=hunx\b\x1b[Kter2 y", "password=****\b\x1b[K**** y", 80},
		{"overwritten after CR", "AKIAXXXX\rAKIA" + k + "\r\n", "AKIAXXXX\rAKIA" + stars(16) + "\r\n", 80},
		{"CHA", "AKIA" + head + "\x1b[13G" + tail + "\n", "AKIA" + stars(8) + "\x1b[13G" + stars(8) + "\n", 80},
		{"cursor addressed in two halves", "\x1b[5;10HAKIA" + head + "\x1b[5;22H" + tail + "\x1b[6;1H",
			"\x1b[5;10HAKIA" + stars(8) + "\x1b[5;22H" + stars(8) + "\x1b[6;1H", 80},
		{"home and back", "\x1b[5;10HAKIA" + head + "\x1b7\x1b[m\x1b8" + tail + "\n",
			"\x1b[5;10HAKIA" + stars(8) + "\x1b7\x1b[m\x1b8" + stars(8) + "\n", 80},
		{"forward over what stands", "\x1b[5;1HAKIA\x1b[5;1H\x1b[4C" + k + "\n", "\x1b[5;1HAKIA\x1b[5;1H\x1b[4C" + stars(16) + "\n", 80},
		{"insert character", insIn, insWant, 80},
		{"insert mode", "password= z\x1b[2D\x1b[4hhunter2\x1b[4l\n", "password= *\x1b[2D\x1b[4h*******\x1b[4l\n", 80},
		{"alternate screen", "\x1b[?1049h\x1b[H\x1b[2J" + keyID + "\x1b[?1049l", "\x1b[?1049h\x1b[H\x1b[2JAKIA" + stars(16) + "\x1b[?1049l", 80},
		{"wide characters before the margin", "日本語日本 " + keyID + "\r\n", "日本語日本 AKIA" + stars(16) + "\r\n", 15},
		{"repeated character", "password=ab\x1b[5b z\n", "password=**\x1b[5b z\n", 80},
		{"CR LF in a value ends it", "password=hun\r\nter2\r\n", "password=***\r\nter2\r\n", 80},
		{"zero-width joiner inside", "AKIA" + head + "\u200d" + tail + " y", "AKIA" + stars(16) + " y", 80},
	} {
		t.Run(tc.name, func(t *testing.T) {
			everySplit(t, compile(t, Config{}), tc.cols, tc.in, tc.want)
		})
	}
}

// inserted types k between an anchor and other text, with ICH.
func inserted(k string) (in, want string) {
	in, want = "AKIA.end\x1b[4D", "AKIA.end\x1b[4D"
	for _, c := range k {
		in += "\x1b[@" + string(c)
		want += "\x1b[@*"
	}
	return in + "\n", want + "\n"
}

// TestResizeInside: the terminal's width changes while a secret is printed.
func TestResizeInside(t *testing.T) {
	r := compile(t, Config{})
	for cut := 1; cut < len(keyID); cut++ {
		for _, cols := range []int{1, 7, 80, 5000} {
			m := r.NewMasker(20)
			c := &collector{}
			c.add(t, m.Feed([]byte(keyID[:cut]), t0))
			m.Resize(cols)
			c.add(t, m.Feed([]byte(keyID[cut:]+"\r\n"), t0))
			c.add(t, m.Flush(t0))
			if got, want := string(c.view), "AKIA"+stars(16)+"\r\n"; got != want {
				t.Fatalf("cut at %d, %d columns: %q", cut, cols, got)
			}
		}
	}
}

// TestEveryWidth: readline's wrap masks the same at every width.
func TestEveryWidth(t *testing.T) {
	r := compile(t, Config{})
	for cols := 2; cols < 40; cols++ {
		step := func(string) string { return " \r" }
		in := readlineWrap("$ export AWS_SECRET_ACCESS_KEY="+keySec+" && x", cols, step)
		want := readlineWrap("$ export AWS_SECRET_ACCESS_KEY="+stars(len(keySec))+" && x", cols, step)
		if got := string(feed(t, r, cols, in).view); got != want {
			t.Errorf("%d columns:\n got %q\nwant %q", cols, got, want)
		}
		if got := string(feed(t, r, cols, bytewise(in)...).view); got != want {
			t.Errorf("%d columns, byte by byte:\n got %q\nwant %q", cols, got, want)
		}
	}
}

// TestOutOfReach is T22: what is documented as not promised. It fails when the
// promise could be made larger.
func TestOutOfReach(t *testing.T) {
	r := compile(t, Config{})
	for name, s := range map[string]string{
		"base64":  "QUtJQUlPU0ZPRE5ON0VYQU1QTEU=",
		"hex":     "414b4941494f53464f444e4e374558414d504c45",
		"folded":  "AKIAIOSF\r\nODNN7EXAMPLE",
		"reverse": "\x1b[5;13HODNN7EXAMPLE\x1b[5;1HAKIAIOSF\r\n",
	} {
		if got := string(feed(t, r, 80, s+"\r\n").view); strings.Contains(got, "*") {
			t.Errorf("%s is masked: %q", name, got)
		}
	}
}

// TestStored is T24: masks say which rule hid what, and where.
func TestStored(t *testing.T) {
	in := "a " + keyID + " b\r\npassword: \x1b[1mhun\x1b[mter2\r\n"
	got := fmt.Sprint(feed(t, compile(t, Config{}), 80, in).masks)
	want := "[{aws-access-key-id 6 16 16} {password 40 3 3} {password 46 4 4}]"
	if got != want {
		t.Errorf("masks %s, want %s", got, want)
	}
}
