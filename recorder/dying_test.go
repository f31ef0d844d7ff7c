package recorder

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/archive"
)

// dying is an archive and a ledger that stop working at one moment for good, as
// seen from outside of a process that is killed.
type dying struct {
	*archive.Dir
	book    *book
	mu      sync.Mutex
	left    int  // calls that still succeed
	persist bool // the last call does its work and is not told of it
}

var errDead = errors.New("killed")

func (d *dying) call(f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left--
	switch {
	case d.left >= 0:
		return f()
	case d.left == -1 && d.persist:
		f()
	}
	return errDead
}

func (d *dying) Create(ctx context.Context, name string, data []byte) error {
	return d.call(func() error { return d.Dir.Create(ctx, name, data) })
}

func (d *dying) List(ctx context.Context, prefix string) iter.Seq2[archive.Entry, error] {
	return d.Dir.List(ctx, prefix)
}

// TestCrashAtEveryStep kills the node at every step of storing and of Close:
// what the next run makes of it is whole, and nothing is entered twice.
func TestCrashAtEveryStep(t *testing.T) {
	for _, persist := range []bool{false, true} {
		for left := 0; ; left++ {
			g := &rig{dir: t.TempDir(), journal: noSync, book: &book{}}
			d := &dying{Dir: store(t, g.dir), book: g.book, left: 1000, persist: persist}
			g.start(t, Options{Archive: d})
			entry := g.Recorder.o.Entry
			g.Recorder.o.Entry = func(ctx context.Context, e ...policy.Entry) error {
				return d.call(func() error { return entry(ctx, e...) })
			}
			g.patience = time.Millisecond
			rec := open(t, g, shell())
			d.mu.Lock()
			d.left = left
			d.mu.Unlock()
			check(t, rec.Output(policy.StreamOutput, []byte("one")))
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			g.Flush(ctx, rec.session.ID)
			cancel()
			check(t, rec.Output(policy.StreamOutput, []byte("two")))
			_, err := rec.Close(status(5))
			steps := d.left

			found := g.recovered(t, Options{})
			m := found
			if err == nil && len(found) != 0 || err != nil && len(found) != 1 {
				t.Fatalf("dead after %d: Close said %v, recovered %+v", left, err, m)
			}
			all, stored := g.read(t, rec.session.ID, bothKeys)
			raw, _ := joined(all, 'o')
			if string(raw) != "onetwo" || stored.Summary.State != policy.RecordingComplete || *stored.Summary.End.ExitStatus != 5 {
				t.Fatalf("dead after %d: the record is %+v and has %q", left, stored.Summary, raw)
			}
			checkCounts(t, all, stored.Summary, stored)
			g.checkEntries(t, rec.session.ID, stored.Summary.Segments, true)
			if again := g.recovered(t, Options{}); len(again) != 0 {
				t.Errorf("dead after %d: recovered twice: %+v", left, again)
			}
			if steps >= 0 {
				break // it lived
			}
		}
	}
}
