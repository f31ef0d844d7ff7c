package journal

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func open1(t testing.TB, o Options) *Journal {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func replayAll(t testing.TB, j *Journal) (all []string, damaged []Damage) {
	t.Helper()
	damaged, err := j.Replay(func(r Record, at LSN) error {
		all = append(all, fmt.Sprintf("%x/%d/%d/%d/%s", r.Session[:2], r.Seq, r.Time, r.Kind, r.Data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, damaged
}

// told remembers what a Waiter was told.
type told struct {
	mu   sync.Mutex
	upTo LSN
	err  error
	ch   chan struct{}
}

func newTold() *told { return &told{ch: make(chan struct{}, 1)} }

func (w *told) Committed(upTo LSN, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.upTo, w.err = upTo, err
	select {
	case w.ch <- struct{}{}:
	default:
	}
}

func (w *told) wait(t testing.TB, at LSN) error {
	t.Helper()
	for {
		w.mu.Lock()
		upTo, err := w.upTo, w.err
		w.mu.Unlock()
		if upTo >= at || err != nil {
			return err
		}
		select {
		case <-w.ch:
		case <-time.After(20 * time.Second):
			t.Fatal("the waiter was not told")
		}
	}
}

func TestRecordsComeBack(t *testing.T) {
	dir := t.TempDir()
	j := open1(t, Options{Dir: dir, FileSize: 4 << 10})
	w := newTold()
	var want []string
	var last LSN
	for i := range 200 {
		r := Record{Session: ID{byte(i % 3), 7}, Seq: uint64(i), Time: time.Duration(i), Kind: 'o', Data: fmt.Appendf(nil, "data %d", i)}
		want = append(want, fmt.Sprintf("%x/%d/%d/%d/%s", r.Session[:2], r.Seq, r.Time, r.Kind, r.Data))
		at, err := j.Append(r, w)
		if err != nil || at <= last {
			t.Fatalf("record %d at %d after %d: %v", i, at, last, err)
		}
		last = at
	}
	if err := w.wait(t, last); err != nil {
		t.Fatal(err)
	}
	if j.Current() < 3 {
		t.Errorf("200 records are in %d files of 4 KiB", j.Current())
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open1(t, Options{Dir: dir})
	got, damaged := replayAll(t, j)
	if fmt.Sprint(got) != fmt.Sprint(want) || len(damaged) != 0 {
		t.Errorf("%d of %d records came back, damage %v", len(got), len(want), damaged)
	}
	if err := j.Release(j.Current()); err != nil {
		t.Fatal(err)
	}
	j.Close()
	j = open1(t, Options{Dir: dir})
	if got, _ := replayAll(t, j); len(got) != 0 {
		t.Errorf("%d records were not released", len(got))
	}
}

// I1: with a sync that blocks, nobody is told anything.
func TestNobodyIsToldBeforeTheSync(t *testing.T) {
	let := make(chan struct{})
	var once sync.Once
	block := make(chan struct{})
	j := open1(t, Options{Sync: func(f *os.File) error {
		select {
		case <-block:
			<-let
		default:
		}
		return datasync(f)
	}})
	t.Cleanup(func() { once.Do(func() { close(let) }) })
	close(block)
	w := newTold()
	at, err := j.Append(Record{Data: []byte("x")}, w)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Write(Record{Data: []byte("y")}); err != nil {
		t.Fatal(err) // written, though not durable
	}
	select {
	case <-w.ch:
		t.Fatal("the waiter was told before the sync returned")
	case <-time.After(200 * time.Millisecond):
	}
	if j.Durable() >= at {
		t.Error("the record counts as durable")
	}
	once.Do(func() { close(let) })
	if err := w.wait(t, at); err != nil {
		t.Error(err)
	}
}

func TestAFullDiskLeavesRoomForClosing(t *testing.T) {
	full := false
	j := open1(t, Options{FileSize: 4 << 10, Reserve: 1 << 10, Allocate: func(f *os.File, n int64) error {
		if full {
			return syscall.ENOSPC
		}
		return allocate(f, n)
	}})
	full = true
	var err error
	var last LSN
	n := 0
	for ; err == nil; n++ {
		var at LSN
		if at, err = j.Append(Record{Data: make([]byte, 100)}, nil); err == nil {
			last = at
		}
	}
	if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) || n < 15 {
		t.Fatalf("after %d records: %v", n, err)
	}
	w := newTold()
	at, err := j.AppendClosing(Record{Data: []byte("the end")}, w)
	if err != nil || at <= last {
		t.Fatalf("closing: %v", err)
	}
	if err := w.wait(t, at); err != nil {
		t.Fatal(err)
	}
	if err := j.Err(); err != nil {
		t.Fatal(err)
	}
	full = false
	time.Sleep(retryTime)
	if _, err := j.Append(Record{Data: make([]byte, 100)}, nil); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

func TestAFailedSyncIsFinal(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		dir := t.TempDir()
		broken := false
		j := open1(t, Options{Dir: dir, Sync: func(f *os.File) error {
			if broken {
				if persisted {
					datasync(f)
				}
				return syscall.EIO
			}
			return datasync(f)
		}})
		broken = true
		w := newTold()
		at, err := j.Append(Record{Data: []byte("x")}, w)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.wait(t, at); !errors.Is(err, syscall.EIO) {
			t.Errorf("told %v", err)
		}
		<-j.Failed()
		if _, err := j.Append(Record{}, nil); !errors.Is(err, syscall.EIO) {
			t.Errorf("appended: %v", err)
		}
		if err := j.Sync(at); !errors.Is(err, syscall.EIO) {
			t.Errorf("synced: %v", err)
		}
	}
}

func TestWrongKeyAndSecondProcess(t *testing.T) {
	dir := t.TempDir()
	j := open1(t, Options{Dir: dir, Key: [32]byte{1}})
	if _, err := Open(Options{Dir: dir, Key: [32]byte{1}}); err == nil {
		t.Error("a second journal opened")
	}
	if _, err := j.Write(Record{Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if _, err := Open(Options{Dir: dir, Key: [32]byte{2}}); !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), j.path(1)) {
		t.Errorf("another key: %v", err)
	}
	// And the right one still opens all that is there.
	j = open1(t, Options{Dir: dir, Key: [32]byte{1}})
	n := 0
	if _, err := j.Replay(func(Record, LSN) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d records, %v", n, err)
	}
}

func TestConcurrentWritersShareCommits(t *testing.T) {
	j := open1(t, Options{FileSize: 1 << 20})
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			w := newTold()
			for i := range 50 {
				at, err := j.Append(Record{Session: ID{byte(g)}, Seq: uint64(i), Data: make([]byte, 1+i*7)}, w)
				if err == nil {
					err = w.wait(t, at)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if s := j.Stats(); s.Records != 1600 || s.Commits >= 1600 {
		t.Errorf("%+v", s)
	}
}
