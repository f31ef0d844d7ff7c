//go:build !linux

package recorder

import "os"

// datasync makes a file's bytes and its length durable.
func datasync(f *os.File) error { return f.Sync() }

// allocate does nothing: only Linux lets us set space aside.
func allocate(*os.File, int64) error { return nil }
