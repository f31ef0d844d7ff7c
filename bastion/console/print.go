package console

import (
	"encoding/json"
	"io"
	"strings"
	"unicode"

	"sallyport/replay"
)

// writeJSON prints v; whatever it holds, a terminal may show it.
func writeJSON(out io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = out.Write(append(replay.EscapeJSON(text), '\n'))
	}
	return err
}

// Printable replaces what a terminal would not show as a plain character:
// control characters, and those that turn or hide text.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// clip shortens s to n characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
