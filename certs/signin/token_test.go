package signin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sallyport/policy"
)

// signIn runs the device flow to its end with one answer of the token endpoint.
func (h *hostile) signIn(p *Provider, reply func(http.ResponseWriter)) (policy.User, error) {
	h.t.Helper()
	h.mu.Lock()
	h.replies = []func(http.ResponseWriter){reply}
	h.mu.Unlock()
	d, err := p.StartDevice(h.t.Context())
	if err != nil {
		h.t.Fatal(err, errors.Unwrap(err))
	}
	return d.Wait(h.t.Context())
}

// refused checks that err is a bad token because of claim, that the sentence
// names it, and that neither sentence nor detail carries control characters.
func refused(t *testing.T, err error, claim string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != BadToken || e.Claim != claim {
		t.Errorf("got %v (%v), want a token refused because of %s", err, errors.Unwrap(err), claim)
		return
	}
	if !strings.Contains(e.Error(), claim) {
		t.Errorf("%q does not name %s", e.Error(), claim)
	}
	if s := e.Error() + e.Err.Error(); printable(s) != s || len(s) > 2000 {
		t.Errorf("not fit to log: %q", s)
	}
}

func TestT6GoodTokens(t *testing.T) {
	h := newHostile(t)
	p := h.provider()
	payload := mustJSON(h.claimsFor(nil))
	for name, id := range map[string]string{
		"EdDSA":             h.good(nil),
		"RS256":             sign(object{"alg": "RS256", "kid": "rsa"}, payload, h.rsa),
		"PS256":             sign(object{"alg": "PS256", "kid": "rsa"}, payload, h.rsa),
		"ES256":             sign(object{"alg": "ES256", "kid": "ec", "typ": "jwt"}, payload, h.ec),
		"no kid":            sign(object{"alg": "ES256"}, payload, h.ec),
		"two audiences":     h.good(object{"aud": []string{"api", "sallyport"}, "azp": "sallyport"}),
		"one in an array":   h.good(object{"aud": []string{"sallyport"}}),
		"fractional times":  h.good(object{"exp": float64(time.Now().Unix()) + 60.5}),
		"a clock 1 m ahead": h.good(object{"iat": time.Now().Unix() + 60, "nbf": time.Now().Unix() + 60}),
	} {
		u, err := h.signIn(p, tokens(id))
		if err != nil {
			t.Errorf("%s: %v (%v)", name, err, errors.Unwrap(err))
			continue
		}
		if u.Issuer != h.URL || u.Subject != "s-1" || u.Name != "Ann Example" || u.Email != "ann@example.com" || !slices.Equal(u.Groups, []string{"a", "b"}) {
			t.Errorf("%s: signed in %+v", name, u)
		}
	}
}

