package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"sallyport/policy"
)

var ctx = context.Background()

func open(t testing.TB, path string) *Ledger {
	t.Helper()
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// entries reads a ledger; what is no entry comes as an error.
func entries(data []byte) (all []policy.Entry, errs []error) {
	for e, err := range Read(bytes.NewReader(data)) {
		if err != nil {
			errs = append(errs, err)
		} else {
			all = append(all, e)
		}
	}
	return all, errs
}

func kinds(all []policy.Entry) string {
	var s []string
	for _, e := range all {
		s = append(s, string(e.Kind))
	}
	return strings.Join(s, " ")
}

func TestAppendAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "ledger.jsonl")
	l := open(t, path)
	want := policy.Entry{
		Time: time.Date(2024, 2, 29, 12, 0, 0, 5, time.UTC), Kind: policy.EntryPermit,
		User: &policy.User{Issuer: "https://idp", Subject: "1", Name: "a\nb\u2028</script>\x1b[2J"}, Session: "s", Target: "db1",
		Login: "root", Source: "192.0.2.1:1", Detail: map[string]string{"k": "v\r\n"},
	}
	check(t, l.Append(ctx, want))
	before := time.Now()
	check(t, l.Append(ctx, policy.Entry{Kind: policy.EntryDeny}))
	check(t, l.Close())
	check(t, l.Close())
	if err := l.Append(ctx, want); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	l = open(t, path)
	check(t, l.Append(ctx, want))

	data, err := os.ReadFile(path)
	check(t, err)
	all, errs := entries(data)
	if len(errs) > 0 || len(all) != 3 || !reflect.DeepEqual(all[0], want) || !reflect.DeepEqual(all[2], want) {
		t.Errorf("%+v, %v", all, errs)
	}
	if d := all[1].Time.Sub(before); d < -time.Second || d > time.Minute {
		t.Errorf("the entry without a time was given %v", all[1].Time)
	}
	if n := bytes.Count(data, []byte("\n")); n != 3 {
		t.Errorf("%d lines", n)
	}
	info, err := os.Stat(path)
	check(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

// TestCutAnywhere cuts a ledger at every byte: it opens, nothing that was whole
// is lost, what was cut off is named, and entries can be added.
func TestCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "whole")
	l := open(t, path)
	for _, k := range []policy.EntryKind{"one", "two", "three"} {
		check(t, l.Append(ctx, policy.Entry{Kind: k, Detail: map[string]string{"x": "ünï"}}))
	}
	data, err := os.ReadFile(path)
	check(t, err)
	for cut := range len(data) + 1 {
		whole := bytes.Count(data[:cut], []byte("\n"))
		rest := data[bytes.LastIndexByte(data[:cut], '\n')+1 : cut]
		if cut < len(data) && data[cut] == '\n' {
			whole, rest = whole+1, nil // only the end of the line is missing
		}
		before, errs := entries(data[:cut])
		if len(before) != whole || len(errs) > 1 || len(errs) == 1 != (len(rest) > 0) || len(errs) == 1 && !errors.Is(errs[0], ErrTorn) {
			t.Fatalf("cut at %d: read %q, %v", cut, kinds(before), errs)
		}
		path := filepath.Join(dir, "cut")
		check(t, os.WriteFile(path, data[:cut], 0o600))
		l := open(t, path)
		l.sync = func(*os.File) error { return nil }
		check(t, l.Append(ctx, policy.Entry{Kind: "after"}))
		check(t, l.Append(ctx, policy.Entry{Kind: "more"}))
		check(t, l.Close())
		got, err := os.ReadFile(path)
		check(t, err)
		want := kinds(before)
		if len(rest) > 0 {
			want += " " + string(EntryTorn)
		}
		want = strings.TrimSpace(want + " after more")
		after, errs := entries(got)
		if kinds(after) != want || len(errs) > 1 || len(errs) == 1 && !errors.Is(errs[0], ErrTorn) || !bytes.HasPrefix(got, data[:cut]) {
			t.Fatalf("cut at %d: then %q, %v, want %q", cut, kinds(after), errs, want)
		}
	}
}

func TestDurableOnReturn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := open(t, path)
	var synced atomic.Int64
	l.sync = func(f *os.File) error {
		info, err := f.Stat()
		synced.Store(info.Size())
		return err
	}
	for range 5 {
		check(t, l.Append(ctx, policy.Entry{Kind: "x"}))
		info, err := os.Stat(path)
		check(t, err)
		if synced.Load() != info.Size() {
			t.Fatalf("%d of %d bytes are durable", synced.Load(), info.Size())
		}
	}
}

// TestGroupCommit holds entries that come during a sync to going together.
func TestGroupCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := open(t, path)
	var syncs atomic.Int64
	started, release := make(chan struct{}, 1), make(chan struct{})
	l.sync = func(*os.File) error {
		if syncs.Add(1) == 1 {
			started <- struct{}{}
			<-release
		}
		return nil
	}
	var all sync.WaitGroup
	add := func() {
		all.Go(func() {
			if err := l.Append(ctx, policy.Entry{Kind: "x"}); err != nil {
				t.Error(err)
			}
		})
	}
	add()
	<-started
	for range 100 {
		add()
	}
	for pending := 0; pending < 100; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		if l.next != nil {
			pending = bytes.Count(l.next.lines, []byte("\n"))
		}
		l.mu.Unlock()
	}
	close(release)
	all.Wait()
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d syncs for 1 and 100 entries", n)
	}
	data, err := os.ReadFile(path)
	check(t, err)
	if got, errs := entries(data); len(got) != 101 || len(errs) > 0 {
		t.Errorf("%d entries, %v", len(got), errs)
	}
}

