package recorder

import (
	"bytes"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/policy"
)

// TestBackpressure is THREATS T14: a disk or a client that is too slow stops
// the target, and memory stays bounded.
func TestBackpressure(t *testing.T) {
	const most = 256 << 10
	for _, name := range []string{"slow disk", "slow client"} {
		t.Run(name, func(t *testing.T) {
			d := newDisk()
			if name == "slow client" {
				d.gate = nil
			}
			rec := slowed(t, Options{MaxPending: most}, d)
			var sent atomic.Int64
			done := make(chan error, 1)
			piece := bytes.Repeat([]byte{0}, 10_000)
			before := heap()
			go func() {
				for {
					if err := rec.Output(policy.StreamOutput, piece); err != nil {
						done <- err
						return
					}
					sent.Add(int64(len(piece)))
				}
			}()
			settled := settle(t, &sent)
			if settled < most/2 || settled > most+maxPiece {
				t.Errorf("%d bytes were taken, want at most %d", settled, most)
			}
			if grown := heap() - before; grown > 8*most {
				t.Errorf("the heap grew by %d bytes", grown)
			}
			d.open()
			for got := 0; got < 100_000; {
				p, err := rec.Next(policy.StreamOutput)
				check(t, err)
				got += len(p)
			}
			until(t, "output to go on", func() bool { return sent.Load() > settled })
			settle(t, &sent)
			_, err := rec.Close(policy.End{})
			check(t, err)
			if err := <-done; !errors.Is(err, ErrClosed) {
				t.Errorf("blocked output ended with %v", err)
			}
		})
	}
}

// settle waits until a count stands still.
func settle(t *testing.T, n *atomic.Int64) int64 {
	t.Helper()
	last, since := n.Load(), time.Now()
	for end := time.Now().Add(10 * time.Second); time.Since(since) < 150*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
		if time.Now().After(end) {
			t.Fatal("nothing holds output back")
		}
	}
	return last
}

// heap returns the memory in use, without what pools still keep.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestIdleRecordingIsSmall holds an idle recording to a few kilobytes, also
// after it was busy.
func TestIdleRecordingIsSmall(t *testing.T) {
	const n = 400
	r := newRecorder(t, Options{WaitTime: 50 * time.Millisecond})
	busy := string(bytes.Repeat([]byte("busy "), 30_000))
	var all []*Recording
	settled := func(n int64) {
		until(t, "all segments", func() bool { s := r.Stats(); return s.Segments >= n && s.Unstored == 0 && r.active.Load() == 0 })
		time.Sleep(100 * time.Millisecond) // the last cut of each
	}
	before := int64(0)
	for i := range n + 20 {
		if i == 20 {
			settled(20)
			before = heap() // with what all share, such as encoders
		}
		rec := open(t, r, shell())
		k := take(rec, policy.StreamOutput)
		size := 0
		for _, p := range []string{"$ ", busy, "$ "} {
			check(t, rec.Output(policy.StreamOutput, []byte(p)))
			size += len(p)
		}
		until(t, "the output", func() bool { k.mu.Lock(); defer k.mu.Unlock(); return len(k.got) == size })
		k.mu.Lock()
		k.got = nil
		k.mu.Unlock()
		all = append(all, rec)
	}
	settled(n + 20)
	each := (heap() - before) / n
	t.Logf("%d bytes for an idle recording", each)
	if each > 16<<10 {
		t.Errorf("an idle recording holds %d bytes", each)
	}
	runtime.KeepAlive(all)
}
