package web

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/catalog"
)

func TestParseSearch(t *testing.T) {
	day := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		query string
		want  catalog.Filter
		err   string
	}{
		{query: "", want: catalog.Filter{}},
		{query: "user=ada&target=db&q=ls&state=open", want: catalog.Filter{User: "ada", Target: "db", Text: "ls", State: policy.RecordingOpen}},
		{query: "from=2026-01-31&to=2026-01-31", want: catalog.Filter{From: day, To: day.Add(24 * time.Hour)}},
		{query: "from=2026-01-31T15:04", want: catalog.Filter{From: day.Add(15*time.Hour + 4*time.Minute)}},
		{query: "from=2026-01-31T01:00:00%2B01:00", want: catalog.Filter{From: day}},
		{query: "from=yesterday", err: "a time is written like"},
		{query: "to=%00", err: "a time is written like"},
		{query: "state=<script>", err: "a state is one of"},
		{query: "q=" + strings.Repeat("a", 201), err: "at most 200 bytes"},
	} {
		q, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseSearch(q)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("parseSearch(%.40q): %v, want %q", tt.query, err, tt.err)
			}
			continue
		}
		if err != nil || got.filter != tt.want {
			t.Errorf("parseSearch(%q) = %+v, %v; want %+v", tt.query, got.filter, err, tt.want)
		}
		if back, err := parseSearch(got.values()); err != nil || back != got {
			t.Errorf("the link of %q finds %+v, %v", tt.query, back, err)
		}
	}
}

func TestNumberParameter(t *testing.T) {
	for text, want := range map[string]int{"": 7, "1": 1, "9": 9} {
		if n, err := number(url.Values{"n": {text}}, "n", 7, 1, 9); n != want || err != nil {
			t.Errorf("number(%q) = %d, %v; want %d", text, n, err, want)
		}
	}
	for _, text := range []string{"0", "10", "-1", "1.5", "x", "99999999999999999999"} {
		if n, err := number(url.Values{"n": {text}}, "n", 7, 1, 9); err == nil {
			t.Errorf("number(%q) = %d", text, n)
		}
	}
}
