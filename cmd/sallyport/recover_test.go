package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/catalog"
	"sallyport/recorder/ledger"
)

// newStores is a node that has its stores and nothing else.
func newStores(t *testing.T) *node {
	t.Helper()
	n := &node{cfg: &Config{Data: t.TempDir()}, log: slog.New(slog.DiscardHandler)}
	data := dataDir(n.cfg.Data)
	var err error
	if n.ledger, err = ledger.Open(data.ledger()); err != nil {
		t.Fatal(err)
	}
	if n.catalog, err = catalog.Open(context.Background(), data.catalog()); err != nil {
		t.Fatal(err)
	}
	if n.recorder, err = recorder.New(recorder.Options{Dir: data.recordings()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func (n *node) begin(t *testing.T) (policy.Session, *recorder.Recording) {
	t.Helper()
	now := time.Now()
	s := policy.Session{ID: policy.NewSessionID(now), User: policy.User{Issuer: "i", Subject: "s"}, Target: "t1", Start: now}
	rec, err := n.recorder.Open(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.catalog.Begin(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	return s, rec
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
		if err := n.recover(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := n.catalog.Recording(context.Background(), s.ID); err != nil || r.Summary.State != policy.RecordingComplete {
		t.Errorf("%+v %v", r.Summary, err)
	}
	entries, err := os.ReadFile(dataDir(n.cfg.Data).ledger())
	if err != nil || strings.Count(string(entries), string(s.ID)) != 1 {
		t.Errorf("ledger: %v\n%s", err, entries)
	}
}

// One recording that cannot be recovered does not keep the others out of the
// index: the next start would not find them again.
func TestRecoverSettlesTheOthers(t *testing.T) {
	n := newStores(t)
	good, _ := n.begin(t)
	bad, _ := n.begin(t)
	dir := dataDir(n.cfg.Data).recordings()
	again, err := recorder.New(recorder.Options{Dir: dir, Sync: func(f *os.File) error {
		if strings.Contains(f.Name(), string(bad.ID)) {
			return os.ErrPermission
		}
		return f.Sync()
	}})
	if err != nil {
		t.Fatal(err)
	}
	n.recorder = again
	if err := n.recover(context.Background()); err == nil || !strings.Contains(err.Error(), string(bad.ID)) {
		t.Errorf("what cannot be recovered is not named: %v", err)
	}
	if r, err := n.catalog.Recording(context.Background(), good.ID); err != nil || r.Summary.State != policy.RecordingInterrupted {
		t.Errorf("%+v %v", r.Summary, err)
	}
}
