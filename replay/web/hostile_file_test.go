package web_test

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/cast"
)

// TestHostileRecordingFile is THREATS T34 over HTTP: a recording that was cut
// off is shown up to its last whole event, and one that is no recording is an
// answer that a client cannot take for a whole one.
func TestHostileRecordingFile(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn(ada)
	whole := func(body []byte) []byte { return body }
	for _, tt := range []struct {
		name   string
		change func(body []byte) []byte
		ok     bool
	}{
		{"whole", whole, true},
		{"truncated tail", func(b []byte) []byte { return b[:len(b)-5] }, true},
		{"no event", func(b []byte) []byte { return b[:bytes.IndexByte(b, '\n')+1] }, true},
		{"garbage in the middle", func(b []byte) []byte { return splice(b, "[1, \"o\"]\n") }, false},
		{"negative time", func(b []byte) []byte { return splice(b, "[-1e9, \"o\", \"x\"]\n") }, false},
		{"endless line", func(b []byte) []byte { return splice(b, "[1, \"o\", \""+strings.Repeat("x", 17<<20)+"\"]\n") }, false},
		{"giant header", func(b []byte) []byte { return append([]byte(strings.Repeat(" ", 2<<20)), b...) }, false},
		{"empty", func([]byte) []byte { return nil }, false},
		{"HTML", func([]byte) []byte { return []byte("<!doctype html><script>alert(1)</script>\n") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := w.record(policy.Session{User: ada}, "one\r\n", "two\r\n")
			path := recorder.Path(w.dir, string(id))
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, tt.change(body), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := c.fetch("/api/v1/sessions/" + string(id) + "/cast")
			if (err == nil) != tt.ok {
				t.Fatalf("error %v and %.200q, want success: %v", err, got, tt.ok)
			}
			if err == nil {
				replayable(t, got)
			}
			// The page itself is shown in any case: it is about the session.
			if resp, body := c.get("/sessions/" + string(id)); resp.StatusCode != 200 || !strings.Contains(body, string(id)) {
				t.Errorf("the page: %d %.200s", resp.StatusCode, body)
			}
		})
	}
}

// splice puts line after the header of a recording.
func splice(body []byte, line string) []byte {
	end := bytes.IndexByte(body, '\n') + 1
	return append(append(bytes.Clone(body[:end]), line...), body[end:]...)
}

// fetch returns the whole answer at path, or why it is none.
func (c *client) fetch(path string) ([]byte, error) {
	resp, err := c.Do(c.request("GET", path, nil))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = &statusError{resp.Status}
	}
	return body, err
}

type statusError struct{ status string }

func (e *statusError) Error() string { return e.status }

// replayable fails when body is no whole asciicast.
func replayable(t *testing.T, body []byte) {
	t.Helper()
	r, err := cast.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := r.Next(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
