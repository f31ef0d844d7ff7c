package main

import (
	"context"
	"errors"

	"sallyport/recorder/catalog"
)

// notReady is why the node takes no sessions: a line for anybody, and the cause
// for the log.
type notReady struct {
	line  string
	cause error
}

func (e *notReady) Error() string       { return e.line + ": " + e.cause.Error() }
func (e *notReady) UserMessage() string { return e.line }
func (e *notReady) Unwrap() error       { return e.cause }

// ready says whether the node can take sessions: its stores take what it
// records, and answer.
func (n *node) ready(ctx context.Context) error {
	for _, check := range []struct {
		line string
		do   func() error
	}{
		{"the journal cannot be written", n.journal.Err},
		{"the ledger cannot be written", n.ledger.Err},
		{"the archive does not take recordings", func() error { return n.recorder.Stats().Err }},
		{"recordings cannot begin", n.recorder.Ready},
		{"", n.disk.check},
		{"the catalog does not answer", func() error {
			_, err := n.catalog.Recordings(ctx, catalog.Filter{Limit: 1})
			return err
		}},
	} {
		if err := check.do(); err != nil {
			line := check.line
			for _, known := range []error{errDiskRefuse, errDiskBlind} {
				if errors.Is(err, known) {
					line = known.Error()
				}
			}
			return &notReady{line, err}
		}
	}
	return nil
}

// sample reports what the stores hold.
func (n *node) sample(emit emitter) {
	n.disk.sample(emit)
	emit("sallyport_sessions_running", "Sessions that run now.", float64(n.live.count()))
	s := n.recorder.Stats()
	emit("sallyport_recordings_unfinished", "Recordings that still need the journal: running ones, and those that are not wholly stored.", float64(s.Open))
	emit("sallyport_recordings_failing", "Recordings that the archive or the ledger does not take at the moment.", float64(s.Failing))
	emit("sallyport_recordings_opened_total", "Recordings since the start.", float64(s.Opened))
	emit("sallyport_segments_waiting", "Finished segments that wait for the archive or the ledger.", float64(s.Unstored))
	emit("sallyport_segments_stored_total", "Segments stored since the start.", float64(s.Segments))
	emit("sallyport_segment_bytes_total", "Their size as stored.", float64(s.SegmentBytes))
	emit("sallyport_event_bytes_total", "Bytes of output, standard error and input in them.", float64(s.EventBytes))
	emit("sallyport_journal_bytes", "Size of the journal's files, as allocated.", float64(s.Journal.Bytes))
	emit("sallyport_journal_files", "Files of the journal.", float64(s.Journal.Files))
	emit("sallyport_journal_records_total", "Records written to the journal since the start.", float64(s.Journal.Records))
	emit("sallyport_journal_commits_total", "Commits of the journal since the start; many records share one.", float64(s.Journal.Commits))
	l := n.ledger.Stats()
	emit("sallyport_ledger_entries", "Entries of the ledger.", float64(l.Size))
	emit("sallyport_ledger_unsigned_seconds", "How long the oldest entry has been without a signed checkpoint.", l.Unsigned.Seconds())
	up := 1.0
	ctx, cancel := context.WithTimeout(context.Background(), catalogTime)
	defer cancel()
	if n.ready(ctx) != nil {
		up = 0
	}
	emit("sallyport_ready", "1 while sessions can begin, as /readyz says.", up)
}
