package signin

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport/policy"
)

// Bounds of what is kept of a user.
const (
	maxSubject = 255 // bytes, OpenID Connect Core 1.0, section 2
	maxName    = 256 // bytes
	maxEmail   = 254 // bytes, RFC 5321
	maxGroups  = 1000
	maxGroup   = 256 // bytes
)

// user verifies the ID token in answer and returns whom it names. Issuer and
// subject come from the token alone. Issuers that put no groups into ID tokens
// are asked at their userinfo endpoint.
func (p *Provider) user(ctx context.Context, m *metadata, answer *tokenAnswer, nonce string) (policy.User, error) {
	c, err := p.verify(ctx, m, answer, nonce)
	if err != nil {
		return policy.User{}, err
	}
	u := policy.User{Issuer: p.cfg.Issuer}
	if !c.text("sub", &u.Subject) || u.Subject == "" || len(u.Subject) > maxSubject || printable(u.Subject) != u.Subject {
		return policy.User{}, badToken("sub", "the subject is not 1 to %d bytes of printable text", maxSubject)
	}
	if _, ok := c[p.cfg.GroupsClaim]; !ok && m.UserInfo != "" && answer.AccessToken != "" {
		if err := p.addUserInfo(ctx, m, answer.AccessToken, c); err != nil {
			return policy.User{}, err
		}
	}
	u.Name, u.Email = c.name(), c.email()
	u.Groups, err = c.groups(p.cfg.GroupsClaim)
	if err != nil {
		return policy.User{}, err
	}
	return u, nil
}

// addUserInfo adds what the userinfo endpoint says and c does not. An endpoint
// that does not answer fails the sign-in: groups can also forbid.
func (p *Provider) addUserInfo(ctx context.Context, m *metadata, token string, c claims) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.UserInfo, nil)
	if err != nil {
		return explain(ctx, "userinfo", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	var body json.RawMessage
	if err := p.do(req, &body); err != nil {
		return explain(ctx, "userinfo", err)
	}
	info, err := parseObject(body)
	if err != nil {
		return fail(BadAnswer, "userinfo: %w", err)
	}
	var want, got string
	c.text("sub", &want)
	if !info.text("sub", &got) || got != want {
		return badToken("sub", "userinfo is about %q, the token about %q", shorten(got), shorten(want))
	}
	for name, v := range info {
		if _, ok := c[name]; !ok {
			c[name] = v
		}
	}
	return nil
}

// name is how the issuer calls the user, made safe to show.
func (c claims) name() string {
	for _, claim := range []string{"name", "preferred_username"} {
		var s string
		if c.text(claim, &s) {
			if s = clip(strings.TrimSpace(printable(s)), maxName); s != "" {
				return s
			}
		}
	}
	return ""
}

// email is empty unless it can be shown and the issuer does not say that it is
// unverified.
func (c claims) email() string {
	var s string
	verified, present := c["email_verified"]
	switch {
	case !c.text("email", &s) || len(s) > maxEmail || s != printable(s) || strings.ContainsAny(s, " \t"):
		return ""
	case present && string(verified) != "true" && string(verified) != `"true"`:
		return ""
	}
	return s
}

// groups are all there or the sign-in fails: dropping one could drop what a
// policy forbids. One string stands for one group.
func (c claims) groups(claim string) ([]string, error) {
	v, ok := c[claim]
	if !ok || string(v) == "null" {
		return nil, nil
	}
	var items []json.RawMessage
	if v[0] == '"' {
		items = []json.RawMessage{v}
	} else if err := json.Unmarshal(v, &items); err != nil {
		return nil, badToken(shorten(claim), "the claim is neither a string nor an array of strings")
	}
	if len(items) > maxGroups {
		return nil, badToken(shorten(claim), "there are %d groups, want at most %d", len(items), maxGroups)
	}
	groups := make([]string, 0, len(items))
	for i, item := range items {
		var g string
		if item[0] != '"' || json.Unmarshal(item, &g) != nil {
			return nil, badToken(shorten(claim), "group %d is not a string", i+1)
		}
		if g == "" || len(g) > maxGroup || printable(g) != g {
			return nil, badToken(shorten(claim), "group %d is not 1 to %d bytes of printable text", i+1, maxGroup)
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// printable replaces what is not printable, line ends and direction marks
// included.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// clip cuts s to at most n bytes between two characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
