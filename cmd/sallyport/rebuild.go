package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/spf13/cobra"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/catalog"
	"sallyport/recorder/ledger"
	"sallyport/replay"
)

func ledgerRebuildCommand() *cobra.Command {
	var file, data string
	cmd := &cobra.Command{
		Use:   "rebuild (--config FILE | --data DIR)",
		Short: "Rebuild the index of recordings from the ledger and the archive",
		Long: `Rebuild the index of recordings, which lists and searches use, from the ledger
and the archive. The state beside it in the catalog (users, keys, holds) stays
as it is. It takes the view identity, and a bastion that does not run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := dataOf(file, data)
			if err != nil {
				return err
			}
			n, warnings, err := rebuildIndex(cmd.Context(), d)
			for _, w := range warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "sallyport:", printableLines(w))
			}
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "The index of %s has %d recordings.\n", d, n)
			}
			return err
		},
	}
	addDataFlags(cmd, &file, &data)
	return cmd
}

// rebuildIndex drops the index in d and makes it anew. It returns how many
// recordings there are, and what is odd about some.
func rebuildIndex(ctx context.Context, d dataDir) (int, []string, error) {
	lock, err := lockData(d.lock())
	if err != nil {
		return 0, nil, fmt.Errorf("%w; stop it first", err)
	}
	defer lock.Close()
	log, err := loadLedger(d)
	if err != nil {
		return 0, nil, err
	}
	from := source{dir: string(d)}
	store, err := from.store()
	if err != nil {
		return 0, nil, err
	}
	keys, err := from.keys()
	if err != nil {
		return 0, nil, err
	}
	cat, err := catalog.Open(ctx, d.catalog())
	if err != nil {
		return 0, nil, err
	}
	known, err := knownRecordings(log)
	if err != nil {
		return 0, nil, errors.Join(err, cat.Close())
	}
	var warnings []string
	n, err := cat.Rebuild(ctx, rebuilt(ctx, store, keys, known, &warnings))
	return n, warnings, errors.Join(err, cat.Close())
}

// knownRecordings are those that the ledger knows, and whether their keys were
// destroyed.
func knownRecordings(log *ledger.Log) (map[policy.SessionID]bool, error) {
	known := map[policy.SessionID]bool{}
	for leaf, err := range log.Leaves() {
		if err != nil {
			return nil, err
		}
		switch leaf.Kind {
		case policy.EntryRecordingStart:
			if _, ok := known[leaf.Session]; !ok {
				known[leaf.Session] = false
			}
		case policy.EntryShred:
			known[leaf.Session] = true
		case policy.EntryHold: // it came before the keys were destroyed, and won
			known[leaf.Session] = false
		}
	}
	return known, nil
}

// rebuilt yields what the index has to hold: every recording that the ledger or
// the archive knows.
func rebuilt(ctx context.Context, store archive.Store, keys replay.Keys, known map[policy.SessionID]bool, warnings *[]string) iter.Seq2[policy.Recording, error] {
	return func(yield func(policy.Recording, error) bool) {
		*warnings = nil // this may run more than once
		archived := &replay.ArchiveCatalog{Archive: store, Keys: keys}
		list, err := archived.Recordings(ctx, catalog.Filter{})
		if err != nil {
			yield(policy.Recording{}, err)
			return
		}
		slices.Reverse(list) // oldest first
		seen := map[policy.SessionID]bool{}
		for _, r := range list {
			id := r.Session.ID
			gone, entered := known[id]
			seen[id] = true
			switch {
			case gone:
				r = expired(id)
			case !entered:
				*warnings = append(*warnings, fmt.Sprintf("recording %s is in the archive, and the ledger does not know it", id))
			case r.Session.User.IsZero():
				*warnings = append(*warnings, fmt.Sprintf("recording %s cannot be opened: %s", id, r.Summary.End.Reason))
			}
			if !yield(r, nil) {
				return
			}
		}
		for _, id := range sortedKeys(known) {
			if seen[id] {
				continue
			}
			r := expired(id)
			if !known[id] {
				r.Summary.State, r.Summary.End.Reason = policy.RecordingInterrupted, "nothing of it is in the archive"
				*warnings = append(*warnings, fmt.Sprintf("recording %s is in the ledger, and nothing of it in the archive", id))
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}
