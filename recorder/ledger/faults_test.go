package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
)

func TestDurableOnReturn(t *testing.T) {
	w := newWorld(t)
	unsynced := false
	var mu sync.Mutex
	l := w.open(func(o *Options) {
		o.Write = func(f *os.File, p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			unsynced = unsynced || filepath.Base(f.Name()) == entriesName
			return f.Write(p)
		}
		o.Sync = func(f *os.File) error {
			mu.Lock()
			defer mu.Unlock()
			if filepath.Base(f.Name()) == entriesName {
				unsynced = false
			}
			return f.Sync()
		}
	})
	for i := range 5 {
		fill(t, l, i, i+1)
		mu.Lock()
		if unsynced {
			t.Error("an entry was acknowledged before its fsync")
		}
		mu.Unlock()
	}
}

// Each fault is injected twice: not persisted, and persisted although it said
// that it failed.
func TestFaults(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		for at := range 8 {
			w := newWorld(t)
			n, on := 0, false
			var mu sync.Mutex
			fault := func(do func() error) error {
				mu.Lock()
				defer mu.Unlock()
				if on {
					if n++; n == at+1 {
						if persisted {
							_ = do()
						}
						return syscall.EIO
					}
				}
				return do()
			}
			l := w.open(func(o *Options) {
				o.Write = func(f *os.File, p []byte) (w int, err error) {
					err = fault(func() error { w, err = f.Write(p); return err })
					return w, err
				}
				o.Sync = func(f *os.File) error { return fault(f.Sync) }
				o.Rename = func(a, b string) error { return fault(func() error { return os.Rename(a, b) }) }
			})
			fill(t, l, 0, 2)
			mu.Lock()
			on = true
			mu.Unlock()
			acked := []string{"0", "1"}
			for i := 2; i < 5; i++ {
				if l.Append(ctx, entry(i)) == nil {
					acked = append(acked, fmt.Sprint(i))
				}
				_, _ = l.Checkpoint(ctx)
			}
			l.Close()
			l = w.open()
			l.Close()
			got := refs(t, w.load())
			for _, a := range acked {
				if !slices.Contains(got, a) {
					t.Errorf("fault %d, persisted %v: entry %s was acknowledged and is lost: %v", at, persisted, a, got)
				}
			}
		}
	}
}
