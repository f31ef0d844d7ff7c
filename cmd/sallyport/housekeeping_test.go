package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

// reopen opens the stores again and returns why that does not work.
func (n *node) reopen() error {
	if err := n.Close(); err != nil {
		return err
	}
	*n = node{cfg: n.cfg, log: slog.New(slog.DiscardHandler), metrics: newMetrics()}
	return n.openStore(context.Background())
}

// An archive that is not mounted is not taken for an empty one, nor one of
// another bastion for this one's.
func TestArchiveThatIsNotMounted(t *testing.T) {
	n := newStores(t)
	if err := n.reopen(); err != nil {
		t.Fatalf("again, with an archive that has no recording yet: %v", err)
	}
	dir := n.cfg.Recordings.Archive
	if err := os.Rename(dir, dir+".elsewhere"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := n.reopen()
	if err == nil || !strings.Contains(err.Error(), "is it mounted?") || !strings.Contains(err.Error(), dir) {
		t.Errorf("an empty mount point: %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("something was written to it: %v", files)
	}
	if err := os.Remove(dataDir(n.cfg.Data).paths()); err != nil {
		t.Fatal(err)
	}
	if err := n.reopen(); err != nil {
		t.Errorf("a new archive, on purpose: %v", err)
	}
	other := newStores(t)
	other.cfg.Recordings.Archive = dir
	if err := other.reopen(); err == nil || !strings.Contains(err.Error(), "another ledger with the same name") {
		t.Errorf("two bastions of one name: %v", err)
	}
}

// Personal details go after their time; the entries stay, and verify.
func TestBodiesAreErased(t *testing.T) {
	n := newStores(t)
	e := policy.Entry{Kind: policy.EntrySignIn, User: &dora, Time: time.Now().AddDate(0, 0, -10)}
	if err := n.audit(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	if _, err := n.ledger.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		keep time.Duration
		left bool
	}{{0, true}, {20 * 24 * time.Hour, true}, {5 * 24 * time.Hour, false}} {
		n.cfg.Ledger.BodyRetention = Lifetime(tc.keep)
		if err := n.eraseBodies(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(n.entriesOf(t, "signin", ""), dora.Email); got != tc.left {
			t.Errorf("kept for %s: the name is there: %v", tc.keep, got)
		}
	}
	if out := n.entriesOf(t, "signin", ""); strings.Count(out, "\n") != 1 {
		t.Errorf("the entry: %q", out)
	}
}

// The archive has a copy of the ledger that loads by itself, however often it is
// brought up to date, and after a restart too.
func TestArchiveHasTheLedger(t *testing.T) {
	n := newStores(t)
	for range 3 {
		for range 2 {
			if err := n.audit(context.Background(), policy.Entry{Kind: policy.EntrySignIn, User: &dora}); err != nil {
				t.Fatal(err)
			}
			if err := n.copyLedger(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.copyLedger(context.Background()); err != nil { // nothing is new
			t.Fatal(err)
		}
		if err := n.reopen(); err != nil {
			t.Fatal(err)
		}
	}
	o := verifyOptions{archive: n.cfg.Recordings.Archive, ledgerKey: filepath.Join(n.cfg.Recordings.Archive, "ledger", n.cfg.Ledger.Node, "ledger.pub")}
	log, err := o.loadLog()
	if err != nil || log.Size() != 6 || log.SignedSize() != 6 {
		t.Fatalf("%v %+v", err, log)
	}
	if err := log.Consistent(latest(n)); err != nil {
		t.Error(err)
	}
	files, err := os.ReadDir(filepath.Dir(o.ledgerKey))
	if err != nil || len(files) != 13 { // 6 chunks, 6 checkpoints, the key
		t.Errorf("%d files, %v", len(files), err)
	}
}

func latest(n *node) []byte {
	text, _ := n.ledger.Latest()
	return bytes.Clone(text)
}
