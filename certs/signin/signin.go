// Package signin turns an OpenID Connect issuer's signed claims into a
// policy.User: the device authorization grant for people at a terminal
// (RFC 8628) and the authorization code with PKCE for browsers (RFC 7636).
//
// Whatever the issuer answers is input from outside. Its answers are bounded,
// what will be shown to a person is checked, and an ID token counts only when
// every check of OpenID Connect Core 1.0, section 3.1.3.7 holds.
package signin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Config names the issuer and how this bastion is registered there. Issuer and
// ClientID are required.
type Config struct {
	// Issuer is the issuer's URL, exactly as it stands in its tokens.
	Issuer       string
	ClientID     string
	ClientSecret string // empty: a public client, which proves itself with PKCE
	// Scopes to ask for; nil means openid, profile, email and, when the issuer
	// offers a scope of that name, the groups claim.
	Scopes []string
	// GroupsClaim is the claim that lists groups; empty means "groups".
	GroupsClaim string
	// CAFile holds PEM certificates that are trusted for the issuer besides the
	// system's.
	CAFile string
	// HTTPClient, if set, lends its transport; its time limit only where it is
	// shorter than ours.
	HTTPClient *http.Client
	Now        func() time.Time // nil means time.Now
}

// Limits on what an issuer may send or ask for.
const (
	maxAnswer      = 1 << 20          // bytes of any one HTTP answer
	requestTimeout = 10 * time.Second // of any one HTTP request
)

// Provider signs people in at one issuer. It is safe for concurrent use.
type Provider struct {
	cfg    Config
	client *http.Client
	now    func() time.Time
	// wait blocks for d or until ctx ends. Tests replace it to measure pauses.
	wait func(ctx context.Context, d time.Duration) error

	flight singleflight.Group
	mu     sync.Mutex
	found  *metadata // what discovery found last; mu guards it
}

// New checks c and returns a Provider. It does not dial: the issuer is looked
// up when it is first needed, and again while it cannot be reached.
func New(c Config) (*Provider, error) {
	if err := checkIssuer(c.Issuer); err != nil {
		return nil, err
	}
	if c.ClientID == "" {
		return nil, errors.New("the OIDC client id is empty")
	}
	if c.GroupsClaim == "" {
		c.GroupsClaim = "groups"
	}
	if c.Scopes != nil && !slices.Contains(c.Scopes, "openid") {
		return nil, errors.New(`the OIDC scopes do not contain "openid", without which there is no ID token`)
	}
	p := &Provider{cfg: c, now: c.Now, wait: sleep}
	if p.now == nil {
		p.now = time.Now
	}
	var err error
	p.client, err = newClient(c)
	return p, err
}

func checkIssuer(s string) error {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the OIDC issuer %q is not an http or https URL without query and fragment", s)
	}
	return nil
}

// newClient returns a client whose answers are bounded in time and size, and
// that never carries a code or a secret along a redirection.
func newClient(c Config) (*http.Client, error) {
	var base http.RoundTripper
	timeout := requestTimeout
	if c.HTTPClient != nil {
		base = c.HTTPClient.Transport
		if t := c.HTTPClient.Timeout; t > 0 && t < timeout {
			timeout = t
		}
	}
	if c.CAFile != "" {
		if base != nil {
			return nil, errors.New("a CA file and a transport of the caller's exclude each other")
		}
		t := http.DefaultTransport.(*http.Transport).Clone()
		pool, err := loadCAs(c.CAFile)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		base = t
	}
	if base == nil {
		base = http.DefaultTransport
	}
	return &http.Client{Transport: bounded{base}, Timeout: timeout, CheckRedirect: checkRedirect}, nil
}

func loadCAs(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the issuer's CA file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the issuer's CA file %s holds no PEM certificate", path)
	}
	return pool, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
