package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/archive"
)

// testClock is a clock that a test moves.
type testClock struct{ at atomic.Int64 }

func (c *testClock) now() time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(c.at.Load()))
}

func (c *testClock) set(at time.Duration) { c.at.Store(int64(at)) }

// counting is an archive that counts which segments are read, and how much.
type counting struct {
	*archive.Dir
	opened map[string]int
	bytes  int64
}

type countingObject struct {
	archive.Object
	c *counting
}

func (c *counting) Open(ctx context.Context, name string) (archive.Object, error) {
	o, err := c.Dir.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(name, ".seg") {
		c.opened[name]++
	}
	return countingObject{o, c}, nil
}

func (o countingObject) ReadAt(p []byte, at int64) (int, error) {
	o.c.bytes += int64(len(p))
	return o.Object.ReadAt(p, at)
}

// TestSeekReadsOneSegment reads a day-long recording of 50 MB at any time: one
// segment is opened, and little of it read.
func TestSeekReadsOneSegment(t *testing.T) {
	var clock testClock
	g := newRecorder(t, Options{Now: clock.now})
	rec := open(t, g, shell())
	k := take(rec, policy.StreamOutput)
	const steps = 24 * 60 / 5 // one burst in five minutes
	rng := rand.New(rand.NewPCG(1, 2))
	var burst []byte
	for i := range steps {
		for burst = burst[:0]; len(burst) < 50_000_000/steps; {
			burst = fmt.Appendf(burst, "\x1b[01;34m%x\x1b[0m  The quick brown fox jumps over the lazy dog.\r\n", rng.Uint64())
		}
		clock.set(time.Duration(i) * 5 * time.Minute)
		check(t, rec.Output(policy.StreamOutput, burst))
		until(t, "the segment to be stored", func() bool { return g.Stats().Unstored == 0 && rec.pipe.waiting() == 0 })
	}
	sum, err := rec.Close(status(0))
	check(t, err)
	k.end(t)
	if sum.OutputBytes < 49_000_000 || sum.Segments < steps/2 || sum.Duration < 23*time.Hour {
		t.Fatalf("recorded %+v", sum)
	}
	for _, at := range []time.Duration{0, time.Second, 12*time.Hour + 34*time.Minute, 23 * time.Hour, sum.Duration, 100 * time.Hour} {
		c := &counting{Dir: g.o.Archive.(*archive.Dir), opened: map[string]int{}}
		r, err := OpenRecording(context.Background(), c, rec.session.ID, viewKey)
		check(t, err)
		c.bytes = 0
		start := time.Now()
		check(t, r.Seek(at))
		f, err := r.Next()
		took := time.Since(start)
		if at > sum.Duration {
			if err != io.EOF {
				t.Errorf("after the end: %+v, %v", f, err)
			}
		} else if err != nil || f.Time < at || f.Time-at > 5*time.Minute {
			t.Errorf("at %v: %v, %v", at, f.Time, err)
		}
		// The next burst may be in the segment after the one that was sought.
		if len(c.opened) > 2 || c.bytes > 4<<20 {
			t.Errorf("at %v: read %d bytes of %v", at, c.bytes, c.opened)
		}
		t.Logf("at %v: %d segments and %d bytes read in %v", at, len(c.opened), c.bytes, took)
		r.Close()
	}
}

// TestSegmentsAreCut holds segments to their size, to a minute of activity and
// to two minutes of waiting; an idle recording has none.
func TestSegmentsAreCut(t *testing.T) {
	var clock testClock
	g := newRecorder(t, Options{Now: clock.now, SegmentBytes: 100_000})
	rec := open(t, g, shell())
	take(rec, policy.StreamOutput)
	for range 10 {
		check(t, rec.Output(policy.StreamOutput, bytes.Repeat([]byte("x"), 30_000)))
	}
	until(t, "segments by size", func() bool { return g.Stats().Segments == 2 })
	for i := range 10 {
		clock.set(time.Duration(i) * 20 * time.Second)
		check(t, rec.Marker("tick"))
	}
	until(t, "segments by time", func() bool { return g.Stats().Segments == 4 })

	g = newRecorder(t, Options{WaitTime: 30 * time.Millisecond})
	rec = open(t, g, shell())
	check(t, rec.Marker("waits"))
	until(t, "a segment of what waits", func() bool { return g.Stats().Segments == 1 })
	time.Sleep(100 * time.Millisecond)
	if n := g.Stats().Segments; n != 1 {
		t.Errorf("an idle recording has %d segments", n)
	}
}

