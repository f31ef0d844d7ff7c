package web_test

import (
	"strings"
	"testing"

	"sallyport/policy"
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
