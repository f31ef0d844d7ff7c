package signin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"

	"golang.org/x/oauth2"

	"sallyport/policy"
)

// verifierForm is the form of a PKCE verifier (RFC 7636, section 4.1).
var verifierForm = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// AuthURL returns where to send a browser. state and nonce are fresh random
// values that the caller keeps in the browser's session, and so is verifier, a
// PKCE verifier of 43 to 128 unreserved characters, whose S256 challenge is
// sent.
func (p *Provider) AuthURL(ctx context.Context, state, nonce, verifier, redirectURL string) (string, error) {
	if state == "" {
		return "", errors.New("an empty state protects nothing")
	}
	if err := checkCodeFlow(nonce, verifier, redirectURL); err != nil {
		return "", err
	}
	m, err := p.discover(ctx)
	if err != nil {
		return "", explain(ctx, "discovery", err)
	}
	if m.Auth == "" {
		return "", fail(BadAnswer, "the issuer's metadata has no authorization_endpoint")
	}
	u, err := url.Parse(m.Auth)
	if err != nil {
		return "", fail(BadAnswer, "the authorization_endpoint: %w", err)
	}
	q := u.Query()
	for k, v := range map[string]string{
		"response_type": "code", "client_id": p.cfg.ClientID, "redirect_uri": redirectURL,
		"scope": p.scopes(m), "state": state, "nonce": nonce,
		"code_challenge": oauth2.S256ChallengeFromVerifier(verifier), "code_challenge_method": "S256",
	} {
		q.Set(k, v)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func checkCodeFlow(nonce, verifier, redirectURL string) error {
	if nonce == "" {
		return errors.New("an empty nonce protects nothing")
	}
	if !verifierForm.MatchString(verifier) {
		return errors.New("the PKCE verifier does not have 43 to 128 unreserved characters")
	}
	if err := checkURL(redirectURL, false); err != nil {
		return fmt.Errorf("the redirect URL %w", err)
	}
	return nil
}

// Exchange redeems the code that the browser brought back, with the nonce,
// verifier and redirectURL of its AuthURL, and returns who signed in. Errors of
// the issuer's making are *Error.
func (p *Provider) Exchange(ctx context.Context, code, nonce, verifier, redirectURL string) (policy.User, error) {
	if err := checkCodeFlow(nonce, verifier, redirectURL); err != nil {
		return policy.User{}, err
	}
	if code == "" || len(code) > maxURL {
		return policy.User{}, fail(Denied, "the authorization code has %d bytes", len(code))
	}
	m, err := p.discover(ctx)
	if err != nil {
		return policy.User{}, explain(ctx, "discovery", err)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURL}, "code_verifier": {verifier}}
	a := &tokenAnswer{}
	if err := p.post(ctx, m, m.Token, form, a); err != nil {
		return policy.User{}, explain(ctx, "redeeming the code", err)
	}
	return p.user(ctx, m, a, nonce)
}
