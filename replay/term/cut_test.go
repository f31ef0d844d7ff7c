package term_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/recorder/cast"
	"sallyport/replay"
	"sallyport/replay/term"
)

// A recording that is cut off anywhere plays to its last whole event.
func TestARecordingCutOffAnywherePlaysToItsLastWholeEvent(t *testing.T) {
	file, err := cast.AppendHeader(nil, cast.Header{Version: 3, Cols: 80, Rows: 24})
	if err != nil {
		t.Fatal(err)
	}
	type mark struct {
		bytes int
		shown string
	}
	marks := []mark{{len(file), ""}}
	prev, all := time.Duration(0), ""
	for i, text := range []string{"one\r\n", "zwölf ✜\r\n", "\"quoted\"\r\n", "\x1b]0;never\x07", "last"} {
		at := time.Duration(i) * time.Millisecond
		file = cast.AppendEvent(file, 3, prev, cast.Event{Time: at, Code: cast.CodeOutput, Data: text})
		if text[0] != 0x1b {
			all += text
		}
		prev, marks = at, append(marks, mark{len(file), all})
	}
	path := filepath.Join(t.TempDir(), "cut.cast")
	for n := marks[0].bytes; n <= len(file); n++ {
		if err := os.WriteFile(path, file[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		want, whole := "", false
		for _, m := range marks {
			if m.bytes-1 <= n { // a line is whole without its line feed, too
				want, whole = m.shown, m.bytes >= n
			}
		}
		s, err := replay.OpenFile(path, replay.Masked)
		if err != nil {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
		var out bytes.Buffer
		err = term.Play(context.Background(), s, term.Options{Out: &out, Speed: 1000})
		s.Close()
		if whole && err != nil || !whole && !errors.Is(err, cast.ErrTruncated) || out.String() != want {
			t.Errorf("cut after %d of %d bytes: %v, shows %q, want %q", n, len(file), err, out.String(), want)
		}
	}
}
