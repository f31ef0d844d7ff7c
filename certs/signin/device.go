package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"sallyport/policy"
)

// Bounds of the device flow, whatever the issuer says.
const (
	maxDeviceLife   = 10 * time.Minute
	defaultInterval = 5 * time.Second // RFC 8628, section 3.2
	minInterval     = time.Second
	maxInterval     = time.Minute
	slowDown        = 5 * time.Second // RFC 8628, section 3.5
	// maxSilence is how long an issuer may be out of reach while we poll.
	maxSilence  = time.Minute
	maxUserCode = 64
)

// Device is one sign-in that waits for a person. What it exports has been
// checked and may be shown: URLs are http or https, all is printable ASCII.
type Device struct {
	VerificationURL string
	CompleteURL     string // with the code in it; may be empty
	UserCode        string
	Expires         time.Time

	flow *deviceFlow // apart, so that no %v prints the device code
}

type deviceFlow struct {
	p          *Provider
	meta       *metadata
	deviceCode string
	verifier   string // empty for a client with a secret
	interval   time.Duration
	deadline   time.Time // with monotonic clock
	used       atomic.Bool
}

// seconds is a number of seconds; some issuers quote it.
type seconds int64

// UnmarshalJSON accepts 300, "300" and null.
func (s *seconds) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	n, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	if err != nil || n != n || n > 1e9 || n < -1e9 {
		return fmt.Errorf("%s is not a number of seconds", shorten(string(b)))
	}
	*s = seconds(n)
	return nil
}

// deviceAnswer is the device authorization response (RFC 8628, section 3.2).
type deviceAnswer struct {
	DeviceCode      string  `json:"device_code"`
	UserCode        string  `json:"user_code"`
	VerificationURI string  `json:"verification_uri"`
	VerificationURL string  `json:"verification_url"` // an old spelling that lives on
	Complete        string  `json:"verification_uri_complete"`
	ExpiresIn       seconds `json:"expires_in"`
	Interval        seconds `json:"interval"`
}

// StartDevice asks the issuer for a user code. The sign-in ends at the latest
// ten minutes later. Errors are *Error.
func (p *Provider) StartDevice(ctx context.Context) (*Device, error) {
	m, err := p.discover(ctx)
	if err != nil {
		return nil, explain(ctx, "discovery", err)
	}
	if m.Device == "" {
		return nil, fail(NoDeviceFlow, "the issuer's metadata has no device_authorization_endpoint")
	}
	f := &deviceFlow{p: p, meta: m}
	form := url.Values{"scope": {p.scopes(m)}}
	if p.cfg.ClientSecret == "" {
		f.verifier = oauth2.GenerateVerifier()
		form.Set("code_challenge", oauth2.S256ChallengeFromVerifier(f.verifier))
		form.Set("code_challenge_method", "S256")
	}
	asked := time.Now()
	var a deviceAnswer
	if err := p.post(ctx, m, m.Device, form, &a); err != nil {
		return nil, explain(ctx, "device authorization", err)
	}
	if err := a.check(strings.HasPrefix(p.cfg.Issuer, "https:")); err != nil {
		return nil, &Error{Kind: BadAnswer, Err: err}
	}
	life := min(time.Duration(a.ExpiresIn)*time.Second, maxDeviceLife)
	f.deviceCode, f.interval, f.deadline = a.DeviceCode, a.pause(), asked.Add(life)
	left := time.Until(f.deadline)
	return &Device{VerificationURL: a.VerificationURI, CompleteURL: a.Complete, UserCode: a.UserCode,
		Expires: p.now().Add(left), flow: f}, nil
}

func (a *deviceAnswer) check(secure bool) error {
	if a.VerificationURI == "" {
		a.VerificationURI = a.VerificationURL
	}
	if a.DeviceCode == "" || a.ExpiresIn <= 0 {
		return errors.New("the device authorization answer lacks device_code or expires_in")
	}
	if a.UserCode == "" || len(a.UserCode) > maxUserCode {
		return fmt.Errorf("the user code has %d bytes, want 1 to %d", len(a.UserCode), maxUserCode)
	}
	for i := 0; i < len(a.UserCode); i++ {
		if a.UserCode[i] < ' ' || a.UserCode[i] > '~' {
			return fmt.Errorf("the user code %q is not printable ASCII", shorten(a.UserCode))
		}
	}
	if err := checkURL(a.VerificationURI, secure); err != nil {
		return fmt.Errorf("the verification_uri %w", err)
	}
	if a.Complete == "" {
		return nil
	}
	if err := checkURL(a.Complete, secure); err != nil {
		return fmt.Errorf("the verification_uri_complete %w", err)
	}
	return nil
}

func (a *deviceAnswer) pause() time.Duration {
	if a.Interval <= 0 {
		return defaultInterval
	}
	return min(max(time.Duration(a.Interval)*time.Second, minInterval), maxInterval)
}

// tokenAnswer is the successful token response (OpenID Connect Core 1.0,
// section 3.1.3.3).
type tokenAnswer struct {
	AccessToken string          `json:"access_token"`
	IDToken     json.RawMessage `json:"id_token"`
}

// Wait polls the issuer until the person has decided, the code has expired or
// ctx ends, and returns who signed in. It can be called once. Errors are
// *Error; that of a cancelled ctx wraps its cause.
func (d *Device) Wait(ctx context.Context) (policy.User, error) {
	f := d.flow
	if f.used.Swap(true) {
		return policy.User{}, fail(Expired, "the device code was used before")
	}
	outer := ctx
	ctx, stop := context.WithDeadlineCause(ctx, f.deadline, errExpired)
	defer stop()
	answer, err := f.poll(ctx)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return policy.User{}, fail(Expired, "%w", context.Cause(ctx))
	}
	if err != nil {
		return policy.User{}, explain(ctx, "polling", err)
	}
	// The person has approved: the rest may outlast the code.
	return f.p.user(outer, f.meta, answer, "")
}

var errExpired = errors.New("the device code has expired")

// poll asks at the issuer's pace until there is an answer. An issuer out of
// reach is asked less often, as RFC 8628, section 3.5 wants, and given up after
// maxSilence.
func (f *deviceFlow) poll(ctx context.Context) (*tokenAnswer, error) {
	interval, pause, silent := f.interval, f.interval, time.Duration(0)
	for {
		if err := f.p.wait(ctx, pause); err != nil {
			return nil, err
		}
		answer, err := f.ask(ctx)
		if err == nil {
			return answer, nil
		}
		var oe *oauthError
		isOAuth := errors.As(err, &oe)
		switch {
		case isOAuth && oe.Code == "authorization_pending":
			pause, silent = interval, 0
		case isOAuth && oe.Code == "slow_down":
			interval = min(interval+slowDown, maxInterval)
			pause, silent = interval, 0
		case !isOAuth || oe.temporary():
			if _, described := asError(err); described || silent >= maxSilence {
				return nil, err
			}
			pause = min(2*pause, maxInterval)
			silent += pause
		default:
			return nil, err
		}
	}
}

func (f *deviceFlow) ask(ctx context.Context) (*tokenAnswer, error) {
	form := url.Values{
		"grant_type":  {"urn:ietf:params:oauth:grant-type:device_code"},
		"device_code": {f.deviceCode},
	}
	if f.verifier != "" {
		form.Set("code_verifier", f.verifier)
	}
	a := &tokenAnswer{}
	return a, f.p.post(ctx, f.meta, f.meta.Token, form, a)
}
