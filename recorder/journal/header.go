package journal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	magic      = "SALLYWAL"
	version    = 1
	headerSize = 72
	lengthSize = 4
	plainSize  = 16 + 8 + 8 + 1 // of a record without data
	tagSize    = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordSize is what a record with n bytes of data takes in a file.
func recordSize(n int) int { return lengthSize + plainSize + n + tagSize }

// fileKey derives the key of the file with a number, and its check value.
func fileKey(key [32]byte, number uint64, salt []byte) (cipher.AEAD, []byte, error) {
	info := binary.BigEndian.AppendUint64([]byte("sallyport journal v1"), number)
	okm, err := hkdf.Key(sha256.New, key[:], salt, string(info), 48)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(okm[:32])
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return aead, okm[32:], err
}

// newHeader makes the header of a file with a salt of its own.
func newHeader(number uint64, key [32]byte) ([]byte, cipher.AEAD, error) {
	var salt [32]byte
	rand.Read(salt[:])
	aead, check, err := fileKey(key, number, salt[:])
	if err != nil {
		return nil, nil, err
	}
	return appendHeader(number, salt[:], check), aead, nil
}

func appendHeader(number uint64, salt, check []byte) []byte {
	h := make([]byte, 16, headerSize)
	copy(h, magic)
	binary.BigEndian.PutUint16(h[8:], version)
	h = binary.BigEndian.AppendUint64(h, number)
	h = append(append(h, salt...), check...)
	binary.BigEndian.PutUint32(h[12:], headerSum(h))
	return h
}

// headerSum is the CRC-32C of a header with its own field taken as zero.
func headerSum(h []byte) uint32 {
	sum := crc32.Update(0, castagnoli, h[:12])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, h[16:headerSize])
}

// headerError is damage to a header, at an offset.
type headerError struct {
	offset int64
	text   string
}

func (e *headerError) Error() string { return e.text }

// readHeader checks the header of the file with a number. Where aead is not
// nil the records can be read, even with a *headerError. Any other error is
// ErrWrongKey, or says that a newer program wrote the file.
func readHeader(h []byte, number uint64, key [32]byte) (cipher.AEAD, error) {
	if len(h) < headerSize {
		return nil, &headerError{int64(len(h)), "its header is cut off"}
	}
	aead, check, err := fileKey(key, number, h[24:56])
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(check, h[56:headerSize]) == 1 {
		// The key is right. So what else is wrong is damage.
		if at := firstDifference(h, appendHeader(number, h[24:56], check)); at >= 0 {
			return aead, &headerError{int64(at), "its header was changed"}
		}
		return aead, nil
	}
	v, n := binary.BigEndian.Uint16(h[8:]), binary.BigEndian.Uint64(h[16:])
	whole := binary.BigEndian.Uint32(h[12:]) == headerSum(h)
	switch {
	case string(h[:8]) != magic:
		return nil, &headerError{0, "it does not begin as a file of a journal does"}
	case v == version && whole && n != number:
		return nil, &headerError{16, fmt.Sprintf("it is file %d of the journal under another's name", n)}
	case v == version && whole:
		return nil, ErrWrongKey
	case v > version:
		return nil, fmt.Errorf("byte 8: version %d is newer than this program knows (%d): use the version that wrote it", v, version)
	}
	return nil, &headerError{8, "its header is damaged"}
}

// fatal reports whether an error of readHeader is no damage.
func fatal(err error) bool {
	var damage *headerError
	return err != nil && !errors.As(err, &damage)
}

// firstDifference returns where a, which is no shorter, differs from b, or -1.
func firstDifference(a, b []byte) int {
	for i := range b {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