// TestJournalIsReleased holds the journal to a few files while one recording is
// busy, another idle, and a third has waiting bytes.
func TestJournalIsReleased(t *testing.T) {
	jo := noSync
	jo.FileSize, jo.Reserve = 256<<10, 16<<10
	g := newRig(t, Options{SegmentBytes: 100_000}, jo)
	_, err := g.Recover(context.Background())
	check(t, err)
	busy, idle, waiting := open(t, g, shell()), open(t, g, shell()), open(t, g, shell())
	take(busy, policy.StreamOutput)
	check(t, waiting.Marker("waits"))
	for range 200 {
		check(t, busy.Output(policy.StreamOutput, bytes.Repeat([]byte("x"), 30_000)))
		if n := g.Stats().Journal.Files; n > 40 {
			t.Fatalf("the journal has %d files", n)
		}
	}
	g.look()
	until(t, "the journal to be small", func() bool { g.look(); return g.Stats().Journal.Files <= 6 })
	check(t, idle.Marker("late"))
	found := g.recovered(t, Options{})
	if len(found) != 3 {
		t.Fatalf("recovered %d", len(found))
	}
	for rec, want := range map[*Recording]string{idle: "late", waiting: "waits"} {
		if all := g.frames(t, rec.session.ID); len(all) != 1 || all[0].Text != want {
			t.Errorf("recovered %+v, want %q", all, want)
		}
	}
	if raw, _ := joined(g.frames(t, busy.session.ID), 'o'); len(raw) != 6_000_000 {
		t.Errorf("recovered %d bytes", len(raw))
	}
}

// TestRunningRecordingIsRead flushes a running recording and reads it.
func TestRunningRecordingIsRead(t *testing.T) {
	g := newRecorder(t, Options{Keyframe: func(policy.SessionID) []byte { return []byte("screen") }})
	ctx := context.Background()
	rec := open(t, g, shell())
	id := rec.session.ID
	if _, err := OpenRecording(ctx, g.o.Archive, id, bothKeys); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("before a segment: %v", err)
	}
	check(t, g.Flush(ctx, id)) // also without events
	if all, m := g.read(t, id, bothKeys); len(all) != 0 || m.Summary.State != policy.RecordingOpen || m.Session.User.Name != "Ada" {
		t.Errorf("empty: %+v, %+v", all, m)
	}
	for _, text := range []string{"one", "two"} {
		check(t, rec.Output(policy.StreamOutput, []byte(text)))
		check(t, g.Flush(ctx, id))
	}
	check(t, g.Flush(ctx, id))
	all, _ := g.read(t, id, viewKey)
	if raw, _ := joined(all, 'o'); string(raw) != "onetwo" {
		t.Errorf("read %q", raw)
	}
	r, err := OpenRecording(ctx, g.o.Archive, id, viewKey)
	check(t, err)
	defer r.Close()
	if k, err := r.SeekSegment(all[1].Time); err != nil || string(k) != "screen" {
		t.Errorf("keyframe %q, %v", k, err)
	}
	if f, err := r.Next(); err != nil || string(f.Raw) != "two" {
		t.Errorf("after the seek: %+v, %v", f, err)
	}
	check(t, r.Seek(0))
	if f, err := r.Next(); err != nil || string(f.Raw) != "one" {
		t.Errorf("after going back: %+v, %v", f, err)
	}
	g.checkEntries(t, id, 3, false)
	_, err = rec.Close(status(0))
	check(t, err)
	g.checkEntries(t, id, 4, true)
}
