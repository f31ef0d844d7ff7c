package recorder

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"sallyport/policy"
	"sallyport/recorder/cast"
)

// extra is the value of the key "sallyport" in a recording's header.
type extra struct {
	Session policy.Session `json:"session"`
}

// shownCommand is how much of a command the header repeats for players, in
// bytes; the session itself holds all of it.
const shownCommand = 1000

// appendHeader appends the header line of a recording of s.
func appendHeader(dst []byte, s policy.Session) ([]byte, error) {
	own, err := json.Marshal(extra{s})
	if err != nil {
		return dst, err
	}
	return cast.AppendHeader(dst, cast.Header{
		Version: 3, Cols: side(s.Cols), Rows: side(s.Rows), Term: s.Term,
		Timestamp: s.Start.Unix(), Command: clip(s.Command, shownCommand),
		Title: string(s.Login) + "@" + s.Target, Env: s.Env, Extra: own,
	})
}

// side returns n as a terminal's columns or rows that a header may hold.
func side(n int) int { return min(max(n, 0), cast.MaxSide) }

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return strings.Clone(s[:most]) + "…"
}
