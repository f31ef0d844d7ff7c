package ledger

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"sallyport/policy"
)

// maxTorn limits what a crash can have torn, in bytes; more is no accident.
const maxTorn = 64 << 20

// read adds to the tree what the file has beyond it, and calls each, unless it
// is nil, with the hash of every leaf once that is in the tree. Leaves from
// number from on were never signed: it stops before what is none of them, and
// reports that something follows which a crash has torn. The error wraps
// errNewer for leaves that this program does not know; they are in the tree.
func (l *Ledger) read(from int64, each func(tlog.Hash)) (torn bool, err error) {
	r := lineReader{in: bufio.NewReaderSize(io.NewSectionReader(l.file, l.size, 1<<62), 256<<10)}
	var newer error
	for {
		line, err := r.next()
		switch {
		case err == io.EOF:
			return false, newer
		case err == errTorn, errors.Is(err, errLong) && l.tree.size >= from:
			return true, newer
		case err != nil:
			return false, fmt.Errorf("%s at byte %d (entry %d): %w", l.file.Name(), l.size, l.tree.size, err)
		}
		if err := glance(line, l.tree.size >= from); errors.Is(err, errNewer) && newer == nil {
			newer = fmt.Errorf("%s at byte %d (entry %d): %w", l.file.Name(), l.size, l.tree.size, err)
		} else if err != nil && l.tree.size >= from {
			return true, newer
		}
		if h := l.grow(line); each != nil {
			each(h)
		}
	}
}

// grow takes the next line of the file into the tree and returns its hash.
func (l *Ledger) grow(line []byte) tlog.Hash {
	if l.tree.size%markEvery == 0 {
		l.marks = append(l.marks, l.size)
	}
	h := tlog.RecordHash(line)
	l.tree.add(h)
	l.size += int64(len(line)) + 1
	return h
}

// cutTorn takes away what follows the last whole leaf, keeps it in a file of
// its own, and returns the entry about it.
func (l *Ledger) cutTorn() (*item, error) {
	tail, err := io.ReadAll(io.NewSectionReader(l.file, l.size, maxTorn+1))
	if err != nil {
		return nil, err
	}
	if len(tail) > maxTorn {
		return nil, fmt.Errorf("%w: %s has more than %d bytes that are no entries from byte %d on, and no crash leaves so many; cut them off there",
			ErrAltered, l.file.Name(), maxTorn, l.size)
	}
	sum := sha256.Sum256(tail)
	digest := hex.EncodeToString(sum[:])
	name := fmt.Sprintf("torn-%016d-%s", l.tree.size, digest[:16])
	if err := writeDurably(filepath.Join(l.o.Dir, name), tail, 0o600, l.o); err != nil {
		return nil, fmt.Errorf("what a crash left behind: %w", err)
	}
	if err := l.file.Truncate(l.size); err != nil {
		return nil, err
	}
	if err := l.o.Sync(l.file); err != nil {
		return nil, l.fail(err)
	}
	it, err := l.item(policy.Entry{Kind: EntryTorn, Ref: map[string]string{"bytes": strconv.Itoa(len(tail)), "sha256": digest}})
	return &it, err
}
