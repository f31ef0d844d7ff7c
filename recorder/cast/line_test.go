package cast

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestLine(t *testing.T) {
	for _, data := range []string{"", "ls\r", "\x00\"\\\u2028é界", strings.Repeat("x", 1000)} {
		for _, code := range []Code{CodeInput, CodeOutput, '"', '\\', ' '} {
			for _, skip := range []int{-1, 0, 7, 999_999_999} {
				var line []byte
				at := 3*time.Second + 250*time.Microsecond
				if skip < 0 {
					line = AppendEventBytes(nil, 3, time.Second, at, code, []byte(data))
				} else {
					line = AppendLine(nil, time.Second, at, code, []byte(data), skip)
				}
				before := []byte("kept")
				l, buf, err := ParseLine(bytes.TrimSuffix(line, []byte("\n")), before)
				if err != nil || l.Code != code || l.Skip != skip || l.Interval != at-time.Second || string(l.Data) != data {
					t.Errorf("%q: %+v, %v", line, l, err)
				}
				if string(buf) != "kept"+data {
					t.Errorf("%q: buffer %q", line, buf)
				}
			}
		}
	}
}

func TestLineRefuses(t *testing.T) {
	for line, say := range map[string]string{
		``:                            "begins with [",
		`[0.1, "o"`:                   "no comma after the code",
		`[0.1, "o", "x"`:              "then ]",
		`[0.1, "o", "x", ]`:           "no whole one",
		`[0.1, "o", "x", -1]`:         "no whole one",
		`[0.1, "o", "x", 1.5]`:        "no whole one",
		`[0.1, "o", "x", 01]`:         "no whole one",
		`[0.1, "o", "x", 1e3]`:        "no whole one",
		`[0.1, "o", "x", "1"]`:        "no whole one",
		`[0.1, "o", "x", 9999999999]`: "no whole one",
		`[0.1, "o", "x", 1, 2]`:       "then ]",
		`[0.1, "o", "x", 1] x`:        "then ]",
		`[-1, "o", "x"]`:              "not between",
		`[x, "o", "x"]`:               "no number",
		`[0.1, "oo", "x"]`:            "not one printable character",
		`[0.1, "o", "\x"]`:            "no escape",
	} {
		buf := []byte("kept")
		if _, out, err := ParseLine([]byte(line), buf); err == nil || !strings.Contains(err.Error(), say) || string(out) != "kept" {
			t.Errorf("%s: %q, %v", line, out, err)
		}
	}
}

// FuzzLine: a line is refused, or what it says can be written and read again.
func FuzzLine(f *testing.F) {
	f.Add([]byte(`[0.25, "o", "a\u001b\n", 7]`))
	f.Add([]byte(`[1e-3,"\"","\ud83d\ude00"]`))
	f.Fuzz(func(t *testing.T, line []byte) {
		l, _, err := ParseLine(line, nil)
		if err != nil {
			return
		}
		again := AppendLine(nil, 0, l.Interval, l.Code, l.Data, max(l.Skip, 0))
		got, _, err := ParseLine(bytes.TrimSuffix(again, []byte("\n")), nil)
		if err != nil || got.Code != l.Code || string(got.Data) != string(l.Data) || got.Skip != max(l.Skip, 0) ||
			got.Interval != time.Duration(micros(l.Interval))*time.Microsecond {
			t.Errorf("%q: %+v, then %q: %+v, %v", line, l, again, got, err)
		}
	})
}
