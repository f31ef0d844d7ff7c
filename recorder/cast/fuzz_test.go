package cast

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzReader holds the reader to ending with events or one error on any input,
// to agreeing with encoding/json about each event, and what is parsed,
// serialized and parsed again to being the same.
func FuzzReader(f *testing.F) {
	const v3 = "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24,\"type\":\"xterm\"},\"sallyport\":{\"a\":[1]}}\n"
	const v2 = "{\"version\":2,\"width\":80,\"height\":24,\"timestamp\":1.7e9,\"env\":{\"TERM\":\"xterm\",\"X\":null},\"theme\":{}}\n"
	for _, h := range []Header{{Version: 2, Cols: 1, Env: map[string]string{"A": "b"}}, {Version: 3, Rows: 2, Tags: []string{"x"}}} {
		data := write(f, h, sample)
		f.Add(data)
		f.Add(data[:len(data)/2])
		f.Add(data[:len(data)-1])
		f.Add(bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")))
	}
	for _, s := range []string{
		"", "\n", "{", "{}", "[]\n", v3, v2, v3 + "\n\n# comment\n",
		v3 + "[1e-3, \"o\", \"\\ud83c\\udf89\\ud83c \\/\\b\\f\\u0000\"]\n",
		v3 + "[1E+2,\"m\",\"a\xffb\xe2\x28\xa1\"]", v3 + "[0.0000005, \"o\", \"\"]\n[0.0000005, \"o\", \"\"]\n",
		v3 + "[999999999.9999999, \"o\", \"\"]\n[1, \"o\", \"\"]\n", v3 + "[-0.0, \"\\\"\", \"\"]\n[0, \"\\\\\", \"\"]\n",
		v2 + "[2, \"o\", \"x\"]\n[1, \"i\", \"y\"]\n[1, \"o\"]\n", v2 + "[\"1\", \"o\", \"x\"]\n", v2 + "  [ 1\t, \"o\" , \"x\" ] \n",
		v2 + "[1, \"oo\", \"\\x\"]\n", v2 + "[1, \"o\", \"\\u12\"]\n", v2 + "[1, \"o\", \"\n\"]\n", v2 + "[1e999, \"o\", \"\"]\n",
		v2 + "[1, \"o\", \"\"], \n", v2 + "[1, \"o\", \"" + strings.Repeat("漢", 20000) + "\"]\n",
		"{\"version\":3}\n", "{\"version\":9,\"width\":1}\n", "{\"version\":2,\"width\":99999}\n", "{\"version\":2,\"sallyport\":null}\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		h := r.Header()
		if err := h.check(); err != nil {
			t.Fatal(err)
		}
		var events []Event
		var last time.Duration
		for {
			e, err := r.Next()
			if err != nil {
				break
			}
			if e.Time < last || e.Time > MaxTime || !utf8.ValidString(e.Data) {
				t.Fatalf("event %+v after %v", e, last)
			}
			last = e.Time
			checkLine(t, data[r.Offset():r.next], e)
			e.Time = e.Time.Round(time.Microsecond)
			events = append(events, e)
		}
		checkIdentity(t, h, events)
	})
}

// checkLine compares what was read with what encoding/json reads.
func checkLine(t *testing.T, line []byte, e Event) {
	var parts []any
	if err := json.Unmarshal(line, &parts); err != nil {
		t.Fatalf("%q was taken, but: %v", line, err)
	}
	if len(parts) != 3 || parts[1] != string(e.Code) || parts[2] != e.Data {
		t.Fatalf("%q was read as %q", line, e)
	}
}

// checkIdentity writes what was read and reads it again.
func checkIdentity(t *testing.T, h Header, events []Event) {
	line, err := AppendHeader(nil, h)
	if err != nil {
		if len(line) == 0 && strings.Contains(err.Error(), "more than") {
			return // escapes made it longer than it was
		}
		t.Fatal(err)
	}
	data := write(t, h, events)
	gotHeader, got, err := readAll(data)
	if err != nil {
		t.Fatal(err)
	}
	if again := write(t, gotHeader, got); !bytes.Equal(again, data) {
		t.Fatalf("%q became %q", data, again)
	}
	if len(got) != len(events) || len(events) > 0 && !reflect.DeepEqual(got, events) {
		t.Fatalf("%q became %q", events, got)
	}
}
