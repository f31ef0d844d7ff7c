package signin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// metadata is what discovery found (OpenID Connect Discovery 1.0, section 3).
type metadata struct {
	Auth        string   `json:"authorization_endpoint"`
	Token       string   `json:"token_endpoint"`
	Device      string   `json:"device_authorization_endpoint"`
	UserInfo    string   `json:"userinfo_endpoint"`
	Keys        string   `json:"jwks_uri"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	Scopes      []string `json:"scopes_supported"`

	keys    oidc.KeySet // fetches keys again when it meets an unknown key id
	refresh time.Time   // when to look again
}

// How long what discovery found counts, and how soon to try again when looking
// again failed.
const (
	discoveryLifetime = time.Hour
	discoveryRetry    = time.Minute
)

// discover returns the issuer's metadata. Calls at the same time share one
// request, and what was found once outlives a failure to look again.
func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	p.mu.Lock()
	m := p.found
	fresh := m != nil && p.now().Before(m.refresh)
	p.mu.Unlock()
	if fresh {
		return m, nil
	}
	ch := p.flight.DoChan("discover", func() (any, error) { return p.lookUp() })
	select {
	case <-ctx.Done():
		return nil, ended(ctx)
	case r := <-ch:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*metadata), nil
	}
}

// lookUp asks the issuer. It belongs to no single caller, so its time limit is
// the client's.
func (p *Provider) lookUp() (*metadata, error) {
	m, err := p.fetchMetadata()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		m.refresh = p.now().Add(discoveryLifetime)
		p.found = m
	case p.found == nil:
		return nil, err
	default:
		kept := *p.found
		kept.refresh = p.now().Add(discoveryRetry)
		p.found = &kept
	}
	return p.found, nil
}

func (p *Provider) fetchMetadata() (*metadata, error) {
	ctx := oidc.ClientContext(context.Background(), p.client)
	op, err := oidc.NewProvider(ctx, p.cfg.Issuer)
	var mismatch *oidc.IssuerMismatchError
	switch {
	case errors.As(err, &mismatch):
		return nil, &Error{Kind: BadAnswer, Err: clipped(err)}
	case err != nil:
		return nil, fail(Unreachable, "looking up the issuer: %w", clipped(err))
	}
	m := &metadata{}
	if err := op.Claims(m); err != nil {
		return nil, fail(BadAnswer, "the issuer's metadata: %w", clipped(err))
	}
	if err := m.check(p.cfg.Issuer); err != nil {
		return nil, &Error{Kind: BadAnswer, Err: err}
	}
	m.keys = oidc.NewRemoteKeySet(ctx, m.Keys)
	return m, nil
}

// check holds every endpoint to be an absolute URL that is as safe as the
// issuer's own.
func (m *metadata) check(issuer string) error {
	for _, e := range []struct {
		name, url string
		required  bool
	}{
		{"authorization_endpoint", m.Auth, false},
		{"token_endpoint", m.Token, true},
		{"device_authorization_endpoint", m.Device, false},
		{"userinfo_endpoint", m.UserInfo, false},
		{"jwks_uri", m.Keys, true},
	} {
		if e.url == "" && !e.required {
			continue
		}
		if err := checkURL(e.url, strings.HasPrefix(issuer, "https:")); err != nil {
			return fmt.Errorf("the issuer's %s %w", e.name, err)
		}
	}
	return nil
}

// basicAuth reports whether the client secret goes into the Authorization
// header, which is the default (OpenID Connect Discovery 1.0, section 3).
func (m *metadata) basicAuth() bool {
	return len(m.AuthMethods) == 0 || slices.Contains(m.AuthMethods, "client_secret_basic") ||
		!slices.Contains(m.AuthMethods, "client_secret_post")
}

// scopes are the configured ones, or what gives a name, an e-mail address and
// groups here.
func (p *Provider) scopes(m *metadata) string {
	s := p.cfg.Scopes
	if s == nil {
		s = []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail}
		if slices.Contains(m.Scopes, p.cfg.GroupsClaim) {
			s = append(s, p.cfg.GroupsClaim)
		}
	}
	return strings.Join(s, " ")
}

// maxURL bounds a URL that an issuer sends, in bytes.
const maxURL = 2048

// checkURL accepts an absolute http or https URL of printable ASCII that does
// not pose as another host.
func checkURL(s string, secure bool) error {
	if len(s) > maxURL {
		return fmt.Errorf("is longer than %d bytes", maxURL)
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return fmt.Errorf("%q is not printable ASCII", shorten(s))
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("%q is not an http or https URL", shorten(s))
	}
	if secure && u.Scheme != "https" {
		return fmt.Errorf("%q is not https, as the issuer is", shorten(s))
	}
	return nil
}
