package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"sallyport/policy"
)

// remembered is a tree that a checkpoint covers, and the hash that this ledger
// has for as many leaves.
type remembered struct {
	tlog.Tree
	here tlog.Hash
}

// check computes the tree from the file and compares it with what is known of
// it. It returns what is to be added: what was torn, what was accepted. The
// caller has the lock.
func (l *Ledger) check() ([]item, error) {
	known, err := l.known()
	if err != nil {
		return nil, err
	}
	from := int64(0) // from there on, leaves were never signed
	own := l.latest != nil
	if own {
		from = known[0].N
	}
	compute := func() {
		for i := range known {
			if known[i].N == l.tree.size {
				known[i].here = l.tree.root()
			}
		}
	}
	compute()
	hashes := openHashes(l.o.Dir)
	defer hashes.close()
	torn, err := l.read(from, func(h tlog.Hash) {
		compute()
		if l.hashed == l.tree.size-1 && hashes.next() == h {
			l.hashed++
		}
	})
	if err != nil && !errors.Is(err, errNewer) {
		return nil, err
	}
	newer := err
	add, err := l.compare(known, own)
	if err != nil {
		return nil, err
	}
	if newer != nil { // and not just changed into that
		return nil, newer
	}
	if torn {
		it, err := l.cutTorn()
		if err != nil {
			return nil, err
		}
		add = append([]item{*it}, add...)
	}
	l.counted()
	return add, nil
}

// compare holds the tree to known, of which the first is the checkpoint beside
// the entries if own is set. It returns entries about what was accepted.
func (l *Ledger) compare(known []remembered, own bool) (add []item, err error) {
	accept := func(size int64, root string) error {
		it, err := l.item(policy.Entry{Kind: policy.EntryRollback, Ref: map[string]string{
			"remembered_size": strconv.FormatInt(size, 10), "remembered_root": root,
			"size": strconv.FormatInt(l.tree.size, 10), "root": l.tree.root().String()}})
		add = append(add, it)
		return err
	}
	if !own && l.tree.size > 0 {
		if !l.o.Accept {
			return nil, fmt.Errorf("%w beside its %d entries; put that back, or start with --accept-rollback, which is entered", ErrUnsigned, l.tree.size)
		}
		if err := accept(0, ""); err != nil {
			return nil, err
		}
	}
	for i, k := range known {
		err := l.holds(k)
		switch {
		case err == nil && i == 0 && own:
			l.signed = k.N
		case err == nil:
		case !l.o.Accept:
			return nil, err
		default:
			if err := accept(k.N, k.Hash.String()); err != nil {
				return nil, err
			}
		}
	}
	return add, nil
}

// holds says whether this ledger has what k remembers.
func (l *Ledger) holds(k remembered) error {
	switch {
	case k.N > l.tree.size:
		return fmt.Errorf("%w: a checkpoint covers %d entries, and there are %d; put the missing ones back, or start with --accept-rollback, which is entered%s",
			ErrRolledBack, k.N, l.tree.size, firstBad(l.o.Dir, []leafFile{{name: entriesName}}, k.Tree))
	case k.here != k.Hash:
		return fmt.Errorf("%w: its first %d entries are not those that a checkpoint covers; restore them, or start with --accept-rollback, which is entered%s",
			ErrAltered, k.N, firstBad(l.o.Dir, []leafFile{{name: entriesName}}, k.Tree))
	}
	return nil
}

// known returns the trees that checkpoints remember: first the one beside the
// entries, if there is one.
func (l *Ledger) known() ([]remembered, error) {
	var known []remembered
	own, err := readBounded(filepath.Join(l.o.Dir, checkpointName), maxCheckpoint)
	switch {
	case err == nil:
		t, err := OpenCheckpoint(own, l.o.Verifier)
		if err != nil {
			return nil, fmt.Errorf("its checkpoint: %w", err)
		}
		known, l.latest = append(known, remembered{Tree: t}), own
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	for _, text := range l.o.Remembered {
		t, err := OpenCheckpoint(text, l.o.Verifier)
		if err != nil {
			return nil, fmt.Errorf("a remembered checkpoint: %w", err)
		}
		known = append(known, remembered{Tree: t})
	}
	return known, nil
}

// catchUp takes in what other processes have added.
func (l *Ledger) catchUp() (*item, error) {
	st, err := l.file.Stat()
	if err != nil {
		return nil, err
	}
	if there, err := os.Stat(l.file.Name()); err != nil || !os.SameFile(st, there) {
		return nil, fmt.Errorf("%w while it was open: %s was removed or replaced; put it back", ErrAltered, l.file.Name())
	}
	if st.Size() < l.size {
		return nil, fmt.Errorf("%w while it was open: %s has %d bytes, and had %d", ErrRolledBack, l.file.Name(), st.Size(), l.size)
	}
	if st.Size() == l.size {
		return nil, nil
	}
	torn, err := l.read(l.tree.size, nil)
	l.counted()
	if errors.Is(err, errNewer) {
		return nil, l.fail(err)
	}
	if err != nil || !torn {
		return nil, err
	}
	return l.cutTorn()
}
