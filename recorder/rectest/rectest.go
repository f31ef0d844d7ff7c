// Package rectest makes a node's storage (journal, archive, ledger, keys) in a
// directory of a test. It is for tests only.
package rectest

import (
	"context"
	"path/filepath"
	"testing"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/journal"
	"sallyport/recorder/ledger"
)

// Store is the storage of one node, and a Recorder on it.
type Store struct {
	Dir       string
	Archive   *archive.Dir
	Journal   *journal.Journal
	Ledger    *ledger.Ledger
	Verifier  note.Verifier
	View, Raw *age.X25519Identity
	Recorder  *recorder.Recorder

	t      testing.TB
	o      recorder.Options
	signer note.Signer
}

// New makes a store in a temporary directory. What o has of storage is
// replaced. It is closed with the test.
func New(t testing.TB, o recorder.Options) *Store {
	t.Helper()
	s := &Store{t: t, Dir: t.TempDir(), o: o}
	var err error
	for _, id := range []**age.X25519Identity{&s.View, &s.Raw} {
		if *id, err = age.GenerateX25519Identity(); err != nil {
			t.Fatal(err)
		}
	}
	skey, vkey, err := ledger.GenerateKey("sallyport/test")
	if err == nil {
		s.signer, err = note.NewSigner(skey)
	}
	if err == nil {
		s.Verifier, err = note.NewVerifier(vkey)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// LedgerDir is where the ledger lies.
func (s *Store) LedgerDir() string { return filepath.Join(s.Dir, "ledger") }

// ArchiveDir is where the archive lies.
func (s *Store) ArchiveDir() string { return filepath.Join(s.Dir, "archive") }

// Start opens everything, as a node does that starts.
func (s *Store) Start() {
	s.t.Helper()
	var err error
	if s.Archive, err = archive.OpenDir(s.ArchiveDir(), archive.DirOptions{}); err != nil {
		s.t.Fatal(err)
	}
	if s.Ledger, err = ledger.Open(ledger.Options{Dir: s.LedgerDir(), Signer: s.signer, Verifier: s.Verifier, BodyKey: [32]byte{3}}); err != nil {
		s.t.Fatal(err)
	}
	if s.Journal, err = journal.Open(journal.Options{Dir: filepath.Join(s.Dir, "journal"), Key: [32]byte{7}, FileSize: 8 << 20, Reserve: 64 << 10}); err != nil {
		s.t.Fatal(err)
	}
	o := s.o
	o.Archive, o.Journal, o.Entry, o.Entered = s.Archive, s.Journal, s.Ledger.Append, s.entered
	o.ViewRecipients, o.RawRecipients = []age.Recipient{s.View.Recipient()}, []age.Recipient{s.Raw.Recipient()}
	if s.Recorder, err = recorder.New(o); err != nil {
		s.t.Fatal(err)
	}
}

// Stop closes everything, as a node does that stops. It may be called twice.
func (s *Store) Stop() {
	s.t.Helper()
	if s.Recorder == nil {
		return
	}
	for _, err := range []error{s.Recorder.Close(), s.Journal.Close(), s.Ledger.Close()} {
		if err != nil {
			s.t.Error(err)
		}
	}
	s.Recorder = nil
}

// entered says what the ledger holds of recordings.
func (s *Store) entered(_ context.Context, ids []policy.SessionID) (map[policy.SessionID]recorder.Entered, error) {
	g := s.Log()
	found := map[policy.SessionID]recorder.Entered{}
	for _, id := range ids {
		found[id] = recorder.Entered{}
	}
	for leaf, err := range g.Leaves() {
		if err != nil {
			return nil, err
		}
		e, ok := found[leaf.Session]
		if !ok {
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

// Log signs what the ledger holds and loads it.
func (s *Store) Log() *ledger.Log {
	s.t.Helper()
	if s.Recorder != nil {
		if _, err := s.Ledger.Checkpoint(context.Background()); err != nil {
			s.t.Fatal(err)
		}
	}
	g, err := ledger.Load(s.LedgerDir(), s.Verifier)
	if err != nil {
		s.t.Fatal(err)
	}
	return g
}

// Record makes a whole recording: play is called with it and what is said of
// its end.
func (s *Store) Record(session policy.Session, play func(*recorder.Recording), end policy.End) policy.Recording {
	s.t.Helper()
	rec, err := s.Recorder.Open(context.Background(), session)
	if err != nil {
		s.t.Fatal(err)
	}
	play(rec)
	for _, st := range []policy.Stream{policy.StreamOutput, policy.StreamStderr} {
		rec.CloseOutput(st)
		for {
			if _, err := rec.Next(st); err != nil {
				break
			}
		}
	}
	sum, err := rec.Close(end)
	if err != nil {
		s.t.Fatal(err)
	}
	return policy.Recording{Session: session, Summary: sum}
}
