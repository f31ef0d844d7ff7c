package journal

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of the given size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatalf("a small file system cannot be mounted: %v", err)
		}
		t.Skipf("a small file system cannot be mounted without root: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// A real disk fills up: records are refused with ErrFull, closing records still
// fit, nothing that was acknowledged is lost, and with space again all goes on.
func TestDiskThatFillsUp(t *testing.T) {
	dir := filepath.Join(smallDisk(t, "700k"), "journal")
	o := Options{Dir: dir, FileSize: 256 << 10, Reserve: 16 << 10}
	j := open1(t, o)
	w := newTold()
	want := map[uint64]LSN{}
	var seq uint64
	fill := func() {
		for {
			at, err := j.Append(Record{Seq: seq, Data: make([]byte, 1000)}, w)
			if errors.Is(err, ErrFull) && errors.Is(err, syscall.ENOSPC) {
				return
			}
			if err == nil {
				err = w.wait(t, at)
			}
			if err != nil {
				t.Fatal(err)
			}
			want[seq] = at
			if seq++; seq > 2000 {
				t.Fatal("the disk does not fill up")
			}
		}
	}
	fill()
	if seq < 400 || !j.Stats().Full {
		t.Errorf("full after %d records: %+v", seq, j.Stats())
	}
	if _, err := j.Write(Record{Data: make([]byte, 1000)}); !errors.Is(err, ErrFull) {
		t.Errorf("written: %v", err)
	}
	for range 10 {
		at, err := j.AppendClosing(Record{Seq: seq, Data: make([]byte, 1000)}, w)
		if err == nil {
			err = w.wait(t, at)
		}
		if err != nil {
			t.Fatalf("closing: %v", err)
		}
		want[seq] = at
		seq++
	}
	if err := j.Err(); err != nil {
		t.Fatalf("a full disk broke the journal: %v", err)
	}
	// A second start on the full disk has no space either, and changes nothing.
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	holds(t, copied, want, 0)
	if err := j.Release(2); err != nil {
		t.Fatal(err)
	}
	time.Sleep(retryTime)
	before := seq
	fill()
	if seq == before {
		t.Error("with space again, nothing fits")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, ErrFull) {
		t.Errorf("opened on a full disk: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, fileName(2))); err != nil { // as an administrator might
		t.Fatal(err)
	}
	holds(t, dir, want, 3)
}

// Space is really taken when a file is made.
func TestFilesAreAllocated(t *testing.T) {
	j := open1(t, Options{FileSize: 1 << 20})
	var st unix.Stat_t
	if err := unix.Stat(j.path(1), &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 1<<20 || st.Blocks*512 < 1<<20 {
		t.Errorf("a file of %d bytes has %d on the disk", st.Size, st.Blocks*512)
	}
	// Where the file system cannot, zeros are written.
	f, err := os.Create(filepath.Join(t.TempDir(), "filled"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := fill(f, 3<<20+5); err != nil {
		t.Fatal(err)
	}
	if at, err := f.Seek(0, 1); err != nil || at != 0 {
		t.Errorf("the offset is %d, %v", at, err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 3<<20+5 {
		t.Errorf("%v %v", info, err)
	}
}
