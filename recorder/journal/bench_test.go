package journal

import (
	"fmt"
	"sync"
	"testing"
)

// BenchmarkDurable is how many records a second are durable, each writer waiting
// for its own, and what that costs: nosync leaves the fsync out.
func BenchmarkDurable(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		for _, noSync := range []bool{false, true} {
			b.Run(fmt.Sprintf("writers=%d/nosync=%v", writers, noSync), func(b *testing.B) {
				j := open1(b, Options{NoSync: noSync})
				data := make([]byte, 64)
				b.ReportAllocs()
				b.ResetTimer()
				share(b, writers, func(g, i int, w *benchWaiter) error {
					at, err := j.Append(Record{Session: ID{byte(g)}, Seq: uint64(i), Data: data}, w)
					if err != nil {
						return err
					}
					if i%4096 == 0 {
						_ = j.Release(j.Current())
					}
					return w.wait(at)
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
				b.ReportMetric(float64(b.N)/float64(max(1, j.Stats().Commits)), "records/commit")
			})
		}
	}
}

// BenchmarkBulk is how fast output is written, in records of 32 KiB, by writers
// with up to eight on their way to the disk each.
func BenchmarkBulk(b *testing.B) {
	const size, ahead = 32 << 10, 8
	for _, writers := range []int{1, 16} {
		for _, noSync := range []bool{false, true} {
			b.Run(fmt.Sprintf("writers=%d/nosync=%v", writers, noSync), func(b *testing.B) {
				j := open1(b, Options{NoSync: noSync})
				data := make([]byte, size)
				sent := make([][ahead]LSN, writers)
				b.SetBytes(size)
				b.ReportAllocs()
				b.ResetTimer()
				share(b, writers, func(g, i int, w *benchWaiter) error {
					slot := &sent[g][i/writers%ahead]
					if *slot != 0 {
						if err := w.wait(*slot); err != nil {
							return err
						}
					}
					at, err := j.Append(Record{Session: ID{byte(g)}, Seq: uint64(i), Data: data}, w)
					*slot = at
					if i%4096 == 0 {
						_ = j.Release(j.Current())
					}
					return err
				})
			})
		}
	}
}

// BenchmarkWrite is what input costs, which waits for write(2) only.
func BenchmarkWrite(b *testing.B) {
	j := open1(b, Options{})
	data := make([]byte, 8)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := j.Write(Record{Seq: uint64(i), Data: data}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplay is how fast a journal is read at the start.
func BenchmarkReplay(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	j := open1(b, o)
	const records, size = 20_000, 1 << 10
	for i := range records {
		if _, err := j.Append(Record{Seq: uint64(i), Data: make([]byte, size)}, nil); err != nil {
			b.Fatal(err)
		}
	}
	j.Close()
	j = open1(b, o)
	b.SetBytes(records * size)
	for b.Loop() {
		n := 0
		if damaged, err := j.Replay(func(Record, LSN) error { n++; return nil }); err != nil || len(damaged) > 0 || n != records {
			b.Fatalf("%d records, %v %v", n, damaged, err)
		}
	}
}

// share has b.N rounds done by some writers.
func share(b *testing.B, writers int, f func(g, i int, w *benchWaiter) error) {
	b.Helper()
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			w := newBenchWaiter()
			for i := g; i < b.N; i += writers {
				if err := f(g, i, w); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// benchWaiter waits without memory of the heap.
type benchWaiter struct {
	mu   sync.Mutex
	cond sync.Cond
	upTo LSN
	err  error
}

func newBenchWaiter() *benchWaiter {
	w := &benchWaiter{}
	w.cond.L = &w.mu
	return w
}

func (w *benchWaiter) Committed(upTo LSN, err error) {
	w.mu.Lock()
	w.upTo, w.err = upTo, err
	w.mu.Unlock()
	w.cond.Signal()
}

func (w *benchWaiter) wait(at LSN) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.upTo < at && w.err == nil {
		w.cond.Wait()
	}
	return w.err
}