func TestT6BadTokens(t *testing.T) {
	h := newHostile(t)
	p := h.provider()
	good := mustJSON(h.claimsFor(nil))
	now := time.Now().Unix()
	stranger := newHostile(t)
	ed := object{"alg": "EdDSA", "kid": "ed"}
	compact := strings.Split(h.good(nil), ".")
	for _, c := range []struct {
		name  string
		id    any
		claim string
	}{
		{"alg none", sign(object{"alg": "none"}, good, nil), "alg"},
		{"alg None", sign(object{"alg": "None"}, good, nil), "alg"},
		{"no alg", sign(object{"kid": "ed"}, good, nil), "alg"},
		{"HS256 with the public key", sign(object{"alg": "HS256", "kid": "ed"}, good, []byte(h.keys[0]["x"].(string))), "alg"},
		{"alg twice", b64([]byte(`{"alg":"none","alg":"EdDSA"}`)) + "." + compact[1] + "." + compact[2], "header"},
		{"critical extension", sign(object{"alg": "EdDSA", "crit": []string{"b64"}, "b64": false}, good, h.ed), "crit"},
		{"an access token", sign(object{"alg": "EdDSA", "kid": "ed", "typ": "at+jwt"}, good, h.ed), "typ"},
		{"a logout token", sign(object{"alg": "EdDSA", "kid": "ed", "typ": "application/LOGOUT+JWT"}, good, h.ed), "typ"},
		{"own key in the header", sign(object{"alg": "EdDSA", "jwk": stranger.keys[0]}, good, stranger.ed), "signature"},
		{"stale kid", sign(object{"alg": "EdDSA", "kid": "last year"}, good, h.ed), "signature"},
		{"another issuer's key", sign(ed, good, stranger.ed), "signature"},
		{"RS256 said, EdDSA signed", sign(object{"alg": "RS256", "kid": "ed"}, good, h.rsa), "signature"},
		{"no signature", compact[0] + "." + compact[1] + ".", "signature"},
		{"payload changed", compact[0] + "." + b64(mustJSON(h.claimsFor(object{"sub": "root"}))) + "." + compact[2], "signature"},
		{"JSON JWS", string(mustJSON(object{"protected": compact[0], "payload": compact[1], "signature": compact[2]})), "form"},
		{"JSON JWS with dots", string(mustJSON(object{"a": "..", "protected": compact[0], "payload": compact[1], "signature": compact[2]})), "form"},
		{"JSON JWS as an object", object{"protected": compact[0], "payload": compact[1], "signature": compact[2]}, "form"},
		{"a number", 7, "form"},
		{"null", nil, "form"},
		{"empty", "", "form"},
		{"two parts", compact[0] + "." + compact[1], "form"},
		{"five parts", strings.Join(append(slices.Clone(compact), "a", "b"), "."), "form"},
		{"padding", compact[0] + "=." + compact[1] + "." + compact[2], "header"},
		{"huge", compact[0] + "." + strings.Repeat("A", maxToken) + "." + compact[2], "size"},
		{"payload no object", sign(ed, []byte(`["iss"]`), h.ed), "payload"},
		{"payload no JSON", sign(ed, []byte(`{"iss":`), h.ed), "payload"},
		{"a claim twice", sign(ed, []byte(strings.Replace(string(good), "{", `{"sub":"root",`, 1)), h.ed), "payload"},
		{"trailing data", sign(ed, append(slices.Clone(good), `{}`...), h.ed), "payload"},

		{"wrong iss", h.good(object{"iss": stranger.URL}), "iss"},
		{"iss with slash", h.good(object{"iss": h.URL + "/"}), "iss"},
		{"iss with control characters", h.good(object{"iss": "\x1b[2J\n"}), "iss"},
		{"no iss", h.good(object{"iss": nil, "ISS": h.URL}), "iss"},
		{"wrong aud", h.good(object{"aud": "other"}), "aud"},
		{"aud prefix", h.good(object{"aud": "sallyport2"}), "aud"},
		{"no aud", h.good(object{"aud": nil}), "aud"},
		{"aud no string", h.good(object{"aud": []any{"sallyport", 1}}), "aud"},
		{"two audiences, no azp", h.good(object{"aud": []string{"sallyport", "x"}}), "azp"},
		{"two audiences, their azp", h.good(object{"aud": []string{"sallyport", "x"}, "azp": "x"}), "azp"},
		{"their azp alone", h.good(object{"azp": "x"}), "azp"},
		{"azp no string", h.good(object{"azp": 1}), "azp"},
		{"expired", h.good(object{"exp": now - 1}), "exp"},
		{"no exp", h.good(object{"exp": nil, "EXP": now + 300}), "exp"},
		{"exp no number", h.good(object{"exp": "tomorrow"}), "exp"},
		{"exp too large", h.good(object{"exp": 1e300}), "exp"},
		{"no iat", h.good(object{"iat": nil}), "iat"},
		{"iat 1 h ago", h.good(object{"iat": now - 3600}), "iat"},
		{"iat 1 d ahead", h.good(object{"iat": now + 86400, "exp": now + 90000}), "iat"},
		{"nbf ahead", h.good(object{"nbf": now + 600}), "nbf"},
		{"no sub", h.good(object{"sub": nil, "Sub": "s-1"}), "sub"},
		{"empty sub", h.good(object{"sub": ""}), "sub"},
		{"sub with NUL", h.good(object{"sub": "s\x00-1"}), "sub"},
		{"long sub", h.good(object{"sub": strings.Repeat("s", 256)}), "sub"},
		{"sub no string", h.good(object{"sub": 1}), "sub"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := h.signIn(p, tokens(c.id))
			refused(t, err, c.claim)
			if !u.IsZero() {
				t.Errorf("signed in %+v", u)
			}
		})
	}
	t.Run("no id_token", func(t *testing.T) {
		_, err := h.signIn(p, func(w http.ResponseWriter) { writeJSON(w, 200, object{"access_token": "at"}) })
		refused(t, err, "absence")
	})
}

