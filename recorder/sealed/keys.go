package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
)

// Keys are the keys of one recording, as far as they are known.
type Keys struct {
	View, Raw       [32]byte
	HasView, HasRaw bool
}

// NewKeys returns two fresh random keys.
func NewKeys() Keys {
	k := Keys{HasView: true, HasRaw: true}
	rand.Read(k.View[:])
	rand.Read(k.Raw[:])
	return k
}

// whole reports an error where one of the keys is missing: only who has both
// can write.
func (k Keys) whole() error {
	if !k.HasView || !k.HasRaw {
		return fmt.Errorf("sealing needs the view key and the raw key: %w", ErrNoKey)
	}
	return nil
}

// check is a key check value: it tells a wrong key from damage and gives
// nothing away about the key.
type check [16]byte

// HKDF info strings (RFC 5869); docs/RECORDING.md lists them.
const (
	infoViewCheck = "sallyport view key check v1"
	infoRawCheck  = "sallyport raw key check v1"
	infoView      = "sallyport segment view v1"
	infoRaw       = "sallyport segment raw v1"
	infoManifest  = "sallyport manifest v1"
)

// derive is HKDF-SHA256.
func derive(key [32]byte, salt []byte, info string, n int) []byte {
	out, err := hkdf.Key(sha256.New, key[:], salt, info, n)
	if err != nil {
		panic(err) // only for n > 8160
	}
	return out
}

func (k Keys) viewCheck(id ID) check { return check(derive(k.View, id[:], infoViewCheck, 16)) }
func (k Keys) rawCheck(id ID) check  { return check(derive(k.Raw, id[:], infoRawCheck, 16)) }

// fits reports ErrWrongKey where a key that k has is not the one of the
// recording id, whose check values are view and raw.
func (k Keys) fits(id ID, view, raw check) error {
	if k.HasView && !equal(k.viewCheck(id), view) {
		return fmt.Errorf("the view key is not that of recording %s: %w", id, ErrWrongKey)
	}
	if k.HasRaw && !equal(k.rawCheck(id), raw) {
		return fmt.Errorf("the raw key is not that of recording %s: %w", id, ErrWrongKey)
	}
	return nil
}

func equal(a, b check) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

// newGCM returns AES-256-GCM under a key derived from key.
func newGCM(key [32]byte, salt []byte, info string) cipher.AEAD {
	block, err := aes.NewCipher(derive(key, salt, info, 32))
	if err != nil {
		panic(err) // only for keys of another length
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // only for ciphers of another block size
	}
	return gcm
}
