package term

import (
	"bytes"
	"regexp"
	"testing"
	"unicode/utf8"
)

func TestSanitizerDropsWhatActsOnTheTerminal(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"text and colours", "a\x1b[1;31mé\x1b[0m\r\n", "a\x1b[1;31mé\x1b[0m\r\n"},
		{"title", "a\x1b]0;evil\x07b", "ab"},
		{"title ended by ST", "a\x1b]2;evil\x1b\\b", "ab"},
		{"link", "\x1b]8;;http://x\x1b\\here\x1b]8;;\x1b\\", "here"},
		{"clipboard", "\x1b]52;c;ZXZpbA==\x07x", "x"},
		{"device string", "\x1bPq#0;2\x1b\\x", "x"},
		{"application, privacy and start of string", "\x1b_a\x1b\\\x1b^b\x1b\\\x1bXc\x1b\\x", "x"},
		{"questions", "\x1b[c\x1b[6n\x1b[>c\x1b[0q\x1b[18tx", "x"},
		{"mouse, focus, paste", "\x1b[?1000h\x1b[?1004h\x1b[?2004h\x1b[?1006;25hx", "x"},
		{"cursor and other screen", "\x1b[?25l\x1b[?1049h\x1b[?25;1049h", "\x1b[?25l\x1b[?1049h\x1b[?25;1049h"},
		{"scrollback", "\x1b[3J\x1b[2J", "\x1b[2J"},
		{"C1 as bytes and as characters", "a\x9b6nb\u009b6nc", "a6nb6nc"},
		{"bell", "a\x07b", "ab"},
		{"controls inside a sequence", "\x1b[1\r2mx", "\r\x1b[12mx"},
		{"CAN ends a sequence", "\x1b[1\x18mx", "mx"},
		{"an escape inside a string starts anew", "\x1b]0;a\x1b[1mx", "\x1b[1mx"},
		{"scrollback, spelled differently", "\x1b[03J\x1b[2;3J\x1b[3;J\x1b[22Jx", "x"},
		{"a string ends at U+009C", "\x1b]0;évil ✜\u009cx", "x"},
		{"tab stops", "\x1bH\x1b[3gx", "x"},
		{"keyboard modes", "\x1b[>4;1m\x1b[?1h\x1b=\x1b[>1u\x1b[?u\x1b[=5ux", "x"},
		{"numbers that keep a terminal busy", "a\x1b[2147483647b\x1b[99999bx", "a\x1b[99999bx"},
		{"mouse tracking by T", "\x1b[1;2;3;4;5T\x1b[2T", "\x1b[2T"},
		{"margins left and right", "\x1b[?69h\x1b[1;5sx", "x"},
		{"charset", "\x1b(0q\x1b(B\x1b(Zx", "\x1b(0q\x1b(Bx"},
		{"alignment test", "\x1b#8x", "x"},
		{"full reset only clears", "\x1bcx", "\x1b[0m\x1b[?6l\x1b[r\x1b[H\x1b[2Jx"},
		{"endless parameters", "\x1b[" + string(bytes.Repeat([]byte("1;"), 100)) + "mx", "x"},
		{"cursor shape and intermediates", "\x1b[2 qx", "x"},
		{"invalid UTF-8", "a\xffb\xc3(c", "ab(c"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(new(Sanitizer).Append(nil, []byte(tc.in))); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			var s Sanitizer
			var split []byte
			for i := range len(tc.in) {
				split = s.Append(split, []byte(tc.in[i:i+1]))
			}
			if string(split) != tc.want {
				t.Errorf("byte by byte: %q, want %q", split, tc.want)
			}
		})
	}
}

// What may come out, written down a second time: numbers of at most five
// digits, and 64 bytes at most in a sequence.
var harmless = regexp.MustCompile(`^(?:[\x08-\x0f\x20-\x7e]|[^\x00-\x{9f}]|\x1b[78DEM]|\x1b[()][B0]|` +
	`\x1b\[(?:[0-9]{0,5};)*[0-9]{0,5}[@A-ILMPSXZ` + "`" + `abdefr]|\x1b\[[0-9]{0,5}T|\x1b\[[0-2]?[JK]|` +
	`\x1b\[(?:[0-9]{0,5}[;:])*[0-9]{0,5}m|\x1b\[[su]|\x1b\[4(?:;4)*[hl]|` +
	`\x1b\[\?(?:6|7|25|47|1047|1049)(?:;(?:6|7|25|47|1047|1049))*[hl])*$`)

// FuzzSanitizer holds that nothing but what is known to be harmless comes out,
// in whatever pieces it goes in.
func FuzzSanitizer(f *testing.F) {
	f.Add([]byte("a\x1b]52;c;x\x07\x1b[6n\x1b[?1000h\x1b[1;2mé"), 3)
	f.Add([]byte("\x1bP\x1b\x1b[\x1b(\x1b(B\x9b\xc2\x9b"), 1)
	f.Add([]byte("\x1b[4;4h\x1b[?7;25l\x1b[u\x1b[1u\x1b[3J"), 2)
	f.Add([]byte("\x1b]0;a\u009cb\x1b[03J\x1b[99999999b\x1b[1;2T\x0e\x1bc"), 4)
	f.Add([]byte("\x1b[?1049h\x1b(0\x1b[1;5r\x1b[31m"), 4)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		var s Sanitizer
		cut = max(0, min(cut, len(in)))
		out := s.Append(s.Append(nil, in[:cut]), in[cut:])
		if !utf8.Valid(out) || !harmless.Match(out) {
			t.Errorf("%q came through from %q", out, in)
		}
		var again Sanitizer
		if twice := again.Append(nil, out); !bytes.Equal(twice, out) {
			t.Errorf("%q is not all that comes through from itself: %q", out, twice)
		}
		if undo, want := s.Restore(), again.Restore(); undo != want || !harmless.MatchString(undo) {
			t.Errorf("after %q: %q, after its output: %q", in, undo, want)
		}
		if whole := new(Sanitizer).Append(nil, in); !bytes.Equal(whole, out) {
			t.Errorf("cut at %d: %q, whole: %q", cut, out, whole)
		}
	})
}

func TestKeys(t *testing.T) {
	var d keyDecoder
	var got []key
	for _, b := range []byte("q \x1b[A\x1bOB\x1b[1;5C\x1b[D\x1b[3~0") {
		got = append(got, d.decode([]byte{b})...)
	}
	want := []key{"q", " ", keyUp, keyDown, keyRight, keyLeft, "0"}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("key %d is %q, want %q", i, got[i], want[i])
		}
	}
}
