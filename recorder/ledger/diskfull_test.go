//go:build linux

package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/policy"
)

// smallDisk mounts a tmpfs until the test ends.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" && os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip("cannot mount a tmpfs: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A disk fills up: entries are refused, none that was acknowledged is lost, and
// once there is space again the ledger goes on.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "256k")
	w := newWorld(t)
	w.o.Dir = filepath.Join(dir, "ledger")
	l := w.open()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	var acked []string
	var full error
	for i := 0; full == nil && i < 10_000; i++ {
		if full = l.Append(ctx, entry(i)); full == nil {
			acked = append(acked, fmt.Sprint(i))
		}
	}
	if !errors.Is(full, syscall.ENOSPC) || len(acked) < 50 || l.Err() != nil {
		t.Fatalf("%v after %d entries, %v", full, len(acked), l.Err())
	}
	if _, err := l.Checkpoint(ctx); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 20_000, 20_003)
	acked = append(acked, "20000", "20001", "20002")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w.open().Close()
	got := map[string]bool{}
	for e, err := range w.load().Entries(w.o.BodyKey) {
		if err != nil {
			t.Fatal(err)
		}
		got[e.Ref["i"]] = e.User != nil
	}
	for _, a := range acked {
		if !got[a] {
			t.Errorf("entry %s is lost", a)
		}
	}
}

// A file system that turns read-only refuses entries, and takes them again once
// it can be written; no ledger opens on one.
func TestReadOnlyDisk(t *testing.T) {
	dir := smallDisk(t, "1m")
	w := newWorld(t)
	w.o.Dir = filepath.Join(dir, "ledger")
	w.closed(2)
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(w.o); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), w.o.Dir) {
		t.Errorf("%v", err)
	}
	if g := w.load(); g.Size() != 2 { // reading needs no more
		t.Errorf("%d entries", g.Size())
	}
	if _, err := EraseBodies(w.o.Dir, time.Now().AddDate(0, 0, 2)); !errors.Is(err, syscall.EROFS) {
		t.Errorf("%v", err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	l := w.open()
	if err := l.Append(ctx, policy.Entry{Kind: "x"}); err != nil {
		t.Error(err)
	}
}
