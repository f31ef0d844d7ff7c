package ledger

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

var (
	errTorn = errors.New("the last line is cut off")
	errLong = fmt.Errorf("%w: a line is longer than %d bytes", ErrAltered, MaxEntry)
)

// lineReader reads lines of bounded length.
type lineReader struct {
	in  *bufio.Reader
	buf []byte
}

// next returns the next line without its line feed; it holds until the next
// call. The error is io.EOF at the end, errTorn where that is within a line, and
// errLong.
func (r *lineReader) next() ([]byte, error) {
	part, err := r.in.ReadSlice('\n')
	if err == nil {
		return part[:len(part)-1], nil
	}
	r.buf = r.buf[:0]
	for {
		r.buf = append(r.buf, part...)
		switch {
		case len(r.buf) > MaxEntry:
			return nil, errLong
		case err == nil:
			return r.buf[:len(r.buf)-1], nil
		case err == io.EOF && len(r.buf) > 0:
			return nil, errTorn
		case err != bufio.ErrBufferFull:
			return nil, err
		}
		part, err = r.in.ReadSlice('\n')
	}
}

// leafFile is a file of leaves: a live one, or a chunk that holds the leaves
// from from up to to.
type leafFile struct {
	name     string
	from, to int64 // to is 0 for a live one
}

// position is where a line begins.
type position struct {
	file   int
	offset int64
}

// leafScanner reads the lines of all leaves of a directory, in order. The
// caller closes it.
type leafScanner struct {
	dir   string
	files []leafFile
	pos   position // after the line that next returned
	at    int64    // its number
	f     *os.File
	r     lineReader
}

func scanLeaves(dir string, files []leafFile, at int64, pos position) *leafScanner {
	return &leafScanner{dir: dir, files: files, at: at, pos: pos}
}

func (s *leafScanner) close() {
	if s.f != nil {
		s.f.Close()
		s.f = nil
	}
}

// next returns the line of leaf s.at without its line feed; it holds until the
// next call. The error is io.EOF at the end. A line that is cut off at the end
// of a live file is being written just now, and not there yet.
func (s *leafScanner) next() ([]byte, error) {
	for s.pos.file < len(s.files) {
		file := s.files[s.pos.file]
		if s.f == nil {
			if file.to > 0 && file.to <= s.at {
				s.pos = position{s.pos.file + 1, 0}
				continue // all of it was in files before
			}
			if err := s.open(file); err != nil {
				return nil, err
			}
		}
		line, err := s.line(file)
		if err == io.EOF {
			s.close()
			s.pos = position{s.pos.file + 1, 0}
			continue
		}
		return line, err
	}
	return nil, io.EOF
}

// begin is where a line that next has just returned begins.
func (s *leafScanner) begin(line []byte) position {
	return position{s.pos.file, s.pos.offset - int64(len(line)) - 1}
}

// line reads from the open file. Its end is io.EOF, where it has all that its
// name says.
func (s *leafScanner) line(file leafFile) ([]byte, error) {
	if file.to > 0 && s.at == file.to {
		return nil, io.EOF
	}
	line, err := s.r.next()
	switch {
	case err == nil:
		s.at++
		s.pos.offset += int64(len(line)) + 1
		return line, nil
	case file.to > 0 && (err == io.EOF || err == errTorn):
		return nil, fmt.Errorf("%w: %s ends at entry %d, and its name says %d", ErrAltered, file.name, s.at, file.to)
	case err == errTorn:
		return nil, io.EOF
	case err == io.EOF:
		return nil, err
	}
	return nil, fmt.Errorf("%s at byte %d (entry %d): %w", file.name, s.pos.offset, s.at, err)
}

// open opens a file at s.pos, and goes on to leaf s.at where the file begins
// before that.
func (s *leafScanner) open(file leafFile) error {
	if file.from > s.at {
		return fmt.Errorf("%w: entries %d to %d are missing before %s", ErrAltered, s.at, file.from-1, file.name)
	}
	var err error
	if s.f, err = os.Open(filepath.Join(s.dir, file.name)); err != nil {
		return err
	}
	if _, err := s.f.Seek(s.pos.offset, io.SeekStart); err != nil {
		return err
	}
	s.r = lineReader{in: bufio.NewReaderSize(s.f, 64<<10)}
	if s.pos.offset > 0 || file.to == 0 {
		return nil
	}
	for want := s.at; file.from < want; file.from++ {
		s.at = file.from
		if _, err := s.line(file); err != nil {
			s.at = want
			return err
		}
	}
	return nil
}

// currentLeaf is how every leaf of this version begins.
var currentLeaf = []byte(`{"v":1,"time":"`)

// glance says whether line is a leaf that this program knows; the error wraps
// errNewer where it is of a later version. Unless closely is set, it looks at
// no more than the beginning of those that it knows.
func glance(line []byte, closely bool) error {
	if !closely && bytes.HasPrefix(line, currentLeaf) {
		return nil
	}
	_, err := parseLeaf(line)
	return err
}
