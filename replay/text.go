package replay

import (
	"bufio"
	"slices"
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"sallyport/recorder/cast"
)

// maxTextLine bounds a line of a text export, in characters; longer ones are
// broken.
const maxTextLine = 64 << 10

// textWriter turns terminal output into text to read: escape sequences go,
// also when they are split over events, and carriage returns, backspaces and
// erasures act on the line before it is written. Full-screen programs leave
// the text that they printed, not their screens.
type textWriter struct {
	out          *bufio.Writer
	stdout, errs textStream
	line         []rune
	col          int
	err          error
}

// textStream is standard output or standard error: a sequence that one of them
// began is not ended by the other.
type textStream struct {
	t      *textWriter
	parser *ansi.Parser
}

func newTextWriter(out *bufio.Writer) *textWriter {
	t := &textWriter{out: out}
	for _, s := range []*textStream{&t.stdout, &t.errs} {
		s.t, s.parser = t, ansi.NewParser()
		s.parser.SetDataSize(4 << 10) // titles and the like: nobody reads them
		s.parser.SetHandler(ansi.Handler{Print: t.print, Execute: t.execute, HandleCsi: t.csi})
	}
	return t
}

// stream returns where output with this code goes.
func (t *textWriter) stream(code cast.Code) *textStream {
	if code == cast.CodeStderr {
		return &t.errs
	}
	return &t.stdout
}

// Write takes a piece of the output.
func (s *textStream) Write(p []byte) (int, error) {
	for _, b := range p {
		s.parser.Advance(b)
	}
	return len(p), s.t.err
}

// Flush writes what has no line feed yet.
func (t *textWriter) Flush() error {
	if len(t.line) > 0 {
		t.newline()
	}
	return t.err
}

func (t *textWriter) print(r rune) {
	if unicode.IsControl(r) { // C1, which some terminals obey
		return
	}
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
	n, _, _ := params.Param(0, 0)
	times := max(n, 1)
	switch cmd.Final() {
	case 'J', 'K':
		t.erase(n)
	case 'C':
		t.col = min(t.col+times, maxTextLine-1)
	case 'D':
		t.col = max(0, t.col-times)
	case 'G':
		t.col = min(times, maxTextLine) - 1
	case 'H', 'f': // the program draws elsewhere: what is there so far is a line
		if len(t.line) > 0 {
			t.newline()
		}
		t.col = 0
	case 'P':
		if t.col < len(t.line) {
			t.line = slices.Delete(t.line, t.col, min(len(t.line), t.col+times))
		}
	case '@':
		if room := min(times, maxTextLine-len(t.line)); t.col < len(t.line) && room > 0 {
			t.line = slices.Insert(t.line, t.col, []rune(strings.Repeat(" ", room))...)
		}
	}
}

// erase blanks the line from the cursor (0), up to it (1) or all of it (2).
func (t *textWriter) erase(how int) {
	switch how {
	case 0:
		t.line = t.line[:min(t.col, len(t.line))]
	case 1:
		for i := range t.line[:min(t.col+1, len(t.line))] {
			t.line[i] = ' '
		}
	case 2:
		t.line = t.line[:0]
	}
}

func (t *textWriter) newline() {
	if t.err == nil {
		_, t.err = t.out.WriteString(string(t.line) + "\n")
	}
	t.line, t.col = t.line[:0], 0
}
