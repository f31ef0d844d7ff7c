package signin

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Bounds of an ID token.
const (
	maxToken = 256 << 10        // bytes
	leeway   = 2 * time.Minute  // how far an issuer's clock may be ahead of ours
	maxAge   = 15 * time.Minute // since iat: the token comes straight from the issuer
)

// algorithms are the signatures we take: asymmetric ones only, so that neither
// "none" nor a public key used as an HMAC secret can pass.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// claims are the members of a JSON object, each name once and exactly as
// spelled: encoding/json would let "SUB" stand for "sub".
type claims map[string]json.RawMessage

// verify checks the signature and the claims of an ID token as OpenID Connect
// Core 1.0, section 3.1.3.7 asks, and returns the claims. nonce is empty in
// flows that have none. Errors are *Error.
func (p *Provider) verify(ctx context.Context, m *metadata, answer *tokenAnswer, nonce string) (claims, error) {
	var raw string
	if len(answer.IDToken) == 0 {
		return nil, badToken("absence", "the token answer has no id_token")
	}
	if err := json.Unmarshal(answer.IDToken, &raw); err != nil {
		return nil, badToken("form", "the id_token is not a JSON string, so not a compact JWS")
	}
	if err := checkForm(raw); err != nil {
		return nil, err
	}
	payload, err := m.keys.VerifySignature(ctx, raw)
	if err != nil {
		return nil, signatureFailure(ctx, err)
	}
	c, err := parseObject(payload)
	if err != nil {
		return nil, badToken("payload", "%w", err)
	}
	return c, c.check(p.cfg.Issuer, p.cfg.ClientID, nonce, p.now())
}

// signatureFailure tells a wrong signature from keys that cannot be fetched.
func signatureFailure(ctx context.Context, err error) *Error {
	if e := ended(ctx); e != nil {
		return e
	}
	if strings.HasPrefix(err.Error(), "fetching keys ") {
		return fail(Unreachable, "the issuer's keys: %w", clipped(err))
	}
	return badToken("signature", "%w", clipped(err))
}

// checkForm accepts a compact JWS (RFC 7515, section 3.1) whose header names an
// algorithm of ours and asks for nothing that we would have to understand.
func checkForm(raw string) *Error {
	if len(raw) > maxToken {
		return badToken("size", "the id_token has %d bytes, want at most %d", len(raw), maxToken)
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || strings.HasPrefix(strings.TrimSpace(raw), "{") {
		return badToken("form", "the id_token is not a compact JWS")
	}
	src, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	if err != nil {
		return badToken("header", "the id_token's header is not base64url")
	}
	h, err := parseObject(src)
	if err != nil {
		return badToken("header", "%w", err)
	}
	var alg, typ string
	if h.text("alg", &alg); !slices.Contains(algorithms, alg) {
		return badToken("alg", "the algorithm %q is not accepted", shorten(alg))
	}
	if _, ok := h["crit"]; ok {
		return badToken("crit", "the id_token's header has critical extensions")
	}
	if h.text("typ", &typ); strings.HasSuffix(strings.ToLower(typ), "+jwt") {
		return badToken("typ", "the token is a %q, not an ID token", shorten(typ))
	}
	return nil
}

var errNoObject = errors.New("not one JSON object")

// parseObject decodes one JSON object and refuses names that come twice.
func parseObject(src []byte) (claims, error) {
	dec := json.NewDecoder(bytes.NewReader(src))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errNoObject
	}
	c := claims{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errNoObject
		}
		if _, twice := c[name]; twice {
			return nil, fmt.Errorf("the member %q comes twice", shorten(name))
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, errNoObject
		}
		c[name] = v
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNoObject
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errNoObject
	}
	return c, nil
}

// text sets *s to the claim when it is a string, and reports whether it is.
func (c claims) text(name string, s *string) bool {
	v, ok := c[name]
	return ok && len(v) > 0 && v[0] == '"' && json.Unmarshal(v, s) == nil
}

// time returns a NumericDate (RFC 7519, section 2).
func (c claims) time(name string) (time.Time, bool) {
	var f float64
	v, ok := c[name]
	if !ok || json.Unmarshal(v, &f) != nil || string(v) == "null" || f < 0 || f > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0), true
}

// audience accepts one string or an array of strings.
func (c claims) audience() ([]string, bool) {
	var one string
	if c.text("aud", &one) {
		return []string{one}, true
	}
	var many []string
	v, ok := c["aud"]
	return many, ok && json.Unmarshal(v, &many) == nil && len(many) > 0
}

func (c claims) check(issuer, client, nonce string, now time.Time) error {
	var iss string
	if !c.text("iss", &iss) || !sameIssuer(iss, issuer) {
		return badToken("iss", "the issuer is %q, want %q", shorten(iss), issuer)
	}
	aud, ok := c.audience()
	if !ok || !slices.Contains(aud, client) {
		return badToken("aud", "the audience is %s, want %q", shorten(string(c["aud"])), client)
	}
	var azp string
	if _, present := c["azp"]; present || len(aud) > 1 {
		if !c.text("azp", &azp) || azp != client {
			return badToken("azp", "the authorized party is %q, want %q", shorten(azp), client)
		}
	}
	if err := c.checkTimes(now); err != nil {
		return err
	}
	if nonce == "" {
		return nil
	}
	var got string
	if !c.text("nonce", &got) || subtle.ConstantTimeCompare([]byte(got), []byte(nonce)) != 1 {
		return badToken("nonce", "the nonce is not that of this sign-in")
	}
	return nil
}

func (c claims) checkTimes(now time.Time) error {
	exp, ok := c.time("exp")
	if !ok || !now.Before(exp) {
		return badToken("exp", "the token expired at %s, %s ago", shorten(string(c["exp"])), now.Sub(exp).Round(time.Second))
	}
	iat, ok := c.time("iat")
	if age := now.Sub(iat); !ok || age < -leeway || age > maxAge {
		return badToken("iat", "the token was issued at %s, %s before our clock; compare the clocks", shorten(string(c["iat"])), age.Round(time.Second))
	}
	if _, present := c["nbf"]; present {
		if nbf, ok := c.time("nbf"); !ok || nbf.Sub(now) > leeway {
			return badToken("nbf", "the token is not valid before %s", shorten(string(c["nbf"])))
		}
	}
	return nil
}

// sameIssuer is equality, but for the one issuer that documents two spellings.
func sameIssuer(got, want string) bool {
	return got == want || want == "https://accounts.google.com" && got == "accounts.google.com"
}
