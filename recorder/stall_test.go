package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/archive"
)

// shaky is an archive that fails when it is told to.
type shaky struct {
	*archive.Dir
	mu      sync.Mutex
	err     error
	persist bool // what fails is done all the same
	calls   int
}

func (a *shaky) set(err error, persist bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err, a.persist = err, persist
}

func (a *shaky) Create(ctx context.Context, name string, data []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if a.err == nil {
		return a.Dir.Create(ctx, name, data)
	}
	if a.persist {
		a.Dir.Create(ctx, name, data)
	}
	return a.err
}

func (a *shaky) List(ctx context.Context, prefix string) iter.Seq2[archive.Entry, error] {
	return a.Dir.List(ctx, prefix)
}

// TestArchiveFails holds a fault of the archive or the ledger to losing nothing
// and doubling nothing: sessions go on, none begins, and all is made up for.
func TestArchiveFails(t *testing.T) {
	broken := errors.New("read-only file system")
	for _, where := range []string{"archive", "ledger"} {
		for _, persist := range []bool{false, true} {
			if where == "ledger" && persist {
				continue // TestEntryIsMadeOnce
			}
			t.Run(fmt.Sprint(where, persist), func(t *testing.T) {
				a := &shaky{}
				finished := make(chan policy.Recording, 1)
				g := &rig{dir: t.TempDir(), journal: noSync, book: &book{}}
				a.Dir = store(t, g.dir)
				g.start(t, Options{Archive: a, Finished: func(r policy.Recording) { finished <- r }})
				g.patience = 300 * time.Millisecond
				set := func(err error) {
					if where == "archive" {
						a.set(err, persist)
					} else {
						g.book.break_(err, persist)
					}
				}
				rec := open(t, g, shell())
				k := take(rec, policy.StreamOutput)
				set(broken)
				ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
				defer cancel()
				check(t, rec.Output(policy.StreamOutput, []byte("one")))
				if err := g.Flush(ctx, rec.session.ID); !errors.Is(err, broken) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Flush: %v", err)
				}
				if s := g.Stats(); s.Failing != 1 || !errors.Is(s.Err, broken) {
					t.Errorf("stats %+v", s)
				}
				if _, err := g.Open(context.Background(), shell()); !errors.Is(err, broken) {
					t.Errorf("a session began: %v", err)
				}
				check(t, rec.Output(policy.StreamOutput, []byte("two")))
				until(t, "output to go on", func() bool { return string(k.bytes()) == "onetwo" })
				set(nil)
				until(t, "the archive to be well", func() bool { return g.Stats().Failing == 0 })
				again := open(t, g, shell())
				_, err := again.Close(status(0))
				check(t, err)

				set(broken)
				sum, err := rec.Close(status(3))
				if !errors.Is(err, broken) || sum.State != policy.RecordingInterrupted || sum.ID != rec.session.ID {
					t.Errorf("Close: %+v, %v", sum, err)
				}
				set(nil)
				select {
				case m := <-finished:
					if m.Summary.State != policy.RecordingComplete || *m.Summary.End.ExitStatus != 3 || m.Session.ID != sum.ID {
						t.Errorf("finished %+v", m)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("the end was never stored")
				}
				all, m := g.read(t, sum.ID, bothKeys)
				if raw, _ := joined(all, 'o'); string(raw) != "onetwo" || m.Summary.State != policy.RecordingComplete {
					t.Errorf("the record is %s and has %q", m.Summary.State, raw)
				}
				g.checkEntries(t, sum.ID, 2, true)
			})
		}
	}
}

// TestEntryIsMadeOnce holds an entry that was made though the ledger said
// otherwise to being found, and not made again.
func TestEntryIsMadeOnce(t *testing.T) {
	g := newRecorder(t, Options{})
	rec := open(t, g, shell())
	g.book.break_(errors.New("input/output error"), true)
	check(t, rec.Output(policy.StreamOutput, []byte("one")))
	check(t, g.Flush(context.Background(), rec.session.ID))
	check(t, rec.Output(policy.StreamOutput, []byte("two")))
	sum, err := rec.Close(status(0))
	if err != nil || sum.State != policy.RecordingComplete {
		t.Errorf("%+v, %v", sum, err)
	}
	g.checkEntries(t, rec.session.ID, 2, true)
}

