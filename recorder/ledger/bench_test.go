package ledger

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
)

// BenchmarkAppend measures durable entries a second.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			l := newWorld(b).open()
			b.ResetTimer()
			var wg sync.WaitGroup
			for g := range callers {
				wg.Go(func() {
					for i := g; i < b.N; i += callers {
						if err := l.Append(ctx, entry(i)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// BenchmarkStart measures what computing the whole tree anew costs a start.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		w := bigDir(b, n)
		w.open().Close() // which makes the hashes
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				l, err := Open(w.o)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				l.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
		})
	}
}

// BenchmarkLoad measures loading, and what a loaded ledger holds in memory.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		w := bigDir(b, n)
		size := int64(len(w.read(entriesName)))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for range b.N {
				w.load()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
			b.StopTimer()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			g := w.load()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc)-float64(before.HeapAlloc), "held-B")
			runtime.KeepAlive(g)
		})
	}
}

// BenchmarkProve measures the proof of one leaf of many.
func BenchmarkProve(b *testing.B) {
	const n = 1_000_000
	w := bigDir(b, n)
	g := w.load()
	for i := 0; b.Loop(); i++ {
		if _, err := g.Prove(int64(i) * 7919 % n); err != nil {
			b.Fatal(err)
		}
	}
}
