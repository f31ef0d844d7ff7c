package web_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/recorder/cast"
)

// TestHostileRecordingFile is THREATS T34 over HTTP: a recording that is not
// whole is an answer that a client cannot take for a whole one.
func TestHostileRecordingFile(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn(ada)
	for _, tt := range []struct {
		name   string
		change func(body []byte, block int) []byte
		ok     bool
	}{
		{"whole", func(b []byte, _ int) []byte { return b }, true},
		{"truncated tail", func(b []byte, _ int) []byte { return b[:len(b)-5] }, false},
		{"garbage in the middle", func(b []byte, at int) []byte { return append(append(bytes.Clone(b[:at]), "garbage"...), b[at:]...) }, false},
		{"a flipped bit", func(b []byte, at int) []byte { b[at+40] ^= 1; return b }, false},
		{"another version", func(b []byte, _ int) []byte { b[9]++; return b }, false},
		{"empty", func([]byte, int) []byte { return nil }, false},
		{"HTML", func([]byte, int) []byte { return []byte("<!doctype html><script>alert(1)</script>\n") }, false},
		{"endless", func([]byte, int) []byte { return bytes.Repeat([]byte("x"), 70<<20) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := w.record(policy.Session{User: ada}, "one\r\n", "two\r\n")
			w.damage(id, tt.change)
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
