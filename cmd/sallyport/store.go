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
	for _, w := range n.keys.warnings(n.cfg) {
		n.log.Warn(w)
	}
	if n.catalog, err = catalog.Open(ctx, dataDir(n.cfg.Data).catalog()); err != nil {
		return err
	}
	if err := n.openLedger(ctx); err != nil {
		return err
	}
	if err := n.openArchive(ctx); err != nil {
		return err
	}
	n.disk = &diskWatch{dirs: map[string]string{"journal": dataDir(n.cfg.Data).journal(), "archive": n.cfg.Recordings.Archive},
		refuse: n.cfg.Disk.RefuseBelow, end: n.cfg.Disk.EndBelow, free: archive.Free}
	if err := n.openJournal(); err != nil {
		return err
	}
	return n.openRecorder()
}

// openArchive opens the archive and leaves the ledger's public key in it, for
// those who verify a copy, and as a mark: a folder that was the archive and has
// no mark now is one where nothing is mounted.
func (n *node) openArchive(ctx context.Context) error {
	path, mark := n.cfg.Recordings.Archive, ledgerPrefix(n.cfg.Ledger.Node)+"ledger.pub"
	before, err := readPaths(dataDir(n.cfg.Data))
	if err != nil {
		return err
	}
	if isFile(dataDir(n.cfg.Data).paths()) && samePath(before.Archive, path) && !isFile(filepath.Join(path, mark)) {
		return fmt.Errorf("%s was the archive at the last start, and has no %s now: is it mounted? To begin a new archive there, remove %s", path, mark, dataDir(n.cfg.Data).paths())
	}
	dir, err := archive.OpenDir(path, archive.DirOptions{})
	if err != nil {
		return err
	}
	if err := dir.Clean(); err != nil {
		return err
	}
	err = dir.Create(ctx, mark, []byte(n.keys.ledgerKey+"\n"))
	if errors.Is(err, archive.ErrExists) {
		return fmt.Errorf("%s is the archive of another ledger with the same name, %s: give each bastion its own ledger.node", path, n.cfg.Ledger.Node)
	}
	if err != nil {
		return err
	}
	n.archive = &measuredStore{Store: dir, metrics: n.metrics}
	n.keeper = newKeeper(n.archive, n.catalog, n.enter)
	n.keeper.Retention = time.Duration(n.cfg.Recordings.Retention)
	return writePaths(n.cfg)
}

// samePath reports whether a and b are one name.
func samePath(a, b string) bool {
	a, errA := filepath.Abs(a)
	b, errB := filepath.Abs(b)
	return errA == nil && errB == nil && a == b
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
		return fmt.Errorf("%w; put the right one back (%s, or what systemd hands in), or move %s away and lose what it holds", err, dataDir(n.cfg.Data).keys().journal(), dir)
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
