package recorder

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport/policy"
	"sallyport/recorder/cast"
)

// extra is the value of the key "sallyport" in the header of an asciicast that
// was made of a recording.
type extra struct {
	Session policy.Session `json:"session"`
}

// shownCommand is how much of a command the header repeats for players, in
// bytes; the session itself holds all of it.
const shownCommand = 1000

// header returns the header of an asciicast of s.
func header(s policy.Session) (cast.Header, error) {
	own, err := json.Marshal(extra{s})
	if err != nil {
		return cast.Header{}, err
	}
	return cast.Header{
		Version: 3, Cols: side(s.Cols), Rows: side(s.Rows), Term: s.Term,
		Timestamp: s.Start.Unix(), Command: clip(s.Command, shownCommand),
		Title: string(s.Login) + "@" + s.Target, Env: s.Env, Extra: own,
	}, nil
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

// mostMissing is how much a manifest says in public about what it lacks, in
// bytes.
const mostMissing = 500

// printable returns s as it may stand in the clear part of a manifest.
func printable(s string) string {
	return clip(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s), mostMissing)
}
