package policy

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"
)

// SourceError is one mistake in a policy file.
type SourceError struct {
	File         string
	Line, Column int // 1-based; 0 when not known
	Msg          string
}

// Error returns "FILE:LINE:COLUMN: MSG".
func (e *SourceError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

var parseErrorRE = regexp.MustCompile(`parse error at [^:]*:(\d+):(\d+) (.*)`)

// syntaxError keeps the place that Cedar's parser names.
func syntaxError(name string, err error) error {
	text := oneLine(err)
	m := parseErrorRE.FindStringSubmatch(text)
	if m == nil {
		return &SourceError{File: name, Msg: text}
	}
	line, _ := strconv.Atoi(m[1])
	column, _ := strconv.Atoi(m[2])
	msg := strings.NewReplacer("exact got ", "found ", " want ", ", want ").Replace(m[3])
	return &SourceError{File: name, Line: line, Column: column, Msg: "syntax error near " + msg}
}

// hints say what to do about the schema's complaints. The first expression
// finds the word at fault, which is then looked up in the source.
var hints = []struct {
	re    *regexp.Regexp
	token func(word string) string
	text  func(word string) string
}{
	{regexp.MustCompile("unrecognized action `(.*?)`"), same, func(w string) string {
		return "unknown action " + w + "; known: " + ActionNames()
	}},
	{regexp.MustCompile("unrecognized entity type `(.*?)`"), func(w string) string { return w + "::" }, func(w string) string {
		return "unknown entity type " + w + "; known: User, Group, Target, Bastion"
	}},
	{regexp.MustCompile("safety of access to optional attribute `(.*?)` in context"), func(w string) string { return "context." + w }, func(w string) string {
		return fmt.Sprintf("context.%s may be absent; write: context has %s && context.%s …", w, w, w)
	}},
	{regexp.MustCompile("safety of access to optional attribute `(.*?)`"), func(w string) string { return "." + w }, func(w string) string {
		return fmt.Sprintf("%s may be absent; ask first with: has %s", w, w)
	}},
	{regexp.MustCompile("safety of access to tag `\"(.*?)\"`"), func(w string) string { return "getTag(\"" + w }, func(w string) string {
		return fmt.Sprintf("the label %s may be absent; write: resource.hasTag(%q) && resource.getTag(%q) …", w, w, w)
	}},
	{regexp.MustCompile("attribute `(.*?)` on entity type `[A-Za-z]+` not found"), func(w string) string { return "." + w }, nil},
}

func same(s string) string { return s }

// schemaError turns a complaint of Cedar's validator into one with a place and
// a remedy.
func schemaError(name string, src []byte, pos cedar.Position, err error) error {
	e := &SourceError{File: name, Line: pos.Line, Column: pos.Column}
	prefix := regexp.MustCompile("(, )?for policy `[^`]*`(, )?")
	e.Msg = strings.TrimSpace(prefix.ReplaceAllString(oneLine(err), " "))
	for _, h := range hints {
		m := h.re.FindStringSubmatch(oneLine(err))
		if m == nil {
			continue
		}
		if h.text != nil {
			e.Msg = h.text(m[1])
		}
		if at := strings.Index(string(src[min(pos.Offset, len(src)):]), h.token(m[1])); at >= 0 {
			e.Line, e.Column = placeOf(src, pos.Offset+at)
		}
		break
	}
	return e
}

// placeOf returns the line and column, both from 1, of a byte offset.
func placeOf(src []byte, offset int) (line, column int) {
	before := string(src[:offset])
	return strings.Count(before, "\n") + 1, offset - strings.LastIndex(before, "\n")
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
