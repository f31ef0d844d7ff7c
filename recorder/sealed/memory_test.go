package sealed

import (
	"bytes"
	"reflect"
	"runtime"
	"sync"
	"testing"

	"sallyport/recorder/castgen"
)

// heap returns the bytes in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestManyWriters: an open segment costs little more than what it holds; the
// encoder is shared, and its memory does not grow with the sessions.
func TestManyWriters(t *testing.T) {
	const n = 2000
	k := NewKeys()
	first := NewWriter(testID, 0, [32]byte{}, k)
	first.Block(story())
	before := heap()
	writers := make([]*Writer, n)
	held := 0
	for i := range writers {
		writers[i] = NewWriter(testID, uint32(i), [32]byte{}, k)
		if err := writers[i].Block(story()); err != nil {
			t.Fatal(err)
		}
		held += writers[i].Size()
	}
	each := (heap() - before) / n
	t.Logf("%d bytes a writer that holds %d", each, held/n)
	if each > 8<<10 {
		t.Errorf("an open segment of %d bytes takes %d", held/n, each)
	}
	runtime.KeepAlive(writers)
}

// TestSealMemory: sealing a long session takes the memory of one segment.
func TestSealMemory(t *testing.T) {
	k := NewKeys()
	events, _ := record(castgen.Log(3, 2<<20))
	segments := cut(events)
	sealAll(t, k, segments, nil)
	before := heap()
	for range 4 {
		sealAll(t, k, segments, nil)
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("%d KiB more are in use after 8 MiB", grown>>10)
	}
}

// TestConcurrent: many segments are sealed and read at once, and one by many.
func TestConcurrent(t *testing.T) {
	k := NewKeys()
	events, _ := record(castgen.Mix(2, 300_000))
	object, _ := sealEvents(t, k, events[:len(events)/2], events[len(events)/2:])
	shared := openBytes(t, object)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			w := NewWriter(testID, 1, [32]byte{}, k)
			if err := w.Block(events); err != nil {
				t.Error(err)
				return
			}
			own, _, err := w.Finish(0, 1)
			if err != nil {
				t.Error(err)
				return
			}
			s, err := Open(bytes.NewReader(own), int64(len(own)))
			if err != nil {
				t.Error(err)
				return
			}
			if got := readAll(t, s, k); !reflect.DeepEqual(got, events) {
				t.Error("other events came back")
			}
			if got := readAll(t, shared, k); !reflect.DeepEqual(got, events) {
				t.Error("other events came back from the shared segment")
			}
		})
	}
	wg.Wait()
}
