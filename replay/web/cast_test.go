package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/cast"
)

// tape is a recording in memory that ends with err.
type tape struct {
	header cast.Header
	events []cast.Event
	err    error
}

func (t *tape) Header() cast.Header { return t.header }

func (t *tape) Next() (cast.Event, error) {
	if len(t.events) == 0 {
		return cast.Event{}, t.err
	}
	e := t.events[0]
	t.events = t.events[1:]
	return e, nil
}

// castLines returns what writeCast makes of in, header and events.
func castLines(t *testing.T, in *tape, s policy.Session, from time.Duration) (cast.Header, []cast.Event) {
	t.Helper()
	var b bytes.Buffer
	if err := writeCast(&b, in, s, from); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if strings.HasPrefix(line, "#") {
			t.Errorf("a comment line: %q", line)
		}
	}
	r, err := cast.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	var all []cast.Event
	for {
		e, err := r.Next()
		if err == io.EOF {
			return r.Header(), all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

func TestCastIsMadeForPlayers(t *testing.T) {
	in := &tape{
		header: cast.Header{Version: 3, Cols: 5000, Rows: 0, Title: "</script>"},
		events: []cast.Event{
			{Time: 1 * time.Second, Code: 'o', Data: "out"},
			{Time: 2 * time.Second, Code: 'e', Data: "err"},
			{Time: 3 * time.Second, Code: 'k', Data: `{"rule":"x"}`},
			{Time: 3 * time.Second, Code: 'b', Data: "AA=="},
			{Time: 4 * time.Second, Code: 'r', Data: "0x9999"},
			{Time: 5 * time.Second, Code: 'm', Data: "here"},
			{Time: 6 * time.Second, Code: 'g', Data: "gap"},
			{Time: 7 * time.Second, Code: 'x', Data: "0"},
		},
		err: io.EOF,
	}
	h, got := castLines(t, in, policy.Session{TTY: true}, 0)
	if h.Version != 3 || h.Cols != maxCols || h.Rows != 24 || h.Title != "</script>" || h.Extra != nil || len(h.Env) != 0 {
		t.Errorf("header %+v", h)
	}
	want := []cast.Event{
		{Time: 1 * time.Second, Code: 'o', Data: "out"},
		{Time: 2 * time.Second, Code: 'o', Data: "err"},
		{Time: 4 * time.Second, Code: 'r', Data: "80x500"},
		{Time: 5 * time.Second, Code: 'm', Data: "here"},
		{Time: 7 * time.Second, Code: 'x', Data: "0"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("events\n%v, want\n%v", got, want)
	}
}

func TestCastFromLaterKeepsTheScreen(t *testing.T) {
	in := &tape{header: cast.Header{Version: 3, Cols: 80, Rows: 24}, err: cast.ErrTruncated, events: []cast.Event{
		{Time: 1 * time.Second, Code: 'o', Data: "a"},
		{Time: 2 * time.Second, Code: 'm', Data: "before"},
		{Time: 9 * time.Second, Code: 'o', Data: "b"},
		{Time: 11 * time.Second, Code: 'o', Data: "c"},
		{Time: 13 * time.Second, Code: 'm', Data: "after"},
	}}
	_, got := castLines(t, in, policy.Session{TTY: true}, 10*time.Second)
	want := []cast.Event{
		{Time: 0, Code: 'o', Data: "a"},
		{Time: 0, Code: 'o', Data: "b"},
		{Time: 1 * time.Second, Code: 'o', Data: "c"},
		{Time: 3 * time.Second, Code: 'm', Data: "after"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("events\n%v, want\n%v", got, want)
	}
}

func TestCastWithoutTerminalBreaksLines(t *testing.T) {
	in := &tape{header: cast.Header{Version: 3}, err: io.EOF, events: []cast.Event{
		{Code: 'o', Data: "one\ntwo\r\nthree\r"},
		{Code: 'e', Data: "\nfour\n"},
	}}
	_, got := castLines(t, in, policy.Session{TTY: false}, 0)
	if len(got) != 2 || got[0].Data != "one\r\ntwo\r\nthree\r" || got[1].Data != "\nfour\r\n" {
		t.Errorf("events %q", got)
	}
}

func TestCastPassesOtherErrorsOn(t *testing.T) {
	broken := errors.New("line 7 is no event")
	in := &tape{header: cast.Header{Version: 3}, err: broken}
	if err := writeCast(io.Discard, in, policy.Session{}, 0); !errors.Is(err, broken) {
		t.Errorf("writeCast = %v, want %v", err, broken)
	}
}

func TestParseFrom(t *testing.T) {
	if d, err := parseFrom("1.25"); d != 1250*time.Millisecond || err != nil {
		t.Errorf("parseFrom = %v, %v", d, err)
	}
	for _, text := range []string{"-1", "NaN", "Inf", "1e9", "x", "1s"} {
		if d, err := parseFrom(text); err == nil {
			t.Errorf("parseFrom(%q) = %v", text, d)
		}
	}
}

// TestPartsOutlastTheWriteTimeout sends an answer for longer than the server
// gives a whole one.
func TestPartsOutlastTheWriteTimeout(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := newParts(w)
		for range 6 {
			time.Sleep(50 * time.Millisecond)
			p.Write([]byte("part\n"))
			http.NewResponseController(w).Flush()
		}
	}))
	srv.Config.WriteTimeout = 100 * time.Millisecond
	srv.Start()
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || strings.Count(string(body), "part\n") != 6 {
		t.Errorf("got %q, %v", body, err)
	}
}
