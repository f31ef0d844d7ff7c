// Package sealed reads and writes what a recording is made of once it is
// finished: the key object, the segments and the manifest. docs/RECORDING.md
// describes all three byte by byte.
//
// A recording has two keys. The view key opens what watchers may see: output
// with its masks applied. The raw key opens what the masks hid, what was typed,
// and output about which redaction had not decided when the bastion stopped.
// Both lie in the key object, wrapped with age for their recipients; destroying
// that small object shreds the recording.
//
// The package keeps no files and knows no policy. What it reads may come from
// anybody: sizes are limited before memory is taken, and no input panics.
package sealed

import (
	"encoding/base32"
	"errors"
	"fmt"
)

// Version is the version of the key object, the segment and the manifest that
// this package writes, and the only one that it reads.
const Version = 1

// Limits that writers keep and readers hold a file to.
const (
	MaxSegment     = 64 << 20  // bytes of one segment
	MaxBlocks      = 16384     // blocks of one segment
	MaxPlain       = 16 << 20  // bytes of one track of a block, of a context or keyframe, before compression
	MaxBlockEvents = 65536     // events of one block
	MaxEvent       = 256 << 10 // bytes of an event's Raw, View or Text
	MaxMasks       = 8 << 20   // bytes of an event's Masks as they are written, escapes and all
	MaxKeyObject   = 1 << 20   // bytes of a key object
	MaxManifest    = 64 << 20  // bytes of a manifest
	MaxPrivate     = 16 << 20  // bytes of a manifest's private part, before compression
)

// What can be wrong with an object. Errors wrap one of these where what is
// wrong is in the object or the key; they say at which byte.
var (
	// ErrTruncated says that the object ends too early.
	ErrTruncated = errors.New("cut off")
	// ErrDamaged says that bytes are not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrVersion says that a newer program wrote the object.
	ErrVersion = errors.New("unknown version")
	// ErrWrongKey says that the key or identity belongs to something else.
	ErrWrongKey = errors.New("wrong key")
	// ErrNoKey says that the key that opens this was not given.
	ErrNoKey = errors.New("key missing")
)

// ID names a recording: the 16 bytes that a session id stands for.
type ID [16]byte

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// String returns the 26 characters of Crockford's base32, in lower case, that
// are the id elsewhere.
func (id ID) String() string { return idEncoding.EncodeToString(id[:]) }

// ParseID is the inverse of String: it takes exactly what String returns.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) == 26 {
		if b, err := idEncoding.DecodeString(s); err == nil {
			if id = ID(b); id.String() == s {
				return id, nil
			}
		}
	}
	return ID{}, fmt.Errorf("recording id %.40q: want 26 characters of base32 that stand for 16 bytes", s)
}

// fault says what is wrong with an object of a kind, and where.
func fault(what string, offset int64, kind error, format string, args ...any) error {
	return fmt.Errorf("%s at byte %d: %w: %s", what, offset, kind, fmt.Sprintf(format, args...))
}
