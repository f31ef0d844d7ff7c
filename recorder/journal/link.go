package journal

import (
	"encoding/binary"
	"fmt"
	"io"
)

// A link is 0x80000000 + its sealed size, and the sealed number and end of the
// file before.
const (
	linkPlain = 8 + 8
	linkMark  = 1<<31 | (linkPlain + tagSize)
	linkSize  = lengthSize + linkPlain + tagSize
)

// sealLink appends the link of f to the file before it, which ends at end.
func (f *file) sealLink(dst []byte, number uint64, end int64) []byte {
	n := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, linkMark)
	dst = binary.BigEndian.AppendUint64(dst, number)
	dst = binary.BigEndian.AppendUint64(dst, uint64(end))
	return f.close(dst, n, headerSize)
}

// link says that a file is whole, and where it ends.
type link struct {
	number uint64
	end    int64
}

// readLink reads the link at the beginning of a file, zero where there is none.
// The error is as of readHeader, other than damage.
func readLink(r *io.SectionReader, number uint64, key [32]byte) (link, error) {
	p := &parser{source: newSource(r, r.Size())}
	h, err := p.bytes(0, headerSize)
	if err != nil {
		return link{}, nil // for parse to say
	}
	if p.aead, err = readHeader(h, number, key); fatal(err) {
		return link{}, err
	}
	if p.aead == nil || r.Size() < headerSize+linkSize {
		return link{}, nil
	}
	plain, err := p.open(headerSize)
	if err != nil || len(plain) != linkPlain {
		return link{}, nil
	}
	return link{binary.BigEndian.Uint64(plain), int64(binary.BigEndian.Uint64(plain[8:]))}, nil
}

// linkOf reads what the file with a number says of the one before it.
func (j *Journal) linkOf(number uint64) (link, error) {
	r, s, err := j.openFile(number)
	if err != nil {
		return link{}, err
	}
	defer r.Close()
	l, err := readLink(io.NewSectionReader(s.r, 0, min(s.size, headerSize+linkSize)), number, j.o.Key)
	if err != nil {
		return link{}, fmt.Errorf("%s: %w", j.path(number), err)
	}
	return l, nil
}
