package proxy_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/journal"
	"sallyport/recorder/sealed"
)

// shelf is the real recorder on a disk, with a ledger that takes everything.
type shelf struct {
	*recorder.Recorder
	dir       string
	journal   *journal.Journal
	archive   *archive.Dir
	view, raw *age.X25519Identity
}

// newShelf makes one in a directory of the test. sync takes the place of the
// journal's fsync; nil does not.
func newShelf(t testing.TB, sync func(*os.File) error) *shelf {
	t.Helper()
	s := &shelf{dir: t.TempDir()}
	for _, id := range []**age.X25519Identity{&s.view, &s.raw} {
		var err error
		if *id, err = age.GenerateX25519Identity(); err != nil {
			t.Fatal(err)
		}
	}
	s.open(t, sync)
	t.Cleanup(s.close)
	return s
}

func (s *shelf) open(t testing.TB, sync func(*os.File) error) {
	t.Helper()
	var err, archiveErr, journalErr error
	s.archive, archiveErr = archive.OpenDir(filepath.Join(s.dir, "archive"), archive.DirOptions{})
	s.journal, journalErr = journal.Open(journal.Options{Dir: filepath.Join(s.dir, "journal"), Key: [32]byte{1}, FileSize: 16 << 20, Sync: sync})
	if err = errors.Join(archiveErr, journalErr); err != nil {
		t.Fatal(err)
	}
	s.Recorder, err = recorder.New(recorder.Options{
		Journal: s.journal, Archive: s.archive, Entry: func(context.Context, ...policy.Entry) error { return nil },
		ViewRecipients: []age.Recipient{s.view.Recipient()}, RawRecipients: []age.Recipient{s.raw.Recipient()},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// close closes what a disk that failed has left.
func (s *shelf) close() {
	s.Recorder.Close()
	s.journal.Close()
}

// again is the next start of the node, on a disk that is well.
func (s *shelf) again(t testing.TB) {
	t.Helper()
	s.close()
	s.open(t, nil)
	if _, err := s.Recover(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// streams returns the bytes of one recording's streams, read back from disk.
func (s *shelf) streams(t testing.TB, id policy.SessionID) map[byte][]byte {
	t.Helper()
	r, err := recorder.OpenRecording(context.Background(), s.archive, id, func(o *sealed.KeyObject) (sealed.Keys, error) {
		return o.Unwrap([]age.Identity{s.view}, []age.Identity{s.raw})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	streams := map[byte][]byte{}
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return streams
		}
		if err != nil {
			t.Fatal(err)
		}
		streams[byte(f.Code)] = append(streams[byte(f.Code)], f.Raw...)
	}
}
