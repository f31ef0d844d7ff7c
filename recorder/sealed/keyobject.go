package sealed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"filippo.io/age"
)

const (
	keyMagic  = "SALLYKEY"
	keyHeader = 68 // bytes before the two age files
)

// KeyObject holds the two keys of a recording, wrapped with age.
type KeyObject struct {
	id          ID
	viewC, rawC check
	view, raw   []byte // age files
}

// WrapKeys makes the key object of recording id. Each list of recipients must
// name at least one, and must not mix hybrid post-quantum recipients with
// others. Who can open the raw part gets both keys.
func WrapKeys(id ID, k Keys, view, raw []age.Recipient) ([]byte, error) {
	if err := k.whole(); err != nil {
		return nil, err
	}
	sealedView, err := wrap("view", k.View[:], view)
	if err != nil {
		return nil, err
	}
	sealedRaw, err := wrap("raw", append(k.Raw[:], k.View[:]...), raw)
	if err != nil {
		return nil, err
	}
	o := KeyObject{id: id, viewC: k.viewCheck(id), rawC: k.rawCheck(id), view: sealedView, raw: sealedRaw}
	b := o.append(nil)
	if len(b) > MaxKeyObject {
		return nil, fmt.Errorf("a key object of %d bytes is larger than the %d allowed: name fewer recipients", len(b), MaxKeyObject)
	}
	return b, nil
}

func wrap(which string, secret []byte, to []age.Recipient) ([]byte, error) {
	if len(to) == 0 {
		return nil, fmt.Errorf("the %s key has no recipients: nobody could ever open the recording", which)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, fmt.Errorf("the %s key cannot be encrypted to its recipients: %w", which, err)
	}
	if _, err = w.Write(secret); err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("the %s key cannot be encrypted to its recipients: %w", which, err)
	}
	return out.Bytes(), nil
}

// append serializes o.
func (o *KeyObject) append(b []byte) []byte {
	at := len(b)
	b = append(b, keyMagic...)
	b = binary.BigEndian.AppendUint16(b, Version)
	b = append(b, 0, 0)
	b = append(b, o.id[:]...)
	b = append(b, o.viewC[:]...)
	b = append(b, o.rawC[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(o.view)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(o.raw)))
	b = append(b, o.view...)
	b = append(b, o.raw...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

// ParseKeyObject reads a key object. It needs no key, and keeps nothing of b.
// The checksum is no protection: it tells damage from a wrong identity.
func ParseKeyObject(b []byte) (*KeyObject, error) {
	const what = "key object"
	if err := preamble(what, keyMagic, b, keyHeader); err != nil {
		return nil, err
	}
	o := &KeyObject{id: ID(b[12:28]), viewC: check(b[28:44]), rawC: check(b[44:60])}
	view, raw := int64(binary.BigEndian.Uint32(b[60:])), int64(binary.BigEndian.Uint32(b[64:]))
	switch whole := keyHeader + view + raw + 4; {
	case whole > MaxKeyObject:
		return nil, fault(what, 60, ErrDamaged, "%d bytes are more than the %d allowed", whole, MaxKeyObject)
	case int64(len(b)) < whole:
		return nil, fault(what, int64(len(b)), ErrTruncated, "%d bytes were written", whole)
	case int64(len(b)) > whole:
		return nil, fault(what, whole, ErrDamaged, "%d bytes follow the end", int64(len(b))-whole)
	case crc32.Checksum(b[:whole-4], castagnoli) != binary.BigEndian.Uint32(b[whole-4:]):
		return nil, fault(what, whole-4, ErrDamaged, "the checksum is wrong")
	}
	o.view = bytes.Clone(b[keyHeader : keyHeader+view])
	o.raw = bytes.Clone(b[keyHeader+view : keyHeader+view+raw])
	return o, nil
}

// preamble checks what all objects begin with: a magic, the version and two
// zero bytes, in a header of size bytes.
func preamble(what, magic string, b []byte, size int) error {
	if n := min(len(b), len(magic)); string(b[:n]) != magic[:n] {
		return fault(what, 0, ErrDamaged, "it does not begin with %s", magic)
	}
	if len(b) >= 10 {
		if v := binary.BigEndian.Uint16(b[8:]); v != Version {
			return fault(what, 8, ErrVersion, "version %d is not the version %d that this program reads; a newer one may", v, Version)
		}
	}
	if len(b) < size {
		return fault(what, int64(len(b)), ErrTruncated, "its header has %d bytes", size)
	}
	if b[10] != 0 || b[11] != 0 {
		return fault(what, 10, ErrDamaged, "reserved bytes are not zero")
	}
	return nil
}

// ID returns the recording that the keys belong to.
func (o *KeyObject) ID() ID { return o.id }

// Unwrap returns the keys that the identities open: with one of raw both, with
// one of view the view key. The error wraps ErrWrongKey where none of them
// opens anything, and ErrDamaged where a key was opened and is not the one that
// the header announces.
func (o *KeyObject) Unwrap(view, raw []age.Identity) (Keys, error) {
	var k Keys
	var first error
	if len(raw) > 0 {
		secret, err := o.open("raw", keyHeader+len(o.view), o.raw, 64, raw)
		if err == nil {
			k = Keys{HasView: true, HasRaw: true, Raw: [32]byte(secret), View: [32]byte(secret[32:])}
		}
		first = err
	}
	if len(view) > 0 && !k.HasView {
		secret, err := o.open("view", keyHeader, o.view, 32, view)
		if err == nil {
			k.HasView, k.View = true, [32]byte(secret)
		} else if first == nil || errors.Is(first, ErrWrongKey) {
			first = err
		}
	}
	if !k.HasView {
		if first == nil {
			first = fmt.Errorf("key object of recording %s: no identity was given: %w", o.id, ErrNoKey)
		}
		return Keys{}, first
	}
	if err := k.fits(o.id, o.viewC, o.rawC); err != nil {
		return Keys{}, fault("key object", 12, ErrDamaged, "the keys inside are not those that its header announces")
	}
	return k, nil
}

// open decrypts one of the age files, which begins at byte at of the object.
func (o *KeyObject) open(which string, at int, file []byte, size int, with []age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(file), with...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, fmt.Errorf("key object of recording %s: no identity opens the %s key: %w", o.id, which, ErrWrongKey)
	}
	if err != nil {
		return nil, fmt.Errorf("key object of recording %s: the %s key at byte %d cannot be opened: %w", o.id, which, at, err)
	}
	secret, err := io.ReadAll(io.LimitReader(r, int64(size)+1))
	if err != nil || len(secret) != size {
		return nil, fault("key object", int64(at), ErrDamaged, "the %s key is not %d bytes that age decrypts", which, size)
	}
	return secret, nil
}
