package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// markEvery is how many leaves lie between two of which it is known where they
// begin.
const markEvery = 256

// writeHashes brings the file of hashes up to the tree. It proves nothing and
// can be made anew, so nothing waits for its disk, and the caller does not fail
// where it cannot be written.
func (l *Ledger) writeHashes() error {
	f, err := os.OpenFile(filepath.Join(l.o.Dir, hashesName), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	s := l.scanFrom(l.hashed)
	defer s.close()
	if _, err := f.Seek(l.hashed*tlog.HashSize, io.SeekStart); err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 64<<10)
	for s.at < l.tree.size {
		line, err := s.next()
		if err != nil {
			return err
		}
		h := tlog.RecordHash(line)
		if _, err := out.Write(h[:]); err != nil {
			return err
		}
	}
	if err := errors.Join(out.Flush(), f.Truncate(l.tree.size*tlog.HashSize)); err != nil {
		return err
	}
	l.hashed = l.tree.size
	return nil
}

// scanFrom reads the ledger's own leaves from one on. The caller holds the
// token; what is read may be read without it.
func (l *Ledger) scanFrom(index int64) *leafScanner {
	file := []leafFile{{name: entriesName}}
	if index >= l.tree.size {
		return scanLeaves(l.o.Dir, file, l.tree.size, position{0, l.size})
	}
	s := scanLeaves(l.o.Dir, file, index/markEvery*markEvery, position{0, l.marks[index/markEvery]})
	for s.at < index {
		if _, err := s.next(); err != nil {
			break // the next call says so again
		}
	}
	return s
}

// hashReader reads the file of hashes.
type hashReader struct {
	f *os.File
	r *bufio.Reader
}

// openHashes opens the file of hashes in dir. Where there is none, it is like
// an empty one.
func openHashes(dir string) *hashReader {
	f, err := os.Open(filepath.Join(dir, hashesName))
	if err != nil {
		return &hashReader{r: bufio.NewReader(strings.NewReader(""))}
	}
	return &hashReader{f, bufio.NewReaderSize(f, 64<<10)}
}

// next returns the next hash; zero, which is none, at the end.
func (h *hashReader) next() (sum tlog.Hash) {
	if _, err := io.ReadFull(h.r, sum[:]); err != nil {
		return tlog.Hash{}
	}
	return sum
}

func (h *hashReader) close() {
	if h.f != nil {
		h.f.Close()
	}
}

// firstBad names the first leaf that is not the one that was signed, as the end
// of a sentence, where the file of hashes beside the leaves can tell: where its
// root is that of t. Else it says nothing.
func firstBad(dir string, files []leafFile, t tlog.Tree) string {
	hashes := openHashes(dir)
	var whole tree
	for h := hashes.next(); whole.size < t.N && h != (tlog.Hash{}); h = hashes.next() {
		whole.add(h)
	}
	hashes.close()
	if whole.size < t.N || whole.root() != t.Hash {
		return ""
	}
	hashes = openHashes(dir)
	defer hashes.close()
	s := scanLeaves(dir, files, 0, position{})
	defer s.close()
	for s.at < t.N {
		line, err := s.next()
		if err == io.EOF {
			return fmt.Sprintf("; entry %d and what came after it are gone", s.at)
		}
		if err != nil {
			return ""
		}
		if tlog.RecordHash(line) != hashes.next() {
			at := s.begin(line)
			return fmt.Sprintf("; the first that is not is entry %d, in %s at byte %d", s.at-1, files[at.file].name, at.offset)
		}
	}
	return ""
}
