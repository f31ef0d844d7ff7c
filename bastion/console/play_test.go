package console_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/bastion/console"
	"sallyport/policy"
)

// withTerminal gives the desk a terminal whose user types keys, and returns how
// many are taken over now.
func (d *desk) withTerminal(keys string) *int {
	open := new(int)
	d.env.OpenTerminal = func() (*console.Terminal, error) {
		*open++
		r, w := io.Pipe()
		go func() { // ends with the keys, or with Close
			for _, c := range []byte(keys) {
				if _, err := w.Write([]byte{c}); err != nil {
					return
				}
			}
		}()
		return &console.Terminal{In: r, Cols: 80, Rows: 24, Close: func() { *open--; r.Close() }}, nil
	}
	return open
}

func TestPlayTakesTheTerminalAndGivesItBack(t *testing.T) {
	for _, keys := range []string{"q", "5?q", "\x03"} {
		d := newDesk(t)
		open := d.withTerminal(keys)
		if code := d.run("play", "06h0gx8e"); code != 0 || *open != 0 || d.err.Len() > 0 {
			t.Errorf("%q: exit %d, %d terminals taken, says %q", keys, code, *open, d.err.String())
		}
	}
}

func TestPlayTakesNoTerminalForARefusal(t *testing.T) {
	d := newDesk(t)
	d.env.OpenTerminal = func() (*console.Terminal, error) {
		t.Error("the terminal was taken")
		return nil, io.EOF
	}
	for _, args := range [][]string{{"play", "06h0gx8e", "--raw"}, {"play", "06h0gx8e", "--speed", "-1"}, {"play", "zzzz"}} {
		if code := d.run(args...); code == 0 {
			t.Errorf("%q: exit 0", args)
		}
	}
}

func TestPlayMasksInATerminal(t *testing.T) {
	d := newDesk(t)
	d.withTerminal("99.q")
	if d.run("play", "06h0gx8e"); !strings.Contains(d.out.String(), "password=****") || strings.Contains(d.out.String(), "hunter") {
		t.Errorf("%q", d.out.String())
	}
}

// Without a terminal in the recording, lines end in a line feed alone, which a
// raw terminal would show as stairs.
func TestPlayOfARecordingWithoutATerminal(t *testing.T) {
	d := newDesk(t)
	d.record("06h0gxctm1kchn10f5hn000sd8", false, "one\ntwo")
	d.record("06h0gxctm1kchn10f5hn000sd4", true, "one\ntwo")
	s := policy.Session{ID: "06h0gxctm1kchn10f5hn000sd4", User: alice, Target: "db1", Login: "root", TTY: true}
	if err := d.catalog.PutRecording(t.Context(), policy.Recording{Session: s, Summary: policy.Summary{ID: s.ID, State: policy.RecordingComplete}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "elsewhere.cast")
	if err := os.WriteFile(file, []byte("{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[0, \"o\", \"one\\ntwo\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.env.Viewer.Local = true
	for _, tc := range []struct{ what, want string }{
		{"06h0gxctm1kchn10f5hn000sd4", "one\ntwo"}, {"06h0gxctm1kchn10f5hn000sd8", "one\r\ntwo"}, {file, "one\ntwo"},
	} {
		d.withTerminal(".q")
		if code := d.run("play", tc.what); code != 0 || !strings.Contains(d.out.String(), tc.want) {
			t.Errorf("%v: exit %d, %q %s", tc, code, d.out.String(), d.err.String())
		}
	}
}

func TestPlayOfACutFileSaysSo(t *testing.T) {
	d := newDesk(t)
	d.env.Viewer.Local = true
	file := filepath.Join(t.TempDir(), "cut.cast")
	if err := os.WriteFile(file, []byte("{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[0, \"o\", \"one\"]\n[0, \"o\", \"tw"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := d.run("play", file); code != 0 || d.out.String() != "one" || d.err.String() != "the recording is cut off here\n" {
		t.Errorf("exit %d, %q, says %q", code, d.out.String(), d.err.String())
	}
}
