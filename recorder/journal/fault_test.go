package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// disk is a disk under a journal that counts what is asked of it, fails at one
// moment, and remembers what a power cut would leave: of each file what it held
// at its last fsync, and the names at the directory's last one.
type disk struct {
	dir string

	mu       sync.Mutex
	at       map[string]int // the operation of a kind that fails, from 1
	count    map[string]int
	persist  bool  // it does its work nevertheless
	err      error // what it says
	hit      bool
	contents map[uint64][]byte // durable, by number
	names    map[uint64]bool   // durable
}

func newDisk(dir string) *disk {
	return &disk{dir: dir, at: map[string]int{}, count: map[string]int{}, err: syscall.EIO, contents: map[uint64][]byte{}, names: map[uint64]bool{}}
}

func (d *disk) options() Options {
	return Options{Dir: d.dir, FileSize: 2 << 10, Reserve: 256,
		Write: func(f *os.File, p []byte) (int, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !d.fails("write") {
				return f.Write(p)
			}
			if d.persist {
				f.Write(p)
				return 0, d.err
			}
			n, _ := f.Write(p[:len(p)/2]) // torn
			return n, d.err
		},
		Sync: func(f *os.File) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			fails := d.fails("sync")
			if !fails || d.persist {
				d.sync(f)
			}
			if fails {
				return d.err
			}
			return nil
		},
		Allocate: func(f *os.File, n int64) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			fails := d.fails("allocate")
			if !fails || d.persist {
				if err := allocate(f, n); err != nil {
					return err
				}
			}
			if fails {
				return d.err
			}
			return nil
		}}
}

func (d *disk) fails(kind string) bool {
	d.count[kind]++
	fails := d.count[kind] == d.at[kind]
	d.hit = d.hit || fails
	return fails
}

func (d *disk) sync(f *os.File) {
	if f.Name() != d.dir {
		var number uint64
		if _, err := fmt.Sscanf(filepath.Base(f.Name()), "%016x.wal", &number); err == nil {
			d.contents[number], _ = os.ReadFile(f.Name())
		}
		return
	}
	all, _ := numbers(d.dir)
	clear(d.names)
	for _, f := range all {
		d.names[f.number] = true
	}
}

// survives makes a directory of what a power cut leaves.
func (d *disk) survives(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for number := range d.names {
		put(t, dir, number, d.contents[number])
	}
	return dir
}

// acknowledged is what a run of work was told.
type acknowledged struct {
	durable, written map[uint64]LSN // by sequence
	released         uint64
	err              error
}

// work writes records in all ways until something fails.
func work(t *testing.T, d *disk) (a acknowledged) {
	t.Helper()
	a.durable, a.written = map[uint64]LSN{}, map[uint64]LSN{}
	j, err := Open(d.options())
	if err != nil {
		a.err = err
		return a
	}
	defer func() {
		err := j.Close()
		if a.err != nil && !errors.Is(a.err, ErrFull) && !errors.Is(err, d.err) {
			t.Errorf("closed with %v after %v", err, a.err)
		}
	}()
	w := newTold()
	var seq uint64
	for i := 0; i < 60 && a.err == nil; i++ {
		r := Record{Seq: seq, Data: fmt.Appendf(nil, "record %d, %0*d", seq, i, 0)}
		var at LSN
		switch i % 5 {
		case 0, 1:
			if at, a.err = j.Append(r, w); a.err == nil {
				a.err = w.wait(t, at)
			}
		case 2:
			if at, a.err = j.AppendClosing(r, nil); a.err == nil {
				a.err = j.Sync(at)
			}
		default:
			if at, a.err = j.Write(r); a.err == nil {
				a.written[seq] = at
			}
			if seq++; i%10 == 9 && a.err == nil {
				a.released = j.Current() - 1
				a.err = j.Release(a.released)
			}
			continue
		}
		if a.err == nil {
			for s, at := range a.written { // one fsync covers all before
				a.durable[s] = at
			}
			a.durable[seq], a.written[seq] = at, at
		}
		seq++
	}
	if a.err == nil || errors.Is(a.err, ErrFull) {
		return a
	}
	// The journal has failed, or only a release has.
	if j.Err() == nil {
		if a.released == 0 {
			t.Errorf("%v, but the journal goes on", a.err)
		}
		a.err = nil
		return a
	}
	<-j.Failed()
	_, first := j.Append(Record{}, nil)
	_, second := j.Write(Record{})
	_, third := j.AppendClosing(Record{}, w)
	for _, err := range []error{first, second, third, j.Sync(1 << 63), j.Err()} {
		if !errors.Is(err, d.err) {
			t.Errorf("after the failure: %v", err)
		}
	}
	return a
}

// holds looks whether a directory replays what was acknowledged, in order and
// without damage.
func holds(t *testing.T, dir string, want map[uint64]LSN, released uint64) {
	t.Helper()
	j, err := Open(Options{Dir: dir, FileSize: 2 << 10, Reserve: 256})
	if err != nil {
		t.Error(err)
		return
	}
	defer j.Close()
	got := map[uint64]bool{}
	last := -1
	damaged, err := j.Replay(func(r Record, _ LSN) error {
		if int(r.Seq) <= last {
			t.Errorf("record %d after %d", r.Seq, last)
		}
		last = int(r.Seq)
		got[r.Seq] = true
		return nil
	})
	if err != nil || len(damaged) > 0 {
		t.Errorf("replay: %v %v", damaged, err)
	}
	for seq, at := range want {
		if !got[seq] && at.File() >= released {
			t.Errorf("record %d at %x was acknowledged, and is gone", seq, uint64(at))
		}
	}
}

// Every write, fsync and allocation fails once, having done its work or not.
// Whatever the journal has acknowledged by then is there: what was durable after
// a power cut, what was written after a crash of the process.
func TestFaultAtEveryOperation(t *testing.T) {
	for _, kind := range []string{"write", "sync", "allocate"} {
		for _, persist := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/persisted=%v", kind, persist), func(t *testing.T) {
				for n := 1; ; n++ {
					d := newDisk(filepath.Join(t.TempDir(), "journal"))
					d.at[kind], d.persist = n, persist
					a := work(t, d)
					holds(t, d.survives(t), a.durable, a.released)
					holds(t, d.dir, a.written, a.released)
					if !d.hit {
						if a.err != nil || n < 5 {
							t.Errorf("%d operations, then %v", n-1, a.err)
						}
						return
					}
					if t.Failed() {
						t.Fatalf("at operation %d", n)
					}
				}
			})
		}
	}
}

// The disk is full at every allocation once: that breaks nothing.
func TestFullAtEveryAllocation(t *testing.T) {
	for n := 1; ; n++ {
		d := newDisk(filepath.Join(t.TempDir(), "journal"))
		d.at["allocate"], d.err = n, syscall.ENOSPC
		a := work(t, d)
		if a.err != nil && (!errors.Is(a.err, ErrFull) || !errors.Is(a.err, syscall.ENOSPC)) {
			t.Errorf("at allocation %d: %v", n, a.err)
		}
		holds(t, d.survives(t), a.durable, a.released)
		if !d.hit {
			if a.err != nil || n < 4 {
				t.Errorf("%d allocations, then %v", n-1, a.err)
			}
			return
		}
	}
}
