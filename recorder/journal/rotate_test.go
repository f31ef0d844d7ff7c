package journal

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRotationUnderLoad(t *testing.T) {
	dir := t.TempDir()
	j := open1(t, Options{Dir: dir, FileSize: 8 << 10, Reserve: 1 << 10})
	const writers, each = 8, 150
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			w := newTold()
			for i := range each {
				r := Record{Session: ID{byte(g)}, Seq: uint64(i), Data: make([]byte, (i*37)%400)}
				var at LSN
				var err error
				switch i % 3 {
				case 0:
					_, err = j.Write(r)
				case 1:
					if at, err = j.Append(r, w); err == nil {
						err = w.wait(t, at)
					}
				default:
					if at, err = j.AppendClosing(r, nil); err == nil && i%2 == 0 {
						err = j.Sync(at)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := j.Current(); n < 20 {
		t.Errorf("only %d files", n)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open1(t, Options{Dir: dir, FileSize: 8 << 10})
	next := map[ID]uint64{}
	damaged, err := j.Replay(func(r Record, _ LSN) error {
		if r.Seq != next[r.Session] {
			t.Fatalf("%v: record %d in place of %d", r.Session, r.Seq, next[r.Session])
		}
		next[r.Session]++
		return nil
	})
	if err != nil || len(damaged) > 0 || len(next) != writers {
		t.Fatalf("%v %v", damaged, err)
	}
	for s, n := range next {
		if n != each {
			t.Errorf("%v has %d records", s, n)
		}
	}
}

func TestRelease(t *testing.T) {
	dir := written(t, 100)
	var steps []string
	j := open1(t, Options{Dir: dir, FileSize: 2 << 10, Sync: func(f *os.File) error {
		if f.Name() == dir {
			all, _ := numbers(dir)
			steps = append(steps, fileName(all[0].number))
		}
		return nil
	}})
	all, _ := numbers(dir)
	steps = nil
	if err := j.Release(4); err != nil {
		t.Fatal(err)
	}
	if want := []string{fileName(2), fileName(3), fileName(4)}; !slices.Equal(steps, want) {
		t.Errorf("the directory was made durable at %v, want %v", steps, want)
	}
	if got, damaged := sequences(t, j); len(got) == 0 || got[0] == 0 || len(damaged) > 0 {
		t.Errorf("after it: %v %v", got, damaged)
	}
	if err := j.Release(1 << 40); err != nil {
		t.Fatal(err)
	}
	left, _ := numbers(dir)
	if len(left) != 1 || left[0].number != j.Current() || j.Current() != all[len(all)-1].number {
		t.Errorf("%v are left, %d is written", left, j.Current())
	}
	if s := j.Stats(); s.Files != 1 || s.Bytes != 2<<10 {
		t.Errorf("%+v", s)
	}
}

func TestUnusedFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	j := open1(t, Options{Dir: dir, FileSize: 2 << 10})
	for range 20 {
		if _, err := j.Write(Record{Data: make([]byte, 10)}); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, "the next file", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.next != nil })
	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if all, _ := numbers(dir); len(all) != 1 {
		t.Errorf("after the end: %v", all)
	}
	if all, _ := numbers(crashed); len(all) != 2 {
		t.Fatalf("after the crash: %v", all)
	}
	j = open1(t, Options{Dir: crashed, FileSize: 2 << 10, Allocate: func(f *os.File, n int64) error {
		if _, err := os.Stat(filepath.Join(crashed, fileName(2))); err != nil || filepath.Base(f.Name()) != fileName(2) {
			return errors.New("the unused file takes space")
		}
		return nil
	}})
	if got, damaged := sequences(t, j); len(got) != 20 || len(damaged) > 0 {
		t.Errorf("%d records, %v", len(got), damaged)
	}
}

func TestNewDirectoriesAreDurable(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a", "b")
	var synced []string
	j, err := Open(Options{Dir: dir, FileSize: 2 << 10, Sync: func(f *os.File) error {
		synced = append(synced, f.Name())
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	want := []string{top, filepath.Join(top, "a"), filepath.Join(dir, fileName(1)), dir}
	if !slices.Equal(synced, want) {
		t.Errorf("synced %v, want %v", synced, want)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
}

func TestRotationDuringAnFsync(t *testing.T) {
	var on atomic.Bool
	entered, let := make(chan struct{}), make(chan struct{})
	j := open1(t, Options{FileSize: 4 << 10, Sync: func(f *os.File) error {
		if on.CompareAndSwap(true, false) {
			close(entered)
			<-let
		}
		_, err := f.Stat() // of an open file
		return err
	}})
	on.Store(true)
	w := newTold()
	at, err := j.Append(Record{Data: []byte("x")}, w)
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	filled := make(chan error)
	go func() {
		for j.Current() == 1 {
			if _, err := j.Append(Record{Data: make([]byte, 200)}, nil); err != nil {
				filled <- err
				return
			}
		}
		filled <- nil
	}()
	soon(t, "the next file", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.next != nil })
	time.Sleep(20 * time.Millisecond)
	// Nobody else hangs with the disk: what health checks ask has an answer.
	if j.Err() != nil || j.Durable() >= at || j.Current() != 1 {
		t.Errorf("while the disk hangs: %v, durable %x, file %d", j.Err(), uint64(j.Durable()), j.Current())
	}
	close(let)
	if err := <-filled; err != nil {
		t.Error(err)
	}
	if err := w.wait(t, at); err != nil {
		t.Error(err)
	}
}
