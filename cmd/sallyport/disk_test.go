package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/archive"
)

const mib = 1 << 20

// fakeDisk has the free space that a test says.
func fakeDisk(free *atomic.Int64) *diskWatch {
	return &diskWatch{dirs: map[string]string{"journal": "/j", "archive": "/a"}, refuse: Space{bytes: 20 * mib, given: true}, end: Space{bytes: 10 * mib, given: true},
		free: func(dir string) (int64, int64, error) {
			if free.Load() < 0 {
				return 0, 0, errors.New("no such device")
			}
			if dir == "/a" {
				return free.Load(), 100 * mib, nil
			}
			return 90 * mib, 100 * mib, nil
		}}
}

func TestDiskLimits(t *testing.T) {
	var free atomic.Int64
	d := fakeDisk(&free)
	for _, tc := range []struct {
		free  int64
		level diskLevel
		says  string
	}{
		{50 * mib, diskFine, ""}, {20 * mib, diskFine, ""}, {20*mib - 1, diskRefuse, "/a has 20.0 MiB free of 100 MiB; sessions are refused below 20 MiB"},
		{10 * mib, diskRefuse, "/a has 10 MiB free"}, {10*mib - 1, diskEnd, "ended below 10 MiB"}, {0, diskEnd, "/a has 0 B free"}, {-1, diskRefuse, "cannot tell"},
	} {
		free.Store(tc.free)
		err := d.check()
		if got := d.worst().level(); got != tc.level || (err == nil) != (tc.level == diskFine) || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%d bytes free: level %d, want %d; %v", tc.free, got, tc.level, err)
		}
	}
}

// Running sessions end below the second limit only, with a cause that the user
// reads, and each change is logged once.
func TestDiskWatchEndsSessions(t *testing.T) {
	var free atomic.Int64
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	d := fakeDisk(&free)
	var live liveSessions
	ctx, over := live.begin(context.Background(), policy.NewSessionID(time.Now()))
	defer over()
	for _, f := range []int64{50, 15, 15, 50, 5, 5} {
		if ctx.Err() != nil {
			t.Fatalf("ended before %d MiB", f)
		}
		free.Store(f * mib)
		if d.step(logger, live.endAll); f == 5 {
			break
		}
	}
	if !errors.Is(context.Cause(ctx), errDiskEnd) {
		t.Errorf("cause: %v", context.Cause(ctx))
	}
	over()
	d.step(logger, live.endAll)
	if live.count() != 0 || strings.Count(log.String(), "\n") != 3 {
		t.Errorf("%d live; log:\n%s", live.count(), log.String())
	}
	// One that slipped in between is ended by the next look.
	late, over := live.begin(context.Background(), policy.NewSessionID(time.Now()))
	defer over()
	if d.step(logger, live.endAll); late.Err() == nil {
		t.Error("a late session goes on")
	}
}

// TestDiskOnARealOne fills a small filesystem.
func TestDiskOnARealOne(t *testing.T) {
	disk := smallDisk(t, "16m")
	d := &diskWatch{dirs: map[string]string{"journal": disk}, free: archive.Free,
		refuse: Space{bytes: 8 * mib, given: true}, end: Space{percent: 25, given: true}}
	if err := d.check(); err != nil {
		t.Fatalf("an empty disk: %v", err)
	}
	for _, step := range []struct {
		fill  int
		level diskLevel
	}{{6 * mib, diskFine}, {4 * mib, diskRefuse}, {3 * mib, diskEnd}} {
		f, err := os.CreateTemp(disk, "fill")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, step.fill)); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if got := d.worst(); got.level() != step.level {
			t.Errorf("%s: level %d, want %d", got, got.level(), step.level)
		}
	}
	if err := os.RemoveAll(disk); err == nil {
		t.Error("a mount point was removed")
	}
	files, _ := filepath.Glob(filepath.Join(disk, "*"))
	if len(files) > 0 || d.check() != nil {
		t.Errorf("empty again: %v %v", files, d.check())
	}
	d.dirs["journal"] = filepath.Join(disk, "gone")
	if err := d.check(); !errors.Is(err, errDiskBlind) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// smallDisk mounts a tmpfs of the given size until the test ends.
func smallDisk(t testing.TB, size string) string {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
		skip = t.Fatalf
	}
	if os.Getuid() != 0 {
		skip("mounting a small disk takes root")
	}
	disk := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", disk).CombinedOutput(); err != nil {
		skip("no mount: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", disk).Run() })
	return disk
}
