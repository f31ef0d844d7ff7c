// Package archive keeps what is sealed: segments, manifests and key objects of
// recordings, and copies of the ledger. Objects are created once and never
// changed; a key object may be destroyed, which shreds its recording.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"
)

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("no such object in the archive")
	ErrExists   = errors.New("the archive has another object of that name")
	ErrTooLarge = errors.New("the object is too large")
)

// Store holds objects by name. All methods may be called concurrently, also by
// several processes. Names are relative paths with slashes, of the characters
// a-z, A-Z, 0-9, ".", "_" and "-"; no part begins with a dot.
type Store interface {
	// Create stores data under a name that is free, and returns once it is
	// durable. It is nil where the name has the same content already, so that
	// a caller that does not know whether an earlier try came through may try
	// again, and wraps ErrExists where it has other content. After any other
	// error the object may or may not be there.
	Create(ctx context.Context, name string, data []byte) error
	// Open returns an object, whose content never changes. The error wraps
	// ErrNotFound where there is none.
	Open(ctx context.Context, name string) (Object, error)
	// List returns the objects whose names begin with prefix, in order of
	// their names. After an error it ends.
	List(ctx context.Context, prefix string) iter.Seq2[Entry, error]
	// Delete destroys an object for good, and is nil where there is none. It
	// is durable on return. Where a store keeps versions, all of them go.
	Delete(ctx context.Context, name string) error
}

// Object is an open object.
type Object interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Entry is an object in a list.
type Entry struct {
	Name string
	Size int64 // bytes
}

// Names of what belongs to the recording id.

// KeyName is the key object: without it the recording cannot be opened.
func KeyName(id string) string { return "recordings/" + id + "/key" }

// SegmentName is segment n, from 0.
func SegmentName(id string, n uint32) string { return fmt.Sprintf("recordings/%s/%06d.seg", id, n) }

// ManifestName is the manifest, which is written last.
func ManifestName(id string) string { return "recordings/" + id + "/manifest" }

// RecordingPrefix is what the names of all objects of a recording begin with.
func RecordingPrefix(id string) string { return "recordings/" + id + "/" }

// maxName limits a name, in bytes.
const maxName = 512

// CheckName says what is wrong with the name of an object.
func CheckName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("an object's name of %d bytes is too long", len(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' {
			return fmt.Errorf("the object name %q is not allowed", name)
		}
		for _, c := range []byte(part) {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", rune(c)) {
				return fmt.Errorf("the object name %q is not allowed", name)
			}
		}
	}
	if path.Clean(name) != name {
		return fmt.Errorf("the object name %q is not allowed", name)
	}
	return nil
}

// ReadAll returns a whole object of at most limit bytes. The error wraps
// ErrNotFound or ErrTooLarge.
func ReadAll(ctx context.Context, s Store, name string, limit int64) ([]byte, error) {
	o, err := s.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if o.Size() > limit {
		return nil, fmt.Errorf("%s: %w: %d bytes, more than %d", name, ErrTooLarge, o.Size(), limit)
	}
	data := make([]byte, o.Size())
	if n, err := o.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("%s: at byte %d: %w", name, n, err)
	}
	return data, nil
}
