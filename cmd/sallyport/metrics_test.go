package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// scrape returns what /metrics shows.
func scrape(t *testing.T, m *metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body.String())
	}
	return w.Body.String()
}

func TestMetricsShowTheDisks(t *testing.T) {
	var free atomic.Int64
	free.Store(15 * mib)
	m := newMetrics()
	m.watch(fakeDisk(&free).sample)
	m.commitSeconds.Observe(0.0002)
	text := scrape(t, m)
	for _, want := range []string{
		`sallyport_disk_free_bytes{of="archive"} 1.572864e+07`, `sallyport_disk_free_bytes{of="journal"} 9.437184e+07`,
		`sallyport_disk_limit_bytes{of="archive",then="refuse"} 2.097152e+07`, `sallyport_disk_limit_bytes{of="journal",then="end"} 1.048576e+07`,
		"# TYPE sallyport_disk_free_bytes gauge", "# TYPE sallyport_journal_sync_seconds histogram", "sallyport_journal_sync_seconds_count 1",
		`sallyport_sessions_refused_total{reason="disk"} 0`, `sallyport_build_info{version="` + version + `"} 1`, "go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	free.Store(-1) // what cannot be measured is left out
	if text := scrape(t, m); strings.Contains(text, "sallyport_disk_free_bytes") {
		t.Errorf("figures of a disk that cannot be measured:\n%s", text)
	}
}
