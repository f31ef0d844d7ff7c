package bastion

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable makes s, which somebody else wrote, fit for one line of a log or a
// terminal: at most max bytes, and no control, formatting or invisible
// characters, each of which becomes a question mark.
func printable(s string, max int) string {
	cut := len(s) > max
	if cut {
		for max > 0 && !utf8.RuneStart(s[max]) {
			max--
		}
		s = s[:max]
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsGraphic(r) || (r != ' ' && unicode.IsSpace(r)) {
			return '?'
		}
		return r
	}, s)
	if cut {
		s += "..."
	}
	return s
}

// userMessage returns the sentence that err holds for the user.
func userMessage(err error) (string, bool) {
	var m interface{ UserMessage() string }
	if !errors.As(err, &m) {
		return "", false
	}
	return printable(m.UserMessage(), 1000), true
}

// refusal is an error whose text the user reads.
type refusal string

func refusef(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

func (r refusal) Error() string       { return string(r) }
func (r refusal) UserMessage() string { return string(r) }

// hidden is an error whose reason the user does not read, but a sentence.
type hidden struct {
	error
	sentence string
}

func (h hidden) UserMessage() string { return h.sentence }
