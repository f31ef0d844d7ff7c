package signin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// object is a JSON object under construction.
type object = map[string]any

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// sign makes a compact JWS (RFC 7515) over header and payload as they are, with
// the algorithm that header claims; "none" has no signature.
func sign(header object, payload []byte, key any) string {
	input := b64(mustJSON(header)) + "." + b64(payload)
	digest := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	switch header["alg"] {
	case "RS256":
		sig, err = rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, digest[:])
	case "PS256":
		sig, err = rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "ES256":
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), digest[:])
		if err == nil {
			sig = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case "EdDSA":
		sig = ed25519.Sign(key.(ed25519.PrivateKey), []byte(input))
	case "HS256":
		mac := hmac.New(sha256.New, key.([]byte))
		mac.Write([]byte(input))
		sig = mac.Sum(nil)
	}
	if err != nil {
		panic(err)
	}
	return input + "." + b64(sig)
}

// hostile is an OpenID provider that a test bends. mu guards what handlers and
// tests both touch.
type hostile struct {
	*httptest.Server
	t *testing.T

	ed  ed25519.PrivateKey
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey

	mu       sync.Mutex
	meta     object                                       // merged into the discovery document
	keys     []object                                     // the key set
	device   object                                       // merged into the device authorization answer
	replies  []func(w http.ResponseWriter)                // answers to polls, in turn; the last one stays
	info     func(w http.ResponseWriter)                  // userinfo
	start    func(w http.ResponseWriter, r *http.Request) // replaces the device endpoint
	requests []*http.Request                              // with parsed forms
	found    int                                          // discoveries
}

// slowKey is made once: all issuers may share it.
var slowKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newHostile(t *testing.T) *hostile {
	t.Helper()
	h := &hostile{t: t}
	_, h.ed, _ = ed25519.GenerateKey(rand.Reader)
	var err error
	h.rsa = slowKey()
	if h.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	h.keys = []object{
		{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA", "x": b64(h.ed.Public().(ed25519.PublicKey))},
		{"kty": "RSA", "kid": "rsa", "n": b64(h.rsa.N.Bytes()), "e": "AQAB"},
		{"kty": "EC", "crv": "P-256", "kid": "ec", "x": b64(h.ec.X.FillBytes(make([]byte, 32))), "y": b64(h.ec.Y.FillBytes(make([]byte, 32)))},
		{"kty": "EC", "crv": "secp256k1", "kid": "odd", "alg": "ES256K", "x": "AA", "y": "AA"},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", h.discovery)
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		writeJSON(w, 200, object{"keys": h.keys})
	})
	mux.HandleFunc("/device", h.deviceAuthorization)
	mux.HandleFunc("/token", h.token)
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.requests = append(h.requests, r)
		h.info(w)
	})
	h.Server = httptest.NewServer(mux)
	t.Cleanup(h.Close)
	return h
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(mustJSON(v))
}

func (h *hostile) discovery(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.found++
	doc := object{"issuer": h.URL, "authorization_endpoint": h.URL + "/authorize?tenant=1", "token_endpoint": h.URL + "/token",
		"device_authorization_endpoint": h.URL + "/device", "jwks_uri": h.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"none", "HS256", "RS256"}}
	maps.Copy(doc, h.meta)
	writeJSON(w, 200, doc)
}

func (h *hostile) deviceAuthorization(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, r)
	if h.start != nil {
		h.start(w, r)
		return
	}
	answer := object{"device_code": "the-device-code", "user_code": "ABCD-EFGH", "verification_uri": h.URL + "/activate",
		"verification_uri_complete": h.URL + "/activate?user_code=ABCD-EFGH", "expires_in": 300, "interval": 5}
	maps.Copy(answer, h.device)
	writeJSON(w, 200, answer)
}

func (h *hostile) token(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, r)
	reply := h.replies[0]
	if len(h.replies) > 1 {
		h.replies = h.replies[1:]
	}
	reply(w)
}

func (h *hostile) forms() []url.Values {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []url.Values
	for _, r := range h.requests {
		out = append(out, r.PostForm)
	}
	return out
}

// oauthErr answers with an OAuth error.
func oauthErr(status int, code string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		writeJSON(w, status, object{"error": code, "error_description": "because\x1b[31m"})
	}
}

func tokens(id any) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		writeJSON(w, 200, object{"access_token": "at", "token_type": "Bearer", "id_token": id})
	}
}

// claimsFor are those of a good token.
func (h *hostile) claimsFor(change object) object {
	now := time.Now().Unix()
	c := object{"iss": h.URL, "sub": "s-1", "aud": "sallyport", "exp": now + 300, "iat": now,
		"name": "Ann Example", "email": "ann@example.com", "groups": []string{"a", "b"}}
	for k, v := range change {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

// good is a token with the changes; a nil removes a claim.
func (h *hostile) good(change object) string {
	return sign(object{"alg": "EdDSA", "kid": "ed", "typ": "JWT"}, mustJSON(h.claimsFor(change)), h.ed)
}

// provider signs in at h and never really waits.
func (h *hostile) provider(change ...func(*Config)) *Provider {
	h.t.Helper()
	c := Config{Issuer: h.URL, ClientID: "sallyport"}
	for _, f := range change {
		f(&c)
	}
	p, err := New(c)
	if err != nil {
		h.t.Fatal(err)
	}
	p.wait = (&clock{}).wait
	return p
}

// newTLS is a TLS twin of the server and the file of its certificate.
func newTLS(t *testing.T, h http.Handler) (*httptest.Server, string) {
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshake is expected
	srv.StartTLS()
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return srv, file
}
