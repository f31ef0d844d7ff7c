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
	"time"

	"golang.org/x/sys/unix"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/journal"
	"sallyport/recorder/sealed"
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
	dir := smallDisk(t, "3m")
	g := newRig(t, Options{}, journal.Options{Dir: filepath.Join(dir, "journal"), FileSize: 1 << 20, Reserve: 64 << 10})
	fill(t, dir)
	// The journal has a file; when it is full, nobody begins.
	var rec *Recording
	var err error
	for err == nil {
		if rec, err = g.Open(context.Background(), shell()); err == nil {
			_, err = rec.Close(status(0))
			check(t, err)
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error %v", err)
	}
	check(t, os.Remove(filepath.Join(dir, "filler")))
	time.Sleep(1100 * time.Millisecond) // the journal tries again after a second
	rec = open(t, g, shell())           // nothing has to be restarted
	_, err = rec.Close(status(0))
	check(t, err)
}

// TestDiskFull fills the journal's disk during a session: it fails with one
// reason, what was given out is in the record, and the end fits where space was
// set aside for it. An idle session goes on until it needs something.
func TestDiskFull(t *testing.T) {
	g := newRig(t, Options{}, journal.Options{Dir: filepath.Join(smallDisk(t, "2560k"), "journal"), FileSize: 1 << 20, Reserve: 64 << 10})
	rec, idle := open(t, g, shell()), open(t, g, shell())
	k := take(rec, policy.StreamOutput)
	var err error
	sent := 0
	for err == nil && sent < 8<<20 {
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
	if err := idle.Err(); err != nil {
		t.Errorf("the idle one: %v", err)
	}

	sum, err := rec.Close(policy.End{})
	checkReason(t, rec, syscall.ENOSPC, err)
	all, m := g.read(t, rec.session.ID, bothKeys)
	if m.Summary.State != policy.RecordingInterrupted || m.Summary.OutputBytes != sum.OutputBytes ||
		!strings.Contains(m.Summary.End.Reason, "no space left") {
		t.Errorf("manifest %+v, summary %+v", m.Summary, sum)
	}
	raw, _ := joined(all, 'o')
	if len(given) == 0 || !bytes.HasPrefix(raw, given) || int64(len(raw)) != sum.OutputBytes {
		t.Errorf("%d bytes were given out, %d are in the record, %d counted", len(given), len(raw), sum.OutputBytes)
	}
	if sum, err := idle.Close(status(0)); err != nil || sum.State != policy.RecordingComplete {
		t.Errorf("the idle one ended as %+v, %v", sum, err)
	}
	// Both ends are in the journal, in the space set aside for them.
	g.stop()
	ends := map[policy.SessionID]bool{}
	j, err := journal.Open(journal.Options{Dir: copied(t, g.journal.Dir), Key: [32]byte{1, 2, 3}, FileSize: 1 << 20, Reserve: 64 << 10})
	check(t, err)
	defer j.Close()
	_, err = j.Replay(func(r journal.Record, _ journal.LSN) error {
		if r.Kind == kindEnd {
			ends[policy.SessionID(sealed.ID(r.Session).String())] = true
		}
		return nil
	})
	check(t, err)
	if !ends[rec.session.ID] || !ends[idle.session.ID] {
		t.Errorf("the journal has the ends of %v", ends)
	}
}

// copied returns a copy of a directory.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	check(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// TestArchiveDiskFull fills the archive's disk: sessions go on, all is stored
// once there is space.
func TestArchiveDiskFull(t *testing.T) {
	dir := smallDisk(t, "1m")
	a, err := archive.OpenDir(filepath.Join(dir, "archive"), archive.DirOptions{})
	check(t, err)
	g := newRig(t, Options{Archive: a}, noSync)
	rec := open(t, g, shell())
	k := take(rec, policy.StreamOutput)
	fill(t, dir)
	check(t, rec.Output(policy.StreamOutput, bytes.Repeat([]byte("shown "), 10_000)))
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := g.Flush(ctx, rec.session.ID); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Flush: %v", err)
	}
	check(t, rec.Output(policy.StreamOutput, []byte("more")))
	check(t, os.Remove(filepath.Join(dir, "filler")))
	sum, err := rec.Close(status(0))
	if err != nil || sum.State != policy.RecordingComplete || sum.OutputBytes != 60_004 {
		t.Errorf("%+v, %v", sum, err)
	}
	got, _ := k.end(t)
	if raw, _ := joined(g.frames(t, rec.session.ID), 'o'); !bytes.Equal(raw, got) || len(got) != 60_004 {
		t.Errorf("%d bytes were given out, %d are in the record", len(got), len(raw))
	}
}
