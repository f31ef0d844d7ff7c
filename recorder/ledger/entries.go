package ledger

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"

	"sallyport/policy"
)

const bodiesExt = ".jsonl" // of the files of bodies, after the day

// Leaves yields all leaves in order. A line that is no leaf comes as an error
// that names it, and reading goes on after it.
func (g *Log) Leaves() iter.Seq2[Leaf, error] {
	return func(yield func(Leaf, error) bool) {
		s := scanLeaves(g.dir, g.files, 0, position{})
		defer s.close()
		for s.at < g.groups.size {
			line, err := s.next()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				yield(Leaf{}, fmt.Errorf("%w while it was read: %w", ErrAltered, err))
				return
			}
			leaf, err := parseLeaf(line)
			if err != nil {
				err = fmt.Errorf("entry %d of the ledger: %w", s.at-1, err)
			}
			leaf.Index = s.at - 1
			if !yield(leaf, err) {
				return
			}
		}
	}
}

// Entries yields all entries with their bodies, where those still exist.
func (g *Log) Entries(bodyKey [32]byte) iter.Seq2[policy.Entry, error] {
	return func(yield func(policy.Entry, error) bool) {
		days := dayCache{dir: filepath.Join(g.dir, bodiesDir)}
		defer days.close()
		for leaf, err := range g.Leaves() {
			if err != nil {
				if !yield(policy.Entry{}, err) {
					return
				}
				continue
			}
			e := policy.Entry{Time: leaf.Time, Kind: leaf.Kind, Session: leaf.Session, Ref: leaf.Ref}
			if leaf.Digest != "" {
				b := days.of(leaf.Time.Format(time.DateOnly)).body(leaf.Digest, bodyKey)
				e.User, e.Target, e.Login, e.Source, e.Detail = b.User, b.Target, b.Login, b.Source, b.Detail
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// dayCache has the last two days of bodies: entries of two come mixed around
// midnight.
type dayCache struct {
	dir  string
	days [2]*dayBodies
}

func (c *dayCache) of(day string) *dayBodies {
	for _, d := range c.days {
		if d != nil && d.day == day {
			return d
		}
	}
	c.days[0].close()
	c.days = [2]*dayBodies{c.days[1], openBodies(c.dir, day)}
	return c.days[1]
}

func (c *dayCache) close() {
	c.days[0].close()
	c.days[1].close()
}

// dayBodies knows where in a day's file each body is.
type dayBodies struct {
	day string
	f   *os.File // nil where there is none, any more
	at  map[[32]byte]span
}

type span struct{ offset, length int64 }

// openBodies reads the file of a day's bodies once. What cannot be read is as
// if it had been erased.
func openBodies(dir, day string) *dayBodies {
	d := &dayBodies{day: day, at: map[[32]byte]span{}}
	f, err := os.Open(filepath.Join(dir, day+bodiesExt))
	if err != nil {
		return d
	}
	d.f = f
	r := lineReader{in: bufio.NewReaderSize(f, 256<<10)}
	for at := int64(0); ; {
		line, err := r.next()
		if err != nil {
			return d
		}
		var digest [32]byte
		if len(line) > 64 && line[64] == ' ' {
			if _, err := hex.Decode(digest[:], line[:64]); err == nil {
				d.at[digest] = span{at, int64(len(line))}
			}
		}
		at += int64(len(line)) + 1
	}
}

func (d *dayBodies) close() {
	if d != nil && d.f != nil {
		d.f.Close()
	}
}

// body returns the body of a digest; nothing where it was erased or does not
// open.
func (d *dayBodies) body(digest string, key [32]byte) body {
	var sum [32]byte
	if d.f == nil || len(digest) != 64 {
		return body{}
	}
	if _, err := hex.Decode(sum[:], []byte(digest)); err != nil {
		return body{}
	}
	where, ok := d.at[sum]
	if !ok {
		return body{}
	}
	line := make([]byte, where.length)
	if _, err := d.f.ReadAt(line, where.offset); err != nil {
		return body{}
	}
	found, b, err := openBody(line, key)
	if err != nil || found != digest {
		return body{}
	}
	return b
}
