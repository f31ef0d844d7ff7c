package signin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// bounded is a transport whose answers end with an error after maxAnswer bytes.
type bounded struct{ base http.RoundTripper }

var errTooLong = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{resp.Body, maxAnswer}
	return resp, nil
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		var one [1]byte
		if n, err := b.ReadCloser.Read(one[:]); n == 0 {
			return 0, err
		}
		return 0, errTooLong
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}

// checkRedirect follows a few redirections of reads, never from https to http,
// and none of a POST, which carries codes and secrets.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > 3:
		return errors.New("too many redirections")
	case first.Method != http.MethodGet || first.Header.Get("Authorization") != "":
		return errors.New("a request with a secret was redirected")
	case first.URL.Scheme == "https" && req.URL.Scheme != "https":
		return errors.New("redirected from https to http")
	}
	return nil
}

// oauthError is the error member of an OAuth answer (RFC 6749, section 5.2).
type oauthError struct {
	Status      int
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (e *oauthError) Error() string {
	s := fmt.Sprintf("the issuer answered HTTP %d", e.Status)
	if e.Code != "" {
		s += ", " + shorten(e.Code)
	}
	if e.Description != "" {
		s += " (" + shorten(e.Description) + ")"
	}
	return s
}

// temporary reports whether asking again may help.
func (e *oauthError) temporary() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout
}

// post sends form to endpoint as the registered client and decodes the JSON
// answer into v. It returns an *oauthError for any answer that is no success.
func (p *Provider) post(ctx context.Context, m *metadata, endpoint string, form url.Values, v any) error {
	form.Set("client_id", p.cfg.ClientID)
	basic := p.cfg.ClientSecret != "" && m.basicAuth()
	if p.cfg.ClientSecret != "" && !basic {
		form.Set("client_secret", p.cfg.ClientSecret)
	}
	if basic {
		form.Del("client_id")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basic { // RFC 6749, section 2.3.1: both parts are form-encoded first
		pair := url.QueryEscape(p.cfg.ClientID) + ":" + url.QueryEscape(p.cfg.ClientSecret)
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	return p.do(req, v)
}

func (p *Provider) do(req *http.Request, v any) error {
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if errors.Is(err, errTooLong) {
		return fail(BadAnswer, "%s: %w", req.URL.Path, err)
	}
	if err != nil {
		return err
	}
	// Some issuers report an error with status 200.
	oe := &oauthError{}
	decodeErr := json.Unmarshal(body, oe)
	oe.Status = resp.StatusCode
	if resp.StatusCode != http.StatusOK || oe.Code != "" {
		return oe
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "application/json" {
		return fail(BadAnswer, "%s answered %q instead of JSON", req.URL.Path, shorten(kind))
	}
	if decodeErr == nil {
		decodeErr = json.Unmarshal(body, v)
	}
	if decodeErr != nil {
		return fail(BadAnswer, "%s: %w", req.URL.Path, clipped(decodeErr))
	}
	return nil
}

// explain turns a failed request into the failure that the user is told.
func explain(ctx context.Context, what string, err error) *Error {
	if e := ended(ctx); e != nil {
		return e
	}
	if e, ok := asError(err); ok {
		return e
	}
	var oe *oauthError
	if !errors.As(err, &oe) {
		return fail(Unreachable, "%s: %w", what, clipped(err))
	}
	kind := BadAnswer
	switch oe.Code {
	case "access_denied":
		kind = Denied
	case "expired_token", "invalid_grant":
		kind = Expired
	case "invalid_client", "unauthorized_client", "invalid_scope", "invalid_request":
		kind = ClientRejected
	case "unsupported_grant_type":
		kind = NoDeviceFlow
	case "temporarily_unavailable", "server_error":
		kind = Unreachable
	case "":
		if oe.Status == http.StatusUnauthorized || oe.Status == http.StatusForbidden {
			kind = ClientRejected
		}
	}
	if kind == BadAnswer && oe.temporary() {
		kind = Unreachable
	}
	return fail(kind, "%s: %w", what, oe)
}
