package web

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"
)

// flowLifetime bounds the time between /login and /callback.
const flowLifetime = 10 * time.Minute

// flow is one sign-in under way. It lives in a sealed cookie of the browser
// that began it, so that nobody else can finish it and waiting flows cost the
// server nothing.
type flow struct {
	State    string
	Nonce    string
	Verifier string // PKCE, RFC 7636, 4.1
	Next     string // where the browser wanted to go, as localPath returned it
	Expires  time.Time
}

// flows seals and opens flow cookies with a key of this process.
type flows struct {
	aead cipher.AEAD
	now  func() time.Time
}

func newFlows(key [32]byte, now func() time.Time) *flows {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // a key of 32 bytes is always right
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the block size that GCM wants
	}
	return &flows{aead: aead, now: now}
}

func (f *flows) begin(next string) flow {
	return flow{
		State: newToken().String(), Nonce: newToken().String(), Verifier: newToken().String(),
		Next: next, Expires: f.now().Add(flowLifetime),
	}
}

var flowContext = []byte("sallyport sign-in v1")

func (f *flows) seal(fl flow) (string, error) {
	plain, err := json.Marshal(fl)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, f.aead.NonceSize())
	rand.Read(nonce)
	return base64.RawURLEncoding.EncodeToString(f.aead.Seal(nonce, nonce, plain, flowContext)), nil
}

var errFlow = errors.New("the sign-in has expired or was begun in another browser")

func (f *flows) open(cookie string) (flow, error) {
	sealed, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil || len(sealed) < f.aead.NonceSize() {
		return flow{}, errFlow
	}
	n := f.aead.NonceSize()
	plain, err := f.aead.Open(nil, sealed[:n], sealed[n:], flowContext)
	if err != nil {
		return flow{}, errFlow
	}
	var fl flow
	if err := json.Unmarshal(plain, &fl); err != nil || !f.now().Before(fl.Expires) {
		return flow{}, errFlow
	}
	return fl, nil
}

// localPath returns next when it is an address of this server that a browser
// cannot read as another host's, and "/" otherwise. Addresses of the sign-in
// itself do not count.
func localPath(next string) string {
	if len(next) > 1000 || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsRune(next, '\\') {
		return "/"
	}
	for _, c := range []byte(next) {
		if c <= ' ' || c >= 0x7f {
			return "/"
		}
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(u.Path, "//") || strings.ContainsRune(u.Path, '\\') {
		return "/"
	}
	switch u.Path {
	case "/login", "/callback", "/logout":
		return "/"
	}
	return next
}
