package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// soon waits for what must come.
func soon(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// What nobody waits for is durable all the same, and never blocks for ever.
func TestWithoutAWaiter(t *testing.T) {
	j := open1(t, Options{FileSize: 1 << 20, MaxPending: 4 << 10})
	at, err := j.Append(Record{Data: []byte("x")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "the commit of a record without a waiter", func() bool { return j.Durable() >= at })
	if at, err = j.Write(Record{Data: []byte("y")}); err != nil {
		t.Fatal(err)
	}
	soon(t, "the commit of what was written", func() bool { return j.Durable() >= at })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 { // sixteen times what may be pending
			if _, err := j.Append(Record{Data: make([]byte, 64)}, nil); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("Append blocks for ever")
	}
}

// Backpressure: with a write that blocks, no more than MaxPending bytes and a
// record wait in memory, and Append goes on once it can.
func TestPendingBytesAreBounded(t *testing.T) {
	const pending = 8 << 10
	var stuck atomic.Bool
	let := make(chan struct{})
	j := open1(t, Options{FileSize: 1 << 20, MaxPending: pending, Write: func(f *os.File, p []byte) (int, error) {
		if stuck.Load() {
			<-let
		}
		return f.Write(p)
	}})
	stuck.Store(true)
	var appended atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if _, err := j.Append(Record{Data: make([]byte, 100)}, newTold()); err != nil {
					t.Error(err)
					return
				}
				appended.Add(int64(recordSize(100)))
			}
		})
	}
	soon(t, "backpressure", func() bool { return appended.Load() > pending })
	time.Sleep(50 * time.Millisecond)
	j.mu.Lock()
	waits := len(j.batch)
	j.mu.Unlock()
	// One batch is being written, the next one waits.
	if n := appended.Load(); waits > pending+recordSize(100) || n > 2*(pending+4*int64(recordSize(100))) {
		t.Errorf("%d bytes wait, %d were taken", waits, n)
	}
	stuck.Store(false)
	close(let)
	wg.Wait()
	if n := appended.Load(); n != 800*int64(recordSize(100)) {
		t.Errorf("%d bytes were appended", n)
	}
}

func TestTooLarge(t *testing.T) {
	j := open1(t, Options{FileSize: 4 << 10, Reserve: 1 << 10})
	for _, n := range []int{3 << 10, MaxData, MaxData + 1} {
		if _, err := j.Append(Record{Data: make([]byte, n)}, nil); err == nil {
			t.Errorf("%d bytes went into a file of 4 KiB", n)
		}
		if _, err := j.AppendClosing(Record{Data: make([]byte, n)}, nil); err == nil {
			t.Errorf("%d bytes went into a file of 4 KiB at the end", n)
		}
	}
	at, err := j.Append(Record{Data: make([]byte, 3<<10-headerSize-linkSize-recordSize(0))}, nil)
	if err != nil || j.Sync(at) != nil || j.Current() != 1 {
		t.Errorf("the largest: %v", err)
	}
	big := open1(t, Options{FileSize: 4 << 20})
	at, err = big.Append(Record{Data: make([]byte, MaxData)}, nil)
	if err != nil || big.Sync(at) != nil {
		t.Errorf("the largest of all: %v", err)
	}
	if _, err := big.Append(Record{Data: make([]byte, MaxData+1)}, nil); err == nil {
		t.Error("a record larger than any was taken")
	}
}

// A waiter is told once a batch, also while records are appended, and never
// before its last record is durable for good.
func TestOneWaiterOfManyRecords(t *testing.T) {
	let := make(chan struct{})
	var hold atomic.Bool
	j := open1(t, Options{FileSize: 1 << 20, Sync: func(f *os.File) error {
		if hold.Load() {
			<-let
		}
		return nil
	}})
	hold.Store(true)
	w := &counter{}
	at, err := j.Append(Record{}, w)
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "the write", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.written >= at })
	for range 500 {
		if at, err = j.Append(Record{}, w); err != nil {
			t.Fatal(err)
		}
	}
	if w.calls.Load() != 0 {
		t.Error("told before the sync")
	}
	hold.Store(false)
	close(let)
	soon(t, "the commit", func() bool { return LSN(w.upTo.Load()) >= at })
	if n := w.calls.Load(); n > 5 {
		t.Errorf("told %d times of 501 records in two batches", n)
	}
}

type counter struct {
	calls atomic.Int64
	upTo  atomic.Uint64
}

func (c *counter) Committed(upTo LSN, err error) {
	c.calls.Add(1)
	if err == nil {
		c.upTo.Store(uint64(upTo))
	}
}

// The files of a run follow each other without a gap while many write, and none
// is made twice.
// Release removes the oldest first, one by one, so that a crash leaves no gap;
// what is written stays.
// What was made ahead and never used is removed: at the end, and at the start
// after a crash, when a full disk may have no other space.
// The name of a new directory is durable too.
func TestClosed(t *testing.T) {
	j := open1(t, Options{FileSize: 1 << 20})
	w := newTold()
	at, err := j.Append(Record{Data: []byte("x")}, w)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.wait(t, at); err != nil {
		t.Errorf("what was appended before: %v", err)
	}
	if err := j.Sync(at); err != nil {
		t.Errorf("sync of it: %v", err)
	}
	_, a := j.Append(Record{}, nil)
	_, c := j.AppendClosing(Record{}, nil)
	_, b := j.Write(Record{})
	for _, err := range []error{a, b, c, j.Sync(at + 1)} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
	if err := j.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if _, err := os.Stat(filepath.Join(j.o.Dir, fileName(2))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a second file: %v", err)
	}
}

// The hot path takes no memory of the heap.
func TestAppendAllocatesNothing(t *testing.T) {
	j := open1(t, Options{FileSize: 64 << 20, NoSync: true})
	w := &counter{}
	data := make([]byte, 4<<10)
	var at LSN
	add := func() {
		var err error
		if at, err = j.Append(Record{Data: data}, w); err == nil {
			err = j.Sync(at)
		}
		if err == nil {
			at, err = j.Write(Record{Data: data})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		add()
	}
	if n := testing.AllocsPerRun(1000, add); n >= 1 {
		t.Errorf("%v allocations for two records", n)
	}
}

// A record that comes while a batch is written, and that nobody waits for, is
// durable in time too.
func TestRecordDuringAWrite(t *testing.T) {
	var j *Journal
	var on atomic.Bool
	var during atomic.Uint64
	j = open1(t, Options{FileSize: 1 << 20, Write: func(f *os.File, p []byte) (int, error) {
		if on.CompareAndSwap(true, false) {
			at, err := j.Append(Record{Data: []byte("meanwhile")}, nil)
			if err != nil {
				t.Error(err)
			}
			during.Store(uint64(at))
		}
		return f.Write(p)
	}})
	on.Store(true)
	w := newTold()
	at, err := j.Append(Record{Data: []byte("x")}, w)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.wait(t, at); err != nil {
		t.Fatal(err)
	}
	soon(t, "the commit of the other record", func() bool { return during.Load() != 0 && j.Durable() >= LSN(during.Load()) })
}

// A file is not closed while the committer makes it durable, also when others
// have filled it meanwhile.