func TestT6RotatedKeyIsFetched(t *testing.T) {
	h := newHostile(t)
	p := h.provider()
	if _, err := h.signIn(p, tokens(h.good(nil))); err != nil {
		t.Fatal(err)
	}
	next := newHostile(t)
	next.keys[0]["kid"] = "new"
	h.mu.Lock()
	h.keys = next.keys
	h.mu.Unlock()
	id := sign(object{"alg": "EdDSA", "kid": "new"}, mustJSON(h.claimsFor(nil)), next.ed)
	if _, err := h.signIn(p, tokens(id)); err != nil {
		t.Errorf("a token of the new key: %v", errors.Unwrap(err))
	}
	_, err := h.signIn(p, tokens(h.good(nil)))
	if h.ed.Equal(next.ed) {
		t.Fatal("the keys are equal")
	}
	refused(t, err, "signature")
}

func TestHostileClaims(t *testing.T) {
	h := newHostile(t)
	p := h.provider(func(c *Config) { c.GroupsClaim = "https://example.com/roles" })
	long := strings.Repeat("ä", 500_000/8)
	u, err := h.signIn(p, tokens(h.good(object{"name": "A\x1b[31m\u202enn\r\n " + long, "email": "a\nb@example.com", "https://example.com/roles": "one"})))
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	if !strings.HasPrefix(u.Name, "A[31mnn ää") || len(u.Name) > maxName || !utf8.ValidString(u.Name) || u.Email != "" || !slices.Equal(u.Groups, []string{"one"}) {
		t.Errorf("kept %d bytes of name, %q, %q", len(u.Name), u.Email, u.Groups)
	}
	u, err = h.signIn(p, tokens(h.good(object{"name": 7, "preferred_username": "ann", "email_verified": false})))
	if err != nil || u.Name != "ann" || u.Email != "" || u.Groups != nil {
		t.Errorf("kept %+v, %v", u, err)
	}
	many := make([]string, maxGroups+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for name, v := range map[string]any{
		"number": 1, "object": object{"a": 1}, "mixed": []any{"a", 1}, "null inside": []any{"a", nil}, "empty": []string{""},
		"control": []string{"a\nb"}, "direction": []string{"a\u202eb"}, "long": []string{strings.Repeat("g", 257)}, "many": many,
	} {
		_, err := h.signIn(p, tokens(h.good(object{"https://example.com/roles": v})))
		if err == nil {
			t.Errorf("%s: signed in", name)
			continue
		}
		refused(t, err, "https://example.com/roles")
	}
}

func TestGroupsFromUserInfo(t *testing.T) {
	h := newHostile(t)
	h.meta = object{"userinfo_endpoint": h.URL + "/userinfo"}
	p := h.provider()
	answer := func(v any) { h.info = func(w http.ResponseWriter) { writeJSON(w, 200, v) } }
	id := tokens(h.good(object{"groups": nil, "email": nil}))

	answer(object{"sub": "s-1", "groups": []string{"x"}, "email": "x@example.com", "name": "Not Ann", "iss": "evil"})
	u, err := h.signIn(p, id)
	if err != nil || !slices.Equal(u.Groups, []string{"x"}) || u.Email != "x@example.com" || u.Name != "Ann Example" || u.Issuer != h.URL {
		t.Errorf("signed in %+v, %v", u, err)
	}
	if got := h.requests[len(h.requests)-1].Header.Get("Authorization"); got != "Bearer at" {
		t.Errorf("asked with %q", got)
	}
	for name, v := range map[string]object{"another": {"sub": "s-2", "groups": []string{"x"}}, "nobody": {"groups": []string{"x"}}, "case": {"SUB": "s-1"}} {
		answer(v)
		_, err = h.signIn(p, id)
		t.Log(name)
		refused(t, err, "sub")
	}
	h.info = func(w http.ResponseWriter) { http.Error(w, "no", http.StatusServiceUnavailable) }
	_, err = h.signIn(p, id)
	wantKind(t, err, Unreachable)
	h.info = func(w http.ResponseWriter) { t.Error("asked although the token has groups") }
	if _, err = h.signIn(p, tokens(h.good(nil))); err != nil {
		t.Error(err)
	}
}

func TestKeysOutOfReach(t *testing.T) {
	h := newHostile(t)
	h.meta = object{"jwks_uri": "http://127.0.0.1:1/keys"}
	_, err := h.signIn(h.provider(), tokens(h.good(nil)))
	wantKind(t, err, Unreachable)
}

func FuzzParseObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"b":[{}]}`, `{"a":1,"a":2}`, `{"a"`, `[]`, `{}{}`, `{"a":"\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseObject(b)
		if err != nil {
			return
		}
		var m map[string]json.RawMessage
		if json.Unmarshal(b, &m) != nil || len(m) != len(c) {
			t.Errorf("%q: %d members, want %d", b, len(c), len(m))
		}
		c.name()
		c.email()
		c.groups("groups")
		c.check("i", "c", "n", time.Now())
		checkForm(string(b))
	})
}
