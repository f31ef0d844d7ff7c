package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Log is a ledger that is only read, checked against its checkpoint with the
// public key. What other processes add later is not in it. It is safe for
// concurrent use.
type Log struct {
	dir        string
	files      []leafFile // in order
	notes      []string   // files of checkpoints, in order of their trees
	verifier   note.Verifier
	signed     tlog.Tree
	checkpoint []byte
	groups     groups // of all leaves

	mu       sync.Mutex
	cached   []tlog.Hash // guarded by mu: of the leaves of group cachedAt
	cachedAt int64
}

// Load reads the ledger in dir, or a directory of the files that Export makes,
// computes its tree and compares it with the newest checkpoint. Entries beyond
// that are there, but nobody has signed them. The error wraps ErrUnsigned,
// ErrWrongKey or ErrAltered, and names the first bad entry as far as the
// directory tells. 1,000,000 leaves take half a second and 2 MB.
func Load(dir string, v note.Verifier) (*Log, error) {
	g := &Log{dir: dir, verifier: v}
	if err := g.load(); err != nil {
		return nil, fmt.Errorf("the ledger in %s: %w", dir, err)
	}
	return g, nil
}

func (g *Log) load() error {
	if err := g.find(); err != nil {
		return err
	}
	var err error
	if g.signed, err = OpenCheckpoint(g.checkpoint, g.verifier); err != nil {
		return err
	}
	newer, err := g.read()
	if err != nil {
		return err
	}
	if g.signed.N > g.groups.size {
		return fmt.Errorf("%w: its checkpoint covers %d entries, and there are %d%s", ErrAltered, g.signed.N, g.groups.size, g.firstBad())
	}
	root, err := tlog.TreeHash(g.signed.N, g.reader())
	if err != nil {
		return err
	}
	if root != g.signed.Hash {
		return fmt.Errorf("%w: its first %d entries are not those that its checkpoint covers%s", ErrAltered, g.signed.N, g.firstBad())
	}
	return newer // where it was not just changed into that
}

// find lists the files and reads the newest checkpoint.
func (g *Log) find() error {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return err
	}
	live := false
	for _, e := range entries { // sorted by name
		switch name := e.Name(); {
		case name == entriesName:
			live = true
		case name == checkpointName:
			g.checkpoint = []byte{}
		default:
			if from, to, ok := chunkRange(name); ok {
				g.files = append(g.files, leafFile{name, from, to})
			}
			if checkpointOf(name) {
				g.notes = append(g.notes, name)
			}
		}
	}
	if live {
		g.files = []leafFile{{name: entriesName}}
	}
	newest := checkpointName
	if g.checkpoint == nil {
		if len(g.notes) == 0 {
			return ErrUnsigned
		}
		newest = g.notes[len(g.notes)-1]
	}
	g.checkpoint, err = readBounded(filepath.Join(g.dir, newest), maxCheckpoint)
	return err
}

// read computes the tree. What is no leaf and was never signed is being
// written just now, or was torn by a crash, and ends the ledger. newer is about
// the first leaf that this program does not know.
func (g *Log) read() (newer, err error) {
	s := scanLeaves(g.dir, g.files, 0, position{})
	defer s.close()
	for {
		line, err := s.next()
		switch {
		case err == io.EOF, errors.Is(err, errLong) && s.at >= g.signed.N:
			return newer, nil
		case err != nil:
			return newer, err
		}
		at := s.begin(line)
		err = glance(line, s.at > g.signed.N)
		if errors.Is(err, errNewer) && newer == nil {
			newer = fmt.Errorf("%s at byte %d (entry %d): %w", g.files[at.file].name, at.offset, s.at-1, err)
		} else if err != nil && s.at > g.signed.N {
			return newer, nil
		}
		if err := g.groups.add(tlog.RecordHash(line), at); err != nil {
			return newer, err
		}
	}
}

// firstBad names the first bad leaf, as the end of a sentence: by the file of
// hashes, or between which of the copied checkpoints it is.
func (g *Log) firstBad() string {
	if text := firstBad(g.dir, g.files, g.signed); text != "" {
		return text
	}
	good, bad := int64(0), int64(-1)
	sort.Search(len(g.notes), func(i int) bool {
		text, err := readBounded(filepath.Join(g.dir, g.notes[i]), maxCheckpoint)
		if err != nil {
			return true
		}
		t, err := OpenCheckpoint(text, g.verifier)
		if err != nil {
			return true
		}
		root, err := tlog.Hash{}, errNoHash
		if t.N <= g.groups.size {
			root, err = tlog.TreeHash(t.N, g.reader())
		}
		if err == nil && root == t.Hash {
			good = max(good, t.N)
			return false
		}
		bad = t.N
		return true
	})
	if bad <= good {
		return ""
	}
	names := []string{}
	for _, f := range g.files {
		if f.to > good && f.from < bad {
			names = append(names, f.name)
		}
	}
	return fmt.Sprintf("; the first that is not is one of %d to %d, in %s", good, bad-1, strings.Join(names[:min(len(names), 3)], ", "))
}

// Size is how many entries there are.
func (g *Log) Size() int64 { return g.groups.size }

// SignedSize is how many of them the checkpoint covers.
func (g *Log) SignedSize() int64 { return g.signed.N }

// Root is the hash that the checkpoint gives the first SignedSize entries.
func (g *Log) Root() tlog.Hash { return g.signed.Hash }

// Checkpoint is the newest signed checkpoint.
func (g *Log) Checkpoint() []byte { return slices.Clone(g.checkpoint) }

// Consistent says whether this ledger holds all that a checkpoint, remembered
// elsewhere, covers. The error wraps ErrRolledBack, ErrAltered or ErrWrongKey.
func (g *Log) Consistent(checkpoint []byte) error {
	t, err := OpenCheckpoint(checkpoint, g.verifier)
	if err != nil {
		return fmt.Errorf("the remembered checkpoint: %w", err)
	}
	if t.N > g.groups.size {
		return fmt.Errorf("%w: the remembered checkpoint covers %d entries, and there are %d", ErrRolledBack, t.N, g.groups.size)
	}
	root, err := tlog.TreeHash(t.N, g.reader())
	if err != nil {
		return err
	}
	if root != t.Hash {
		return fmt.Errorf("%w: its first %d entries are not those that the remembered checkpoint covers", ErrAltered, t.N)
	}
	return nil
}
