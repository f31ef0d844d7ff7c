package console_test

import (
	"io"
	"os"
	"strings"
	"testing"

	"sallyport/bastion/console"
	"sallyport/recorder"
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
	if d.run("play", "06h0gx8e"); !strings.Contains(d.out.String(), "password=****") || strings.Contains(d.out.String(), "abcd") {
		t.Errorf("%q", d.out.String())
	}
}

// Without a terminal in the recording, lines end in a line feed alone, which a
// raw terminal would show as stairs.
func TestPlayOfARecordingWithoutATerminal(t *testing.T) {
	d := newDesk(t)
	d.env.Library.Dir = t.TempDir()
	for _, tc := range []struct{ id, extra, want string }{
		{"06h0gx8ezqsxbady6552thj49r", `,"sallyport":{}`, "one\ntwo"},
		{"06h0gxctm1kchn10f5hn000sd8", `,"sallyport":{}`, "one\r\ntwo"},
		{"06h0gxctm1kchn10f5hn000sd8", "", "one\ntwo"}, // a file from elsewhere
	} {
		file := recorder.Path(d.env.Library.Dir, tc.id)
		if err := os.WriteFile(file, []byte(`{"version":3,"term":{"cols":80,"rows":24}`+tc.extra+"}\n[0, \"o\", \"one\\ntwo\"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		d.withTerminal(".q")
		if code := d.run("play", tc.id); code != 0 || !strings.Contains(d.out.String(), tc.want) {
			t.Errorf("%v: exit %d, %q %s", tc, code, d.out.String(), d.err.String())
		}
	}
}

func TestPlayOfACutRecordingSaysSo(t *testing.T) {
	d := newDesk(t)
	d.env.Library.Dir = t.TempDir()
	file := recorder.Path(d.env.Library.Dir, "06h0gx8ezqsxbady6552thj49r")
	if err := os.WriteFile(file, []byte("{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[0, \"o\", \"one\"]\n[0, \"o\", \"tw"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := d.run("play", "06h0gx8e"); code != 0 || d.out.String() != "one" || d.err.String() != "the recording is cut off here\n" {
		t.Errorf("exit %d, %q, says %q", code, d.out.String(), d.err.String())
	}
}
