package ledger

import (
	"fmt"
	"sync"
	"testing"

	"sallyport/policy"
)

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

func BenchmarkLoad(b *testing.B) {
	w := newWorld(b)
	l := w.open()
	const n = 100_000
	var all []policy.Entry
	for i := range n {
		all = append(all, policy.Entry{Kind: policy.EntryPermit, Ref: map[string]string{"i": fmt.Sprint(i)}})
	}
	if err := l.Append(ctx, all...); err != nil {
		b.Fatal(err)
	}
	l.Close()
	b.ResetTimer()
	for range b.N {
		w.load()
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "entries/s")
}
