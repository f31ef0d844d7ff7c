// Package cast reads and writes asciicast v2 and v3, the line formats of
// terminal recordings: a header of JSON, then one JSON array per event.
//
// https://docs.asciinema.org/manual/asciicast/v3/ and .../v2/ describe them.
// Both formats hold text only. What is not UTF-8 is written as U+FFFD, one per
// byte; a recording keeps the exact bytes in an event of its own (CodeBytes).
package cast

import (
	"encoding/json"
	"errors"
	"time"
)

// Limits that a Reader holds a file to and a Header must keep.
const (
	MaxLine   = 16 << 20                    // bytes of one event's line
	MaxHeader = 1 << 20                     // bytes of the header's line
	MaxSide   = 10000                       // columns or rows of a terminal
	MaxTime   = 1_000_000_000 * time.Second // time of an event since the start
)

// ErrTruncated says that the last line of a recording is cut off. Every event
// before that line has been returned.
var ErrTruncated = errors.New("the recording is cut off")

// Header is the first line of a recording.
type Header struct {
	Version       int // 2 or 3
	Cols, Rows    int // size of the terminal in cells, 0 to MaxSide
	Term          string
	Timestamp     int64 // start in seconds of Unix time, 0 when unknown
	Command       string
	Title         string
	IdleTimeLimit float64 // seconds, 0 for none
	Env           map[string]string
	Tags          []string        // version 3 only
	Extra         json.RawMessage // the value of the key "sallyport"
}

// Code says what an Event is. A Reader returns any that is one printable
// character of ASCII.
type Code byte

// The codes of asciicast v3; v2 has the first four.
const (
	CodeOutput Code = 'o' // what the terminal showed
	CodeInput  Code = 'i' // what was typed
	CodeMarker Code = 'm' // a named place
	CodeResize Code = 'r' // "COLSxROWS"
	CodeExit   Code = 'x' // exit status in decimal
)

// The codes of Sallyport, which players ignore.
const (
	CodeStderr Code = 'e' // standard error of a session without a terminal
	CodeMask   Code = 'k' // what the live view hid of the next o or e
	CodeBytes  Code = 'b' // base64 of the next o, e or i that is not UTF-8
	CodeGap    Code = 'g' // what is missing here, in words
)

// Event is one line after the header.
type Event struct {
	Time time.Duration // since the start, never negative, never less than the event's before
	Code Code
	Data string
}
