package replay_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"

	"sallyport/replay"
)

func TestTextIsReadable(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"colour", "\x1b[32mok\x1b[0m\r\n", "ok\n"},
		{"progress", "10%\r50%\r99%\x1b[K\r\n", "99%\n"},
		{"progress that clears its line", "10% of it\r\x1b[2K99%\r\n", "99%\n"},
		{"typing errors", "ab\b\bX\r\n", "Xb\n"},
		{"tab", "a\ttab\r\n", "a       tab\n"},
		{"title", "a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c\r\n", "abc\n"},
		{"cursor left", "$ ls\x1b[2Dcd\r\n", "$ cd\n"},
		{"delete and insert", "abcdef\x1b[5D\x1b[2P\x1b[1@X\r\n", "aXdef\n"},
		{"erase below", "$ ls -l\x1b[3D\x1b[J\r\n", "$ ls\n"},
		{"erase before", "abc\x1b[1K\r\n", "   \n"},
		{"clear", "before\x1b[H\x1b[2Jafter\r\n", "before\nafter\n"},
		{"device control", "a\x1bPq#0;2\x1b\\b\x1b_apc\x1b\\c\x1b^pm\x1b\\d\r\n", "abcd\n"},
		{"C1", "a\u009b31mb\u0085\r\n", "a31mb\n"},
		{"no end", "last", "last\n"},
		{"far right", "a\x1b[99999999999C\x1b[99999999999@b", "a" + strings.Repeat(" ", 65534) + "b\n"},
		{"nothing", "\x1b[?2004h\x1b[?1049h", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			whole := w.record([]byte(tc.in))
			var bytewise [][]byte
			for _, b := range []byte(tc.in) { // sequences and characters split over events
				bytewise = append(bytewise, []byte{b})
			}
			if len(bytewise) > 100 {
				bytewise = nil
			}
			split := w.record(bytewise...)
			got, _ := w.export(replay.Viewer{User: owner}, whole, replay.Masked, replay.FormatText)
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if got, _ := w.export(replay.Viewer{User: owner}, split, replay.Masked, replay.FormatText); bytewise != nil && got != tc.want {
				t.Errorf("in single bytes: got %q, want %q", got, tc.want)
			}
		})
	}
}

// Whatever the output is, no control character is left of it but line feeds.
func TestTextHoldsNoControlCharacter(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	parts := []string{"\x1b", "\x1b[", "\x1b]", "\x1bP", "\x9b", "\u009b", "\u009d", ";", "?", "1", "99999", "m", "H", "K", "P", "@", "J", "\x07", "\x18", "\x1b\\", "\n", "\r", "\b", "\t", "\x00", "\x7f", "é", "日", "\xff", "text"}
	w := newWorld(t)
	for range 40 {
		var pieces [][]byte
		for range 60 {
			pieces = append(pieces, []byte(parts[rng.IntN(len(parts))]))
		}
		text, _ := w.export(replay.Viewer{User: owner}, w.record(pieces...), replay.Masked, replay.FormatText)
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }); i >= 0 {
			t.Fatalf("%q from %q", text[i:], pieces)
		}
	}
}
