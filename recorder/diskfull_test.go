//go:build linux

package recorder

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/policy"
)

// smallDisk mounts a file system of the given size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skipf("a small file system cannot be mounted without root: %v", err)
	}
	check(t, err)
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	check(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func TestDiskFullWhenOpening(t *testing.T) {
	dir := smallDisk(t, "256k")
	fill(t, dir)
	r := newRecorder(t, Options{Dir: dir})
	_, err := r.Open(context.Background(), shell())
	if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error %v", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("%v, %v: want the filler alone", names, err)
	}
	check(t, os.Remove(filepath.Join(dir, "filler")))
	rec := open(t, r, shell()) // nothing has to be restarted
	_, err = rec.Close(status(0))
	check(t, err)
}

// TestDiskFull fills the disk during a session: it fails with one reason, what
// was given out is in the record, and the manifest fits where space was set
// aside for it.
func TestDiskFull(t *testing.T) {
	r := newRecorder(t, Options{Dir: smallDisk(t, "512k")})
	rec := open(t, r, shell())
	k := take(rec, policy.StreamOutput)
	var err error
	sent := 0
	for err == nil && sent < 4<<20 {
		p := bytes.Repeat([]byte("0123456789"), 300)
		err = rec.Output(policy.StreamOutput, p)
		sent += len(p)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("after %d bytes: %v", sent, err)
	}
	await(t, rec.Failed(), "the failure")
	checkReason(t, rec, syscall.ENOSPC, rec.Err())
	checkReason(t, rec, syscall.ENOSPC, rec.Input([]byte("x")))
	given, err := k.end(t)
	checkReason(t, rec, syscall.ENOSPC, err)

	sum, err := rec.Close(policy.End{})
	checkReason(t, rec, syscall.ENOSPC, err)
	m, err := ReadManifest(r.o.Dir, rec.session.ID)
	check(t, err)
	if m.Summary.State != policy.RecordingInterrupted || m.Summary.OutputBytes != sum.OutputBytes ||
		!strings.Contains(m.Summary.End.Reason, "no space left") {
		t.Errorf("manifest %+v, summary %+v", m.Summary, sum)
	}
	data, err := os.ReadFile(Path(r.o.Dir, string(rec.session.ID)))
	check(t, err)
	all, _ := readFrames(data)
	raw, _ := joined(all, 'o')
	if len(given) == 0 || !bytes.HasPrefix(raw, given) || int64(len(raw)) != sum.OutputBytes {
		t.Errorf("%d bytes were given out, %d are in the record, %d counted", len(given), len(raw), sum.OutputBytes)
	}
}
