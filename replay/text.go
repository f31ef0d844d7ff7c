package replay

import (
	"bufio"

	"github.com/charmbracelet/x/ansi"
)

// maxTextLine bounds a line of a text export, in characters; longer ones are
// broken.
const maxTextLine = 64 << 10

// textWriter turns terminal output into text to read: escape sequences go,
// also when they are split over events, and carriage returns, backspaces and
// erasures act on the line before it is written. Full-screen programs leave
// the text that they printed, not their screens.
type textWriter struct {
	out    *bufio.Writer
	parser *ansi.Parser
	line   []rune
	col    int
	err    error
}

func newTextWriter(out *bufio.Writer) *textWriter {
	t := &textWriter{out: out, parser: ansi.NewParser()}
	t.parser.SetDataSize(4 << 10) // titles and the like: nobody reads them
	t.parser.SetHandler(ansi.Handler{Print: t.print, Execute: t.execute, HandleCsi: t.csi})
	return t
}

// Write takes a piece of the output.
func (t *textWriter) Write(p []byte) (int, error) {
	for _, b := range p {
		t.parser.Advance(b)
	}
	return len(p), t.err
}

// Flush writes what has no line feed yet.
func (t *textWriter) Flush() error {
	if len(t.line) > 0 {
		t.newline()
	}
	return t.err
}

func (t *textWriter) print(r rune) {
	for len(t.line) < t.col {
		t.line = append(t.line, ' ')
	}
	if t.col < len(t.line) {
		t.line[t.col] = r
	} else {
		t.line = append(t.line, r)
	}
	if t.col++; t.col >= maxTextLine {
		t.newline()
	}
}

func (t *textWriter) execute(b byte) {
	switch b {
	case '\n':
		t.newline()
	case '\r':
		t.col = 0
	case '\b':
		t.col = max(0, t.col-1)
	case '\t':
		t.col = min((t.col/8+1)*8, maxTextLine-1)
	}
}

func (t *textWriter) csi(cmd ansi.Cmd, params ansi.Params) {
	if cmd.Prefix() != 0 || cmd.Intermediate() != 0 {
		return
	}
	n, _, _ := params.Param(0, 1)
	switch cmd.Final() {
	case 'K':
		if n, _, _ := params.Param(0, 0); n == 0 && t.col < len(t.line) {
			t.line = t.line[:t.col]
		}
	case 'C':
		t.col = min(t.col+max(n, 1), maxTextLine-1)
	case 'D':
		t.col = max(0, t.col-max(n, 1))
	case 'G':
		t.col = min(max(n, 1), maxTextLine) - 1
	case 'H', 'f': // the program draws elsewhere: what is there so far is a line
		if len(t.line) > 0 {
			t.newline()
		}
		t.col = 0
	case 'P':
		if t.col < len(t.line) {
			t.line = append(t.line[:t.col], t.line[min(len(t.line), t.col+max(n, 1)):]...)
		}
	}
}

func (t *textWriter) newline() {
	if t.err == nil {
		_, t.err = t.out.WriteString(string(t.line) + "\n")
	}
	t.line, t.col = t.line[:0], 0
}
