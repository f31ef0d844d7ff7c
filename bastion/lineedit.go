package bastion

import "io"

// maxLine is the longest line that a user types in the menu, in bytes.
const maxLine = maxLogin + 1 + maxTarget

// Control characters that mean something while a line is typed.
const (
	ctrlC, ctrlD, ctrlU, ctrlW = 3, 4, 21, 23
	backspace, deleteKey       = 8, 127
	escape, bell               = 27, 7
)

// readLine reads one line from a raw terminal and echoes it. It takes no byte
// beyond the end of the line: what follows belongs to the session.
func readLine(rw io.ReadWriter) (string, error) {
	var line []byte
	for {
		c, err := readByte(rw)
		if err != nil {
			return "", err
		}
		var echo string
		switch {
		case c == '\r' || c == '\n':
			_, err := io.WriteString(rw, "\r\n")
			return string(line), err
		case c == ctrlC:
			io.WriteString(rw, "^C\r\n")
			return "", errInterrupted
		case c == ctrlD && len(line) == 0:
			io.WriteString(rw, "\r\n")
			return "", errQuit
		case c == backspace || c == deleteKey:
			echo = erase(&line, min(1, len(line)))
		case c == ctrlU || c == ctrlW:
			echo = erase(&line, len(line))
		case c == escape:
			err = skipEscape(rw)
		case c < ' ' || c > '~' || len(line) == maxLine:
			echo = string(rune(bell))
		default:
			line = append(line, c)
			echo = string(rune(c))
		}
		if err == nil && echo != "" {
			_, err = io.WriteString(rw, echo)
		}
		if err != nil {
			return "", err
		}
	}
}

// erase drops the last n bytes, all ASCII, and returns what erases them.
func erase(line *[]byte, n int) string {
	*line = (*line)[:len(*line)-n]
	var out []byte
	for range n {
		out = append(out, "\b \b"...)
	}
	return string(out)
}

// skipEscape reads the rest of the sequence that a function key sends (ECMA-48,
// section 5.4): one byte, or CSI or SS3 up to its final byte.
func skipEscape(r io.Reader) error {
	c, err := readByte(r)
	if err != nil || (c != '[' && c != 'O') {
		return err
	}
	for {
		c, err := readByte(r)
		if err != nil || c >= 0x40 {
			return err
		}
	}
}

func readByte(r io.Reader) (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}
