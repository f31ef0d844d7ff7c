package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/catalog"
	"sallyport/recorder/journal"
	"sallyport/recorder/ledger"
	"sallyport/recorder/redact"
)

func (d dataDir) journal() string { return filepath.Join(string(d), "journal") }
func (d dataDir) archive() string { return filepath.Join(string(d), "archive") }
func (d dataDir) ledger() string  { return filepath.Join(string(d), "ledger") }

// openStore opens what the record consists of: keys, catalog, ledger, archive,
// journal, and the recorder on top of them.
func (n *node) openStore(ctx context.Context) error {
	var err error
	if n.keys, err = openRecordKeys(n.cfg); err != nil {
		return err
	}
	if err := writePaths(n.cfg); err != nil {
		return err
	}
	if n.catalog, err = catalog.Open(ctx, dataDir(n.cfg.Data).catalog()); err != nil {
		return err
	}
	if err := n.openLedger(ctx); err != nil {
		return err
	}
	dir, err := archive.OpenDir(n.cfg.Recordings.Archive, archive.DirOptions{})
	if err != nil {
		return err
	}
	if err := dir.Clean(); err != nil {
		return err
	}
	n.archive = &measuredStore{Store: dir, metrics: n.metrics}
	n.keeper = newKeeper(n.archive, n.catalog, n.enter)
	n.keeper.Retention = time.Duration(n.cfg.Recordings.Retention)
	n.disk = &diskWatch{dirs: map[string]string{"journal": dataDir(n.cfg.Data).journal(), "archive": n.cfg.Recordings.Archive},
		refuse: n.cfg.Disk.RefuseBelow, end: n.cfg.Disk.EndBelow, free: archive.Free}
	if err := n.openJournal(); err != nil {
		return err
	}
	return n.openRecorder()
}

func (n *node) openJournal() error {
	dir := dataDir(n.cfg.Data).journal()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	size, err := journalFileSize(dir)
	if err != nil {
		return err
	}
	n.journal, err = journal.Open(journal.Options{Dir: dir, Key: n.keys.journal, FileSize: size, Sync: n.metrics.timedSync})
	if errors.Is(err, journal.ErrWrongKey) {
		return fmt.Errorf("%w; put the key back that it was written with, or move %s away and lose what it holds", err, dir)
	}
	return err
}

// journalFileSize is the journal's default, or less on a small disk: a file is
// allocated whole, and the next one ahead of need.
func journalFileSize(dir string) (int64, error) {
	_, total, err := archive.Free(dir)
	if err != nil {
		return 0, err
	}
	return min(journal.DefaultFileSize, max(total/32, 2*journal.DefaultReserve)) &^ 4095, nil
}

// timedSync is what makes the journal durable, with a look at the clock.
func (m *metrics) timedSync(f *os.File) error {
	begun := time.Now()
	err := unix.Fdatasync(int(f.Fd()))
	m.commitSeconds.Observe(time.Since(begun).Seconds())
	return err
}

func (n *node) openRecorder() error {
	rules, err := redact.Compile(n.cfg.redactConfig())
	if err != nil {
		return err
	}
	n.recorder, err = recorder.New(recorder.Options{
		Journal: n.journal, Archive: n.archive, Entry: n.ledger.Append, Entered: n.entered,
		ViewRecipients: n.keys.view, RawRecipients: n.keys.raw,
		NewMasker: func(s policy.Session) recorder.Masker {
			cols := 0
			if s.TTY {
				cols = s.Cols
			}
			return rules.NewMasker(cols)
		},
		Finished: n.finished,
		Log:      n.log,
	})
	return err
}

// finished indexes a recording that was sealed after its session had been told
// that it was not.
func (n *node) finished(r policy.Recording) {
	ctx, cancel := context.WithTimeout(context.Background(), catalogTime)
	defer cancel()
	if err := n.catalog.PutRecording(ctx, r); err != nil {
		n.log.Error("a recording that was sealed late is not in the catalog; the next start, or `sallyport ledger rebuild`, puts it there", "session", r.Session.ID, "error", err)
	}
}

// entered says what the ledger holds about recordings. It reads the whole
// ledger: after a crash, and when an entry was in doubt.
func (n *node) entered(_ context.Context, ids []policy.SessionID) (map[policy.SessionID]recorder.Entered, error) {
	log, err := ledger.Load(dataDir(n.cfg.Data).ledger(), n.keys.verifier)
	if err != nil {
		return nil, err
	}
	found := make(map[policy.SessionID]recorder.Entered, len(ids))
	for _, id := range ids {
		found[id] = recorder.Entered{}
	}
	for leaf, err := range log.Leaves() {
		if err != nil {
			return nil, err
		}
		e, asked := found[leaf.Session]
		if !asked {
			continue
		}
		switch leaf.Kind {
		case policy.EntryRecordingStart:
			e.Start = true
		case policy.EntryRecordingSegment:
			e.Segments++
		case policy.EntryRecordingEnd:
			e.End = true
		}
		found[leaf.Session] = e
	}
	return found, nil
}

// measuredStore counts what the archive does not take, and how long the rest
// needs.
type measuredStore struct {
	archive.Store
	metrics *metrics
}

// Create is as archive.Store describes it.
func (s *measuredStore) Create(ctx context.Context, name string, data []byte) error {
	begun := time.Now()
	err := s.Store.Create(ctx, name, data)
	if err != nil && !errors.Is(err, archive.ErrExists) {
		s.metrics.archiveFailures.Inc()
		return err
	}
	s.metrics.archiveSeconds.Observe(time.Since(begun).Seconds())
	return err
}
