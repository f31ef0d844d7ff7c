package bastion

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var splitCases = []struct {
	line string
	want []string
	err  string
}{
	{"", nil, ""},
	{"  \t ", nil, ""},
	{"ls", []string{"ls"}, ""},
	{" ls  -l\t--json ", []string{"ls", "-l", "--json"}, ""},
	{"a'b c'd", []string{"ab cd"}, ""},
	{`"a b" 'c"d' "e'f"`, []string{"a b", `c"d`, "e'f"}, ""},
	{`'' ""`, []string{"", ""}, ""},
	{`a\ b \'`, []string{"a b", "'"}, ""},
	{`"\$x \n \" \\ \` + "`" + `"`, []string{`$x \n " \ ` + "`"}, ""},
	{`'\n'`, []string{`\n`}, ""},
	{"a\\\nb \"c\\\nd\"", []string{"ab", "cd"}, ""},
	{"'a\nb'", []string{"a\nb"}, ""},
	{"ünï 'çödé'", []string{"ünï", "çödé"}, ""},
	{"'a", nil, "opening '"},
	{`"a`, nil, `opening "`},
	{`"a\`, nil, `opening "`},
	{`a\`, nil, "ends in a backslash"},
}

func TestSplitCommand(t *testing.T) {
	for _, tc := range splitCases {
		got, err := splitCommand(tc.line)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: error %v, want %q", tc.line, err, tc.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%q: %q %v, want %q", tc.line, got, err, tc.want)
		}
	}
}

// TestSplitCommandAsShell compares with what /bin/sh makes of the same line.
func TestSplitCommandAsShell(t *testing.T) {
	for _, tc := range splitCases {
		if tc.err != "" || strings.Contains(tc.line, "$x") {
			continue
		}
		out, err := exec.Command("/bin/sh", "-c", `for a in `+oneLine(tc.line)+`; do printf '%s\0' "$a"; done`).Output()
		if err != nil {
			t.Fatalf("%q: %v", tc.line, err)
		}
		var want []string
		if len(out) > 0 {
			want = strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		}
		if got, _ := splitCommand(tc.line); !slices.Equal(got, want) {
			t.Errorf("%q: %q, the shell says %q", tc.line, got, want)
		}
	}
}

// oneLine keeps a line that is only white space from ending the for loop.
func oneLine(s string) string {
	if strings.TrimSpace(s) == "" {
		return "$nothing"
	}
	return s
}

func FuzzSplitCommand(f *testing.F) {
	for _, tc := range splitCases {
		f.Add(tc.line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args, err := splitCommand(line)
		if err != nil {
			return
		}
		// Quoted again, the words come back.
		var b strings.Builder
		for _, a := range args {
			b.WriteString("'" + strings.ReplaceAll(a, "'", `'\''`) + "' ")
		}
		again, err := splitCommand(b.String())
		if err != nil || !slices.Equal(again, args) {
			t.Fatalf("%q: %q came back as %q (%v)", line, args, again, err)
		}
	})
}