// TestArchiveHasAnother holds an object that somebody else put in the place of a
// segment to ending that recording alone, with one reason; the next run seals
// all of it behind what is there.
func TestArchiveHasAnother(t *testing.T) {
	g := newRecorder(t, Options{})
	rec, other := open(t, g, shell()), open(t, g, shell())
	id := rec.session.ID
	check(t, rec.Output(policy.StreamOutput, []byte("shown")))
	check(t, g.o.Archive.Create(context.Background(), archive.SegmentName(string(id), 0), []byte("forged")))
	if err := g.Flush(context.Background(), id); !errors.Is(err, archive.ErrExists) {
		t.Errorf("Flush: %v", err)
	}
	await(t, rec.Failed(), "the failure")
	if _, err := rec.Close(status(0)); !errors.Is(err, archive.ErrExists) {
		t.Errorf("Close: %v", err)
	}
	_, err := other.Close(status(0))
	check(t, err)
	g.stop()
	g.start(t, Options{})
	found, err := g.Recover(context.Background())
	if err != nil || len(found) != 1 || found[0].Summary.Segments != 2 || found[0].Summary.State != policy.RecordingInterrupted {
		t.Fatalf("recovered %+v, %v", found, err)
	}
	r, err := OpenRecording(context.Background(), g.o.Archive, id, bothKeys)
	check(t, err)
	defer r.Close()
	if _, err := r.Next(); err == nil || !strings.Contains(err.Error(), "000000.seg") {
		t.Errorf("the forged segment: %v", err)
	}
}

// TestStalledArchive holds a busy session to bounded memory while the archive
// takes nothing, and to one plain reason when that lasts; one that types goes on.
func TestStalledArchive(t *testing.T) {
	broken := errors.New("read-only file system")
	g := &rig{dir: t.TempDir(), journal: noSync, book: &book{}}
	a := &shaky{Dir: store(t, g.dir)}
	g.start(t, Options{Archive: a, SegmentBytes: 200_000})
	g.stall, g.patience = 500*time.Millisecond, 10*time.Millisecond
	busy, typing := open(t, g, shell()), open(t, g, shell())
	take(busy, policy.StreamOutput)
	a.set(broken, false)
	var sent atomic.Int64
	done := make(chan error, 1)
	go func() {
		for {
			if err := busy.Output(policy.StreamOutput, bytes.Repeat([]byte("text "), 2000)); err != nil {
				done <- err
				return
			}
			sent.Add(10_000)
		}
	}()
	settled := settle(t, &sent)
	if most := int64(200_000*(maxUnstored+2) + mostUnsealed); settled > most {
		t.Errorf("%d bytes were taken, want at most %d", settled, most)
	}
	check(t, typing.Input([]byte("x")))
	select {
	case err := <-done:
		if !errors.Is(err, broken) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), string(busy.session.ID)) {
			t.Errorf("the busy one ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the busy one hangs")
	}
	check(t, typing.Input([]byte("y")))
	busy.Close(policy.End{})
	a.set(nil, false)
	until(t, "both to be stored", func() bool { return g.Stats().Failing == 0 })
	_, err := typing.Close(status(0))
	check(t, err)
	until(t, "the busy one to be sealed", func() bool { return g.Stats().Open == 0 })
	all, m := g.read(t, busy.session.ID, bothKeys)
	if raw, _ := joined(all, 'o'); int64(len(raw)) < sent.Load() || m.Summary.State != policy.RecordingInterrupted {
		t.Errorf("the record is %s and has %d bytes of %d", m.Summary.State, len(raw), sent.Load())
	}
}
