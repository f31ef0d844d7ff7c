package journal

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sort"
	"time"
)

// Damage is a place from which on a file of the journal cannot be read.
type Damage struct {
	File   string
	Offset int64
	Until  int64 // where whole records go on; 0: nowhere in this file
	Err    error
}

func (d Damage) Error() string {
	return fmt.Sprintf("the journal's file %s is damaged at byte %d: %v", d.File, d.Offset, d.Err)
}

func (d Damage) Unwrap() error { return d.Err }

// Replay calls f with every record of earlier runs that was not released, in
// order; the data is valid until f returns. It may be called again. A record
// that a crash cut off at the end of a file is the end of that file, unless the
// journal went on in the next one: that it does only once a file is whole. What
// else cannot be read is returned as damage; reading goes on at the next whole
// record, or in the next file. The error is f's, or that a file cannot be
// opened, is of another key (ErrWrongKey) or of a newer version: nothing may be
// released then.
func (j *Journal) Replay(f func(Record, LSN) error) ([]Damage, error) {
	j.mu.Lock()
	first := j.files[0].number
	j.mu.Unlock()
	old := j.old[sort.Search(len(j.old), func(i int) bool { return j.old[i] >= first }):]
	links := make([]link, len(old))
	for i, number := range old {
		var err error
		if links[i], err = j.linkOf(number); err != nil {
			return nil, err
		}
	}
	var damaged []Damage
	for i, number := range old {
		if i > 0 && links[i].number > old[i-1] {
			damaged = append(damaged, Damage{File: j.path(links[i].number), Err: errors.New("the file is missing")})
		}
		var until int64
		if i+1 < len(old) && links[i+1].number == number {
			until = links[i+1].end
		}
		more, err := j.replayFile(number, until, f)
		damaged = append(damaged, more...)
		if err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}

func (j *Journal) openFile(number uint64) (*os.File, *source, error) {
	r, err := os.Open(j.path(number))
	if err != nil {
		return nil, nil, fmt.Errorf("the journal cannot be read: %w", err)
	}
	info, err := r.Stat()
	if err != nil {
		r.Close()
		return nil, nil, fmt.Errorf("the journal cannot be read: %w", err)
	}
	return r, newSource(r, info.Size()), nil
}

func (j *Journal) replayFile(number uint64, until int64, f func(Record, LSN) error) ([]Damage, error) {
	r, s, err := j.openFile(number)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p := &parser{source: s, number: number, until: until, budget: searchBudget, call: f}
	err = p.parse(j.o.Key)
	for i := range p.damaged {
		p.damaged[i].File = j.path(number)
	}
	if err != nil {
		return p.damaged, fmt.Errorf("%s: %w", j.path(number), err)
	}
	return p.damaged, nil
}

// searchBudget is how many bytes a search for the next whole record tries to
// authenticate in a file: less than a second's work.
const searchBudget = 1 << 30

// parser reads a file of the journal.
type parser struct {
	*source
	number  uint64
	until   int64 // the file is whole up to there; 0: nobody says so
	budget  int
	call    func(Record, LSN) error
	aead    cipher.AEAD
	nonce   [12]byte
	memory  []byte // of the last record
	damaged []Damage
}

func (p *parser) damage(at, until int64, err error) {
	p.damaged = append(p.damaged, Damage{Offset: at, Until: until, Err: err})
}

// parse calls p.call with the records of the file. The error is p.call's or
// as of readHeader, other than damage.
func (p *parser) parse(key [32]byte) error {
	made, err := p.header(key)
	if err != nil || !made {
		return err
	}
	at := int64(headerSize)
	for {
		plain, why := p.open(at)
		if why == nil && plain == nil {
			return nil
		}
		if why == nil {
			at += lengthSize + int64(len(plain)) + tagSize
			if len(plain) == linkPlain {
				continue
			}
			if err := p.call(parse(plain), lsn(p.number, at)); err != nil {
				return err
			}
			continue
		}
		next, err := p.resume(at + 1)
		if err != nil {
			why = err
		} else if next == 0 && p.until == 0 {
			return nil // cut off by a crash: past it there is nothing
		}
		p.damage(at, next, why)
		if next == 0 {
			return nil
		}
		at = next
	}
}

// header reads the header. made is false where no records can be read.
func (p *parser) header(key [32]byte) (made bool, err error) {
	h, err := p.bytes(0, headerSize)
	if err != nil {
		p.damage(0, 0, err)
		return false, nil
	}
	h = bytes.Clone(h) // the window moves
	if p.until == 0 && p.unmade(h) {
		return false, nil
	}
	p.aead, err = readHeader(h, p.number, key)
	var damage *headerError
	if errors.As(err, &damage) {
		until := int64(0)
		if p.aead != nil {
			until = headerSize
		}
		p.damage(damage.offset, until, err)
		err = nil
	}
	return p.aead != nil, err
}

// unmade reports whether a crash came while the file with the header h was made.
func (p *parser) unmade(h []byte) bool {
	if len(h) < headerSize {
		return true
	}
	if !bytes.Equal(h, zeros[:headerSize]) {
		return false
	}
	at, err := p.nonZero(0)
	return err == nil && at == p.size
}

// open returns the plain text of what is at offset at, or nothing at the end of
// the file.
func (p *parser) open(at int64) ([]byte, error) {
	head, err := p.bytes(at, lengthSize)
	switch {
	case err != nil:
		return nil, err
	case p.until > 0 && at == p.until, len(head) == 0 && at >= p.until:
		return nil, nil
	case len(head) < lengthSize:
		return nil, errCut
	}
	mark := binary.BigEndian.Uint32(head)
	size, ok := bodySize(mark, at)
	switch {
	case ok:
	case mark != 0:
		return nil, fmt.Errorf("a record of %d bytes cannot be", mark)
	case at >= p.until:
		if next, err := p.nonZero(at); err != nil || next == p.size {
			return nil, err
		}
		fallthrough
	default:
		return nil, errors.New("zeros are where a record must be")
	}
	frame, err := p.bytes(at, lengthSize+size)
	if err != nil {
		return nil, err
	}
	if len(frame) < lengthSize+size {
		return nil, errCut
	}
	binary.BigEndian.PutUint64(p.nonce[4:], uint64(at))
	plain, err := p.aead.Open(p.memory[:0], p.nonce[:], frame[lengthSize:], frame[:lengthSize])
	if err != nil {
		return nil, errors.New("a record fails its authentication")
	}
	p.memory = plain
	return plain, nil
}

var errCut = errors.New("a record is cut off")

// bodySize returns the size of what follows the length mark at offset at, and
// whether it can be.
func bodySize(mark uint32, at int64) (int, bool) {
	if mark == linkMark {
		return linkPlain + tagSize, at == headerSize
	}
	return int(mark), mark >= plainSize+tagSize && mark <= plainSize+MaxData+tagSize
}

// resume returns the offset of the first whole record from at on, or 0. The
// error says that not all was searched.
func (p *parser) resume(at int64) (int64, error) {
	for at < p.size {
		head, err := p.bytes(at, lengthSize)
		if err != nil {
			return 0, err
		}
		if len(head) < lengthSize {
			return 0, nil
		}
		mark := binary.BigEndian.Uint32(head)
		if mark == 0 {
			if at, err = p.nonZero(at); err != nil {
				return 0, err
			}
			at = max(at-lengthSize+1, 0)
			// The length may begin in the zeros, but not with four.
			continue
		}
		size, ok := bodySize(mark, at)
		if ok && at+lengthSize+int64(size) <= p.size {
			if p.budget -= size; p.budget < 0 {
				return 0, errors.New("so much is damaged that the rest of the file was not searched")
			}
			if plain, err := p.open(at); plain != nil && err == nil {
				return at, nil
			}
		}
		at++
	}
	return 0, nil
}

func parse(p []byte) Record {
	r := Record{Seq: binary.BigEndian.Uint64(p[16:]), Time: time.Duration(binary.BigEndian.Uint64(p[24:])), Kind: p[32], Data: p[33:]}
	copy(r.Session[:], p)
	return r
}
