package recorder

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/journal"
	"sallyport/recorder/sealed"
)

// The identities that open what tests record.
var viewIdentity, rawIdentity = identity(), identity()

func identity() *age.X25519Identity {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		panic(err)
	}
	return id
}

// bothKeys and viewKey open a recording wholly, and as a watcher.
func bothKeys(o *sealed.KeyObject) (sealed.Keys, error) {
	return o.Unwrap([]age.Identity{viewIdentity}, []age.Identity{rawIdentity})
}

func viewKey(o *sealed.KeyObject) (sealed.Keys, error) {
	return o.Unwrap([]age.Identity{viewIdentity}, nil)
}

// book is a ledger that keeps its entries in memory.
type book struct {
	mu      sync.Mutex
	entries []policy.Entry
	fail    error
	persist bool // an entry that fails is made all the same
}

func (b *book) entry(_ context.Context, e ...policy.Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == nil || b.persist {
		b.entries = append(b.entries, e...)
	}
	return b.fail
}

func (b *book) break_(err error, persist bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail, b.persist = err, persist
}

func (b *book) entered(_ context.Context, ids []policy.SessionID) (map[policy.SessionID]Entered, error) {
	out := map[policy.SessionID]Entered{}
	for _, id := range ids {
		var e Entered
		for _, kind := range b.kinds(id) {
			switch kind {
			case "start":
				e.Start = true
			case "end":
				e.End = true
			default:
				e.Segments++
			}
		}
		out[id] = e
	}
	return out, nil
}

// kinds returns what the ledger holds of a recording, in short: "start", the
// numbers of segments, "end".
func (b *book) kinds(id policy.SessionID) (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.entries {
		if e.Session != id {
			continue
		}
		switch e.Kind {
		case policy.EntryRecordingStart:
			out = append(out, "start")
		case policy.EntryRecordingSegment:
			out = append(out, e.Ref["segment"])
		case policy.EntryRecordingEnd:
			out = append(out, "end")
		}
	}
	return out
}

// rig is a recorder with all that it writes to.
type rig struct {
	*Recorder
	dir     string
	journal journal.Options
	j       *journal.Journal
	book    *book
}

// store makes an archive in a directory.
func store(t testing.TB, dir string) *archive.Dir {
	t.Helper()
	a, err := archive.OpenDir(filepath.Join(dir, "archive"), archive.DirOptions{})
	check(t, err)
	return a
}

// newRig returns a recorder in a directory of its own, or in dir.
func newRig(t testing.TB, o Options, jo journal.Options) *rig {
	t.Helper()
	g := &rig{dir: t.TempDir(), journal: jo, book: &book{}}
	g.start(t, o)
	return g
}

// start starts a recorder on what is in the rig's directory, as after a crash.
func (g *rig) start(t testing.TB, o Options) {
	t.Helper()
	jo := g.journal
	if jo.Dir == "" {
		jo.Dir = filepath.Join(g.dir, "journal")
	}
	if jo.FileSize == 0 {
		jo.FileSize, jo.Reserve = 4<<20, 64<<10
	}
	jo.Key = [32]byte{1, 2, 3}
	j, err := journal.Open(jo)
	check(t, err)
	if o.Archive == nil {
		o.Archive = store(t, g.dir)
	}
	o.Journal, o.Entry, o.Entered = j, g.book.entry, g.book.entered
	o.ViewRecipients, o.RawRecipients = []age.Recipient{viewIdentity.Recipient()}, []age.Recipient{rawIdentity.Recipient()}
	r, err := New(o)
	check(t, err)
	g.Recorder, g.j = r, j
	t.Cleanup(func() { g.stop() })
}

// stop ends the recorder as a crash would, but for what is in the page cache.
func (g *rig) stop() {
	g.Recorder.Close()
	g.j.Close()
}

// noSync makes a journal that is not durable.
var noSync = journal.Options{Sync: func(*os.File) error { return nil }}

// newRecorder returns a recorder whose journal is not durable.
func newRecorder(t testing.TB, o Options) *rig {
	t.Helper()
	return newRig(t, o, noSync)
}

// frames returns all events of a recording in the archive.
func (g *rig) frames(t testing.TB, id policy.SessionID) []Frame {
	t.Helper()
	all, _ := g.read(t, id, bothKeys)
	return all
}

func (g *rig) read(t testing.TB, id policy.SessionID, keys func(*sealed.KeyObject) (sealed.Keys, error)) ([]Frame, policy.Recording) {
	t.Helper()
	r, err := OpenRecording(context.Background(), g.o.Archive, id, keys)
	check(t, err)
	defer r.Close()
	all, err := readAll(r)
	check(t, err)
	return all, r.Recording()
}

// checkEntries holds the ledger to one start, each of n segments in order, and
// an end where there is one, each once.
func (g *rig) checkEntries(t testing.TB, id policy.SessionID, segments int, end bool) {
	t.Helper()
	want := []string{"start"}
	for n := range segments {
		want = append(want, strconv.Itoa(n))
	}
	if end {
		want = append(want, "end")
	}
	if got := g.book.kinds(id); !equal(got, want) {
		t.Errorf("the ledger holds %q of session %s, want %q", got, id, want)
	}
}
