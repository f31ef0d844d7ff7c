package policy

import (
	"bytes"
	"os"
	"sync"
	"sync/atomic"
)

// Store is a policy file that can be loaded again while it is in use.
type Store struct {
	path   string
	engine atomic.Pointer[Engine]

	mu   sync.Mutex // held while loading
	last []byte     // source in force; guarded by mu
}

// NewStore loads the policy file at path.
func NewStore(path string) (*Store, error) {
	s := &Store{path: path}
	_, err := s.Reload()
	return s, err
}

// Decide decides by the policies in force.
func (s *Store) Decide(r Request) Decision { return s.engine.Load().Decide(r) }

// Digest is the SHA-256, in hex, of the policy file in force.
func (s *Store) Digest() string { return s.engine.Load().Digest() }

// Reload takes the file again and reports whether it has changed. When the new
// one is bad, the old one stays in force.
func (s *Store) Reload() (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src, err := os.ReadFile(s.path)
	if err != nil {
		return false, err
	}
	if s.engine.Load() != nil && bytes.Equal(src, s.last) {
		return false, nil
	}
	e, err := Parse(s.path, src)
	if err != nil {
		return false, err
	}
	s.engine.Store(e)
	s.last = src
	return true, nil
}
