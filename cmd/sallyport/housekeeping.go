package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"sallyport/recorder/ledger"
)

// How often the node looks after what it keeps.
const (
	expireInterval = time.Hour
	eraseInterval  = 24 * time.Hour
	copyInterval   = time.Minute      // of the ledger, after recordings
	idleCopy       = 10 * time.Minute // after other entries
)

// housekeeping starts what the node does beside its sessions. All of it ends
// with ctx; a failure is logged and tried again, and ends nothing.
func (n *node) housekeeping(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { return n.disk.watch(ctx, diskInterval, n.log, n.live.endAll) })
	g.Go(func() error { return n.watchJournal(ctx) })
	for _, task := range []struct {
		what     string
		interval time.Duration
		do       func(context.Context) error
	}{
		{"recordings whose time is over were not deleted", expireInterval, n.expire},
		{"personal details of old entries were not erased", eraseInterval, n.eraseBodies},
		{"the archive's copy of the ledger is behind", copyInterval, n.copyLedgerLater},
	} {
		g.Go(func() error {
			t := time.NewTicker(task.interval)
			defer t.Stop()
			for {
				if err := task.do(ctx); err != nil && ctx.Err() == nil {
					n.log.Error(task.what, "error", err)
				}
				select {
				case <-ctx.Done():
					return nil
				case <-t.C:
				}
			}
		})
	}
}

// watchJournal says so when the journal breaks: sessions end by themselves, and
// none begins until the node starts again.
func (n *node) watchJournal(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-n.journal.Failed():
		n.log.Error("the journal cannot be written any more: sessions end, and none begins; see to the disk and start the bastion again", "error", n.journal.Err())
	}
	return nil
}

// expire deletes the recordings whose retention is over.
func (n *node) expire(ctx context.Context) error {
	gone, err := n.keeper.Expire(ctx, time.Now())
	if len(gone) > 0 {
		n.log.Info("recordings were deleted: their time was over", "count", len(gone))
	}
	return err
}

// eraseBodies erases the personal details of entries that are old enough.
func (n *node) eraseBodies(context.Context) error {
	keep := time.Duration(n.cfg.Ledger.BodyRetention)
	if keep == 0 {
		return nil
	}
	days, err := ledger.EraseBodies(dataDir(n.cfg.Data).ledger(), time.Now().Add(-keep))
	if days > 0 {
		n.log.Info("personal details of old entries were erased", "days", days)
	}
	return err
}

// copyLedgerLater is copyLedger where recordings have changed since the last
// time, or that was a while ago: each copy is two more objects.
func (n *node) copyLedgerLater(ctx context.Context) error {
	s := n.recorder.Stats()
	done := s.Segments + s.Opened
	if done == n.copiedAfter && time.Since(n.copiedAt) < idleCopy {
		return nil
	}
	if err := n.copyLedger(ctx); err != nil {
		return err
	}
	n.copiedAfter, n.copiedAt = done, time.Now()
	return nil
}

// lastCheckpoint signs the node's last entries, brings the archive's copy up to
// date and tells the places outside.
func (n *node) lastCheckpoint(stop func()) error {
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	if _, err := n.ledger.Checkpoint(ctx); err != nil {
		return err
	}
	return n.copyLedger(ctx)
}
