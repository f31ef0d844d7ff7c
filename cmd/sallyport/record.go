package main

import (
	"context"
	"errors"
	"time"

	"sallyport/bastion/proxy"
	"sallyport/policy"
	"sallyport/recorder"
)

// catalogTime bounds how long a session's end waits for the catalog.
const catalogTime = 10 * time.Second

// openRecording opens the recording and indexes it. A session that cannot be
// recorded does not start (invariant I4).
func (n *node) openRecording(ctx context.Context, s policy.Session) (proxy.Recording, error) {
	if err := n.disk.check(); err != nil {
		n.metrics.refused.WithLabelValues(refusedDisk).Inc()
		n.log.Error("a session is refused", "session", s.ID, "error", err)
		return nil, &userError{"The session is not started because the bastion has almost no disk space left to record it.", err}
	}
	rec, err := n.recorder.Open(ctx, s)
	if err != nil {
		n.metrics.refused.WithLabelValues(refusedRecorder).Inc()
		n.log.Error("a recording cannot be opened", "session", s.ID, "error", err)
		return nil, &userError{"The session is not started because it cannot be recorded.", err}
	}
	if err := n.catalog.Begin(ctx, s); err != nil {
		n.metrics.refused.WithLabelValues(refusedCatalog).Inc()
		n.log.Error("a session cannot be indexed", "session", s.ID, "error", err)
		// What there is of it stays in the ledger and in the archive.
		_, closeErr := rec.Close(policy.End{Reason: "the catalog refused the session"})
		return nil, &userError{"The session is not started because it cannot be indexed.", errors.Join(err, closeErr)}
	}
	return &indexedRecording{Recording: rec, node: n}, nil
}

// indexedRecording tells the catalog when its recording is sealed.
type indexedRecording struct {
	*recorder.Recording
	node *node
}

// Close seals the recording, then finishes its row in the catalog. The archive
// and the ledger are what counts: the index can be rebuilt, so its failure is
// logged only.
func (r *indexedRecording) Close(end policy.End) (policy.Summary, error) {
	sum, err := r.Recording.Close(end)
	if sum.ID == "" {
		return sum, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), catalogTime)
	defer cancel()
	if finishErr := r.node.catalog.Finish(ctx, sum); finishErr != nil {
		r.node.log.Error("the catalog was not updated; `sallyport ls` may show the session as open", "session", sum.ID, "error", finishErr)
	}
	return sum, err
}
