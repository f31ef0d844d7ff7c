package ledger

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// GenerateKey makes the key pair of a ledger, in the encodings of note keys
// (golang.org/x/mod/sumdb/note). The name is the origin of its checkpoints; it
// has neither white space nor "+" nor "|".
func GenerateKey(name string) (skey, vkey string, err error) {
	if skey, vkey, err = note.GenerateKey(rand.Reader, name); err != nil {
		return "", "", err
	}
	if _, err := note.NewVerifier(vkey); err != nil || strings.ContainsAny(name, "|\r\n") {
		return "", "", fmt.Errorf("%q is no name for a ledger's key: it has neither white space nor + nor |, and at least one character", name)
	}
	return skey, vkey, nil
}

// maxKeyFile limits a key's file, in bytes.
const maxKeyFile = 4 << 10

// ReadSigner reads a signing key from a file that nobody but its owner may read.
func ReadSigner(path string) (note.Signer, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %#o: others can read it; set it to 0600", path, st.Mode().Perm())
	}
	text, err := readKey(path)
	if err != nil {
		return nil, err
	}
	s, err := note.NewSigner(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no signing key of a ledger", path)
	}
	return s, nil
}

// ReadVerifier reads a public key from a file.
func ReadVerifier(path string) (note.Verifier, error) {
	text, err := readKey(path)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no public key of a ledger", path)
	}
	return v, nil
}

func readKey(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() || st.Size() > maxKeyFile {
		return "", errors.New(path + " is no key's file")
	}
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}