func TestContext(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "ledger"))
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l.sync = func(*os.File) error { once.Do(func() { close(started) }); <-release; return nil }
	done := make(chan error)
	go func() { done <- l.Append(ctx, policy.Entry{Kind: "x"}) }()
	<-started
	gone := errors.New("the client went away")
	c, cancel := context.WithCancelCause(ctx)
	time.AfterFunc(20*time.Millisecond, func() { cancel(gone) })
	if err := l.Append(c, policy.Entry{Kind: "y"}); !errors.Is(err, gone) {
		t.Errorf("cancelled while waiting: %v", err)
	}
	if err := l.Append(c, policy.Entry{Kind: "z"}); !errors.Is(err, gone) {
		t.Errorf("cancelled before: %v", err)
	}
	close(release)
	check(t, <-done)
	check(t, l.Close()) // writes what was given up, too
	data, err := os.ReadFile(l.path)
	check(t, err)
	if got, _ := entries(data); kinds(got) != "x y" {
		t.Errorf("%q", kinds(got))
	}
}

// TestFaults injects each storage fault twice: not persisted, and persisted
// though it said that it failed.
func TestFaults(t *testing.T) {
	for _, persisted := range []int{0, 7, 1 << 20} {
		t.Run(fmt.Sprintf("full disk, %d bytes", persisted), func(t *testing.T) {
			l := open(t, filepath.Join(t.TempDir(), "ledger"))
			check(t, l.Append(ctx, policy.Entry{Kind: "one"}))
			l.write = func(f *os.File, p []byte) (int, error) {
				n, err := f.Write(p[:min(len(p), persisted)])
				return n, errors.Join(err, syscall.ENOSPC)
			}
			for range 2 {
				if err := l.Append(ctx, policy.Entry{Kind: "lost"}); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("error %v", err)
				}
			}
			l.write = (*os.File).Write
			check(t, l.Append(ctx, policy.Entry{Kind: "two"}))
			data, err := os.ReadFile(l.path)
			check(t, err)
			if got, errs := entries(data); kinds(got) != "one two" || len(errs) > 0 {
				t.Errorf("entries %q, %v", kinds(got), errs)
			}
		})
	}
	for _, persist := range []bool{false, true} {
		t.Run(fmt.Sprintf("sync fails, persisted %v", persist), func(t *testing.T) {
			l := open(t, filepath.Join(t.TempDir(), "ledger"))
			check(t, l.Append(ctx, policy.Entry{Kind: "one"}))
			l.sync = func(f *os.File) error {
				if persist {
					f.Sync()
				}
				return syscall.EIO
			}
			if err := l.Append(ctx, policy.Entry{Kind: "two"}); !errors.Is(err, syscall.EIO) {
				t.Errorf("error %v", err)
			}
			l.sync = (*os.File).Sync
			if err := l.Append(ctx, policy.Entry{Kind: "three"}); !errors.Is(err, syscall.EIO) {
				t.Errorf("after the failure: %v", err)
			}
		})
	}
}

func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	var all sync.WaitGroup
	for range 2 {
		l := open(t, path)
		l.sync = func(*os.File) error { return nil }
		for range 4 {
			all.Go(func() {
				for range 50 {
					if err := l.Append(ctx, policy.Entry{Kind: "x", Target: strings.Repeat("t", 5000)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	data, err := os.ReadFile(path)
	check(t, err)
	if got, errs := entries(data); len(got) != 400 || len(errs) > 0 {
		t.Errorf("%d entries, %v", len(got), errs)
	}
}

func TestReadHostile(t *testing.T) {
	whole := `{"time":"2024-02-29T12:00:00Z","kind":"x"}` + "\n"
	for _, tt := range []struct {
		in, kinds string
		errs      int
	}{
		{"", "", 0},
		{"\n", "", 1},
		{whole + "nonsense\n" + whole, "x x", 1},
		{whole + "[]\n{}\n" + whole, "x x", 2},
		{strings.Repeat("x", 3*MaxEntry) + "\n" + whole, "x", 1},
		{whole + "{\"time\":1}\n", "x", 1},
		{whole + "\x00\x00\x00", "x", 1},
	} {
		got, errs := entries([]byte(tt.in))
		if kinds(got) != tt.kinds || len(errs) != tt.errs {
			t.Errorf("%.60q: %q, %v", tt.in, kinds(got), errs)
		}
		for e, err := range Read(strings.NewReader(tt.in)) { // can be left
			_, _ = e, err
			break
		}
	}
	broken := errors.New("the disk is gone")
	var last error
	for _, err := range Read(io.MultiReader(strings.NewReader(whole), iotest.ErrReader(broken))) {
		last = err
	}
	if !errors.Is(last, broken) {
		t.Errorf("%v", last)
	}
}

func TestTooLong(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "ledger"))
	if err := l.Append(ctx, policy.Entry{Kind: "x", Target: strings.Repeat("x", MaxEntry)}); err == nil {
		t.Error("no error")
	}
	check(t, l.Append(ctx, policy.Entry{Kind: "x"}))
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			l := open(b, filepath.Join(b.TempDir(), "ledger"))
			e := policy.Entry{Kind: policy.EntryPermit, Target: "db1", Login: "root", Source: "192.0.2.1:50000"}
			b.SetParallelism(max(writers/2, 1))
			if writers == 1 {
				for b.Loop() {
					check(b, l.Append(ctx, e))
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Append(ctx, e); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
