package ledger

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sallyport/policy"
)

// Leaf is what of an entry is in the tree, for anybody to read.
type Leaf struct {
	Index   int64             `json:"-"`
	Version int               `json:"v"`
	Time    time.Time         `json:"time"`
	Kind    policy.EntryKind  `json:"kind"`
	Session policy.SessionID  `json:"session,omitempty"`
	Ref     map[string]string `json:"ref,omitempty"`
	Digest  string            `json:"digest,omitempty"` // of the body, if there was one
}

// body is what of an entry names people and places.
type body struct {
	Salt   string            `json:"salt"`
	User   *policy.User      `json:"user,omitempty"`
	Target string            `json:"target,omitempty"`
	Login  policy.Login      `json:"login,omitempty"`
	Source string            `json:"source,omitempty"`
	Detail map[string]string `json:"detail,omitempty"`
}

func (b body) empty() bool {
	return b.User == nil && b.Target == "" && b.Login == "" && b.Source == "" && len(b.Detail) == 0
}

// item is an entry as it is stored.
type item struct {
	leaf []byte // without a line feed
	day  string // of the body's file
	body []byte // the line with its line feed, or nothing
}

const leafVersion = 1

// errNewer says that a leaf is of a version that this program does not know.
var errNewer = errors.New("the entry is of a later version")

// item encodes e.
func (l *Ledger) item(e policy.Entry) (item, error) {
	if e.Time.IsZero() {
		e.Time = l.o.Now()
	}
	e.Time = e.Time.UTC().Round(0)
	leaf := Leaf{Version: leafVersion, Time: e.Time, Kind: e.Kind, Session: e.Session, Ref: e.Ref}
	if e.Kind == "" {
		return item{}, errors.New("it has no kind")
	}
	it := item{day: e.Time.Format(time.DateOnly)}
	b := body{User: e.User, Target: e.Target, Login: e.Login, Source: e.Source, Detail: e.Detail}
	var err error
	if !b.empty() {
		if leaf.Digest, it.body, err = sealBody(b, l.o.BodyKey); err != nil {
			return item{}, err
		}
	}
	if it.leaf, err = json.Marshal(leaf); err != nil {
		return item{}, err
	}
	if n := max(len(it.leaf), len(it.body)); n >= MaxEntry {
		return item{}, fmt.Errorf("it has %d bytes, more than the %d allowed", n, MaxEntry-1)
	}
	return it, nil
}

func bodyCipher(key [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealBody returns the digest and the line of b, which gets its salt.
func sealBody(b body, key [32]byte) (digest string, line []byte, err error) {
	var salt [32]byte
	rand.Read(salt[:])
	b.Salt = hex.EncodeToString(salt[:])
	plain, err := json.Marshal(b)
	if err != nil {
		return "", nil, err
	}
	aead, err := bodyCipher(key)
	if err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(plain)
	digest = hex.EncodeToString(sum[:])
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	rand.Read(nonce)
	sealed := aead.Seal(nonce, nonce, plain, []byte(digest))
	line = append([]byte(digest+" "), base64.StdEncoding.EncodeToString(sealed)...)
	return digest, append(line, '\n'), nil
}

// openBody takes apart a line that sealBody made.
func openBody(line []byte, key [32]byte) (digest string, b body, err error) {
	head, text, ok := bytes.Cut(bytes.TrimSuffix(line, []byte{'\n'}), []byte{' '})
	sealed, err := base64.StdEncoding.DecodeString(string(text))
	aead, cipherErr := bodyCipher(key)
	if err = errors.Join(err, cipherErr); err != nil || !ok || len(head) != 64 || len(sealed) < 12 {
		return "", b, errors.New("a line of bodies is damaged")
	}
	plain, err := aead.Open(nil, sealed[:12], sealed[12:], head)
	if err != nil {
		return "", b, errors.New("a body is damaged, or sealed with another key")
	}
	if sum := sha256.Sum256(plain); hex.EncodeToString(sum[:]) != string(head) {
		return "", b, errors.New("a body is not that of its digest")
	}
	return string(head), b, json.Unmarshal(plain, &b)
}

// parseLeaf reads the line of a leaf.
func parseLeaf(line []byte) (Leaf, error) {
	var leaf Leaf
	if err := json.Unmarshal(line, &leaf); err != nil {
		return Leaf{}, fmt.Errorf("it is no entry: %w", err)
	}
	if leaf.Version > leafVersion {
		return Leaf{}, fmt.Errorf("%w: %d, and this program knows %d; use the version that wrote it", errNewer, leaf.Version, leafVersion)
	}
	if leaf.Version < 1 || leaf.Kind == "" {
		return Leaf{}, errors.New("it is no entry")
	}
	return leaf, nil
}
