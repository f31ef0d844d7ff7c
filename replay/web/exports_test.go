package web_test

import (
	"os"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/recorder"
)

func TestExports(t *testing.T) {
	w := newWorld(t)
	id := w.record(policy.Session{User: ada}, "\x1b[1mfirst\x1b[0m\r\n", "key "+secretKey+"\r\n", "last\r\n")
	auditor := w.signedIn(audit)
	for _, format := range []string{"v3", "v2", "raw", "txt"} {
		for _, view := range []string{"live", "raw"} {
			resp, body := auditor.get("/sessions/" + string(id) + "/export?format=" + format + "&view=" + view)
			if resp.StatusCode != 200 || !strings.Contains(body, "first") || !strings.Contains(body, "last") {
				t.Errorf("%s of the %s view: %d %q", format, view, resp.StatusCode, body)
			}
			if strings.Contains(body, secretKey) != (view == "raw") {
				t.Errorf("%s of the %s view: %q", format, view, body)
			}
			disposition := resp.Header.Get("Content-Disposition")
			if !strings.HasPrefix(disposition, `attachment; filename="sallyport-`+string(id)) || strings.Contains(disposition, "-unmasked") != (view == "raw") {
				t.Errorf("%s of the %s view is named by %q", format, view, disposition)
			}
		}
	}
}

// TestExportOfTruncatedRecording holds that a recording that was cut off is
// exported up to where it was.
func TestExportOfTruncatedRecording(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn(ada)
	id := w.record(policy.Session{User: ada}, "first\r\n", "last\r\n")
	path := recorder.Path(w.dir, string(id))
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, fi.Size()-4); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"v3", "v2", "raw", "txt"} {
		if body, err := c.fetch("/sessions/" + string(id) + "/export?format=" + format); err != nil || !strings.Contains(string(body), "last") {
			t.Errorf("%s: %q, %v", format, body, err)
		}
	}
}
