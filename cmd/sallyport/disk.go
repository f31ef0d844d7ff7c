package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// diskInterval is how often the disks are looked at.
const diskInterval = time.Second

// diskLevel says what the free space allows.
type diskLevel int

const (
	diskFine   diskLevel = iota
	diskRefuse           // no session begins
	diskEnd              // and running ones end
)

var (
	errDiskRefuse = errors.New("the bastion has almost no disk space left")
	errDiskEnd    = errors.New("the bastion has almost no disk space left, so this session was ended")
	errDiskBlind  = errors.New("the bastion cannot tell how much disk space is left")
)

// diskWatch keeps an eye on the free space of the folders that the record is
// written to. All methods may be called concurrently.
type diskWatch struct {
	dirs        map[string]string // what it is for → folder
	refuse, end Space
	free        func(dir string) (free, total int64, err error)

	level atomic.Int32 // a diskLevel, as last seen by watch
}

// diskState is one filesystem as it is now, in bytes.
type diskState struct {
	what, dir   string
	free, total int64
	refuse, end int64 // the limits on a disk of this size
	err         error
}

// level is what this filesystem allows. Where nobody can tell how full it is,
// nothing new begins (invariant I4).
func (s diskState) level() diskLevel {
	switch {
	case s.err != nil:
		return diskRefuse
	case s.free < s.end:
		return diskEnd
	case s.free < s.refuse:
		return diskRefuse
	}
	return diskFine
}

func (s diskState) String() string {
	if s.err != nil {
		return fmt.Sprintf("%s: %v", s.dir, s.err)
	}
	return fmt.Sprintf("%s has %s free of %s; sessions are refused below %s and ended below %s",
		s.dir, sizeText(s.free), sizeText(s.total), sizeText(s.refuse), sizeText(s.end))
}

// look measures every folder now, in the order of their names.
func (d *diskWatch) look() []diskState {
	var out []diskState
	for _, what := range sortedKeys(d.dirs) {
		s := diskState{what: what, dir: d.dirs[what]}
		s.free, s.total, s.err = d.free(s.dir)
		s.refuse, s.end = d.refuse.limit(s.total), d.end.limit(s.total)
		s.refuse = max(s.refuse, s.end)
		out = append(out, s)
	}
	return out
}

// worst returns the filesystem that allows least.
func (d *diskWatch) worst() diskState {
	var worst diskState
	for _, s := range d.look() {
		if worst.dir == "" || s.level() > worst.level() {
			worst = s
		}
	}
	return worst
}

// check says why no session can begin now, nil if one can.
func (d *diskWatch) check() error {
	switch s := d.worst(); {
	case s.err != nil:
		return fmt.Errorf("%w: %w", errDiskBlind, s.err)
	case s.level() != diskFine:
		return fmt.Errorf("%w: %s", errDiskRefuse, s)
	}
	return nil
}

// watch looks every interval until ctx ends. Whenever there is too little space
// to go on it calls end, which ends what runs, and it logs each change.
func (d *diskWatch) watch(ctx context.Context, interval time.Duration, log *slog.Logger, end func(cause error) int) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		d.step(log, end)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (d *diskWatch) step(log *slog.Logger, end func(cause error) int) {
	s := d.worst()
	now := s.level()
	ended := 0
	if now == diskEnd {
		ended = end(errDiskEnd)
	}
	switch before := diskLevel(d.level.Swap(int32(now))); {
	case now == diskEnd && (before != diskEnd || ended > 0):
		log.Error("the disk is almost full: running sessions are ended", "disk", s.String(), "sessions", ended)
	case now == before:
	case now == diskRefuse:
		log.Warn("no new session is started: the disk is too full", "disk", s.String())
	case now == diskFine:
		log.Info("there is enough disk space again", "disk", s.String())
	}
}
