package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/journal"
)

// newStores is a node that has its stores and nothing else.
func newStores(t *testing.T) *node {
	t.Helper()
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	dir := t.TempDir()
	cfg, err := ParseConfig(filepath.Join(dir, "f.yaml"), []byte(minimalConfig+"data: data\n"))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{}
	n.openStores(t, cfg)
	t.Cleanup(func() { n.Close() })
	return n
}

func (n *node) openStores(t *testing.T, cfg *Config) {
	t.Helper()
	n.cfg, n.log, n.metrics = cfg, slog.New(slog.DiscardHandler), newMetrics()
	if err := n.openStore(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// restart opens the stores again, as the next run does.
func (n *node) restart(t *testing.T) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.openStores(t, n.cfg)
}

func (n *node) begin(t *testing.T) (policy.Session, *recorder.Recording) {
	t.Helper()
	now := time.Now()
	s := policy.Session{ID: policy.NewSessionID(now), User: policy.User{Issuer: "i", Subject: "s", Email: "dora@example.com"}, Target: "t1", Start: now}
	rec, err := n.recorder.Open(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.catalog.Begin(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	return s, rec
}

// entriesOf returns the entries of one kind about a session.
func (n *node) entriesOf(t *testing.T, kind string, id policy.SessionID) string {
	t.Helper()
	var out bytes.Buffer
	if err := showLedger(&out, dataDir(n.cfg.Data), entryFilter{session: string(id), kind: kind}, true); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A crash after a recording was sealed, and before the catalog heard of it,
// leaves no session that looks open for ever, and no ledger without its end.
func TestRecoverSettlesWhatIsSealedAlready(t *testing.T) {
	n := newStores(t)
	s, rec := n.begin(t)
	if _, err := rec.Close(policy.End{Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds nothing to do
		n.restart(t)
		if err := n.recover(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := n.catalog.Recording(context.Background(), s.ID); err != nil || r.Summary.State != policy.RecordingComplete {
		t.Errorf("%+v %v", r.Summary, err)
	}
	for _, kind := range []string{"session.end", "recording.start", "recording.end"} {
		if e := n.entriesOf(t, kind, s.ID); strings.Count(e, "\n") != 1 {
			t.Errorf("%s: %s", kind, e)
		}
	}
}

// onlyOthers is an archive that takes nothing of one recording.
type onlyOthers struct {
	archive.Store
	not policy.SessionID
}

func (s onlyOthers) Create(ctx context.Context, name string, data []byte) error {
	if strings.Contains(name, string(s.not)) {
		return errors.New("no space for " + name)
	}
	return s.Store.Create(ctx, name, data)
}

// One recording that cannot be recovered does not keep the others out of the
// index: the next start would not find them again.
func TestRecoverSettlesTheOthers(t *testing.T) {
	n := newStores(t)
	good, _ := n.begin(t)
	bad, _ := n.begin(t)
	n.restart(t) // as after a crash: neither was closed
	n.archive = onlyOthers{n.archive, bad.ID}
	if err := n.openRecorder(); err != nil {
		t.Fatal(err)
	}
	if err := n.recover(context.Background()); err == nil || !strings.Contains(err.Error(), string(bad.ID)) {
		t.Errorf("what cannot be recovered is not named: %v", err)
	}
	if r, err := n.catalog.Recording(context.Background(), good.ID); err != nil || r.Summary.State != policy.RecordingInterrupted {
		t.Errorf("%+v %v", r.Summary, err)
	}
	if e := n.entriesOf(t, "session.end", good.ID); !strings.Contains(e, "dora@example.com") || !strings.Contains(e, `"state":"interrupted"`) {
		t.Errorf("the entry: %s", e)
	}
	n.restart(t) // and with an archive that works again
	if err := n.recover(context.Background()); err != nil {
		t.Fatal(err)
	}
	if r, err := n.catalog.Recording(context.Background(), bad.ID); err != nil || r.Summary.State != policy.RecordingInterrupted {
		t.Errorf("%+v %v", r.Summary, err)
	}
}

// A recording that the catalog refuses is in the ledger and in the archive all
// the same.
func TestWhatTheCatalogRefusesIsRecorded(t *testing.T) {
	n := newStores(t)
	now := time.Now()
	s := policy.Session{ID: policy.NewSessionID(now), User: dora, Target: "t1", Start: now}
	if err := n.catalog.Begin(context.Background(), s); err != nil { // so that the second is refused
		t.Fatal(err)
	}
	_, err := n.openRecording(context.Background(), s)
	var forUser *userError
	if !errors.As(err, &forUser) || !strings.Contains(err.Error(), "cannot be indexed") {
		t.Fatalf("%v", err)
	}
	if e := n.entriesOf(t, "recording.end", s.ID); strings.Count(e, "\n") != 1 {
		t.Errorf("ledger: %s", e)
	}
	if _, err := archive.ReadAll(context.Background(), n.archive, archive.ManifestName(string(s.ID)), 1<<20); err != nil {
		t.Errorf("archive: %v", err)
	}
	if text := scrape(t, n.metrics); !strings.Contains(text, `sallyport_sessions_refused_total{reason="catalog"} 1`) {
		t.Error("it is not counted")
	}
}

// With another key, what a crash left in the journal stays there, and the start
// says why it is none.
func TestJournalOfAnotherKey(t *testing.T) {
	n := newStores(t)
	s, _ := n.begin(t)
	file := dataDir(n.cfg.Data).keys().journal()
	right, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	start := func(key []byte) error {
		if err := os.WriteFile(file, key, 0o600); err != nil {
			t.Fatal(err)
		}
		*n = node{cfg: n.cfg, log: slog.New(slog.DiscardHandler), metrics: newMetrics()}
		if err := n.openStore(context.Background()); err != nil {
			return err
		}
		return n.recover(context.Background())
	}
	err = start([]byte(strings.Repeat("07", 32)))
	if !errors.Is(err, journal.ErrWrongKey) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := start(right); err != nil {
		t.Fatal(err)
	}
	if r, err := n.catalog.Recording(context.Background(), s.ID); err != nil || r.Summary.State != policy.RecordingInterrupted {
		t.Errorf("%+v %v", r.Summary, err)
	}
}
