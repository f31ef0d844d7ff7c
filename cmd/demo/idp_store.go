package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// account is somebody whom the development issuer lets in without a password.
type account struct {
	Login  string   `json:"login"`
	Name   string   `json:"name"`
	Email  string   `json:"email"`
	Groups []string `json:"groups"`
}

// accounts are the people of the demo.
var accounts = []account{
	{"alice", "Alice Fischer", "alice@example.com", []string{"engineers"}},
	{"bob", "Bob Okafor", "bob@example.com", []string{"contractors"}},
	{"carol", "Carol Lindqvist", "carol@example.com", []string{"auditors"}},
	{"dave", "Dave Moreau", "dave@example.com", []string{"engineers", "on-call"}},
}

func findAccount(login string) (account, bool) {
	i := slices.IndexFunc(accounts, func(a account) bool { return a.Login == login })
	if i < 0 {
		return account{}, false
	}
	return accounts[i], true
}

// How long the parts of a sign-in last, and how often a device may ask.
const (
	deviceLifetime = 10 * time.Minute
	codeLifetime   = time.Minute
	loginLifetime  = 10 * time.Minute
	tokenLifetime  = 5 * time.Minute
	pollInterval   = time.Second
	pollTolerance  = 250 * time.Millisecond
	maxWaiting     = 1000 // sign-ins that wait at the same time
)

var (
	errUnknown = errors.New("unknown, used or expired")
	errFull    = errors.New("too many sign-ins are waiting")
)

// device is one device authorization (RFC 8628).
type device struct {
	code, userCode, client string
	scopes                 []string
	expires, polled        time.Time
	login                  string // who approved it
	denied                 bool
}

// token is what the userinfo endpoint needs to know of an access token.
type token struct {
	subject string
	scopes  []string
	expires time.Time
}

// store is the issuer's memory. Codes count once; what has expired goes when
// something new comes.
type store struct {
	client client
	key    *ecdsa.PrivateKey
	keyID  string

	mu       sync.Mutex // guards what follows
	devices  map[string]*device
	requests map[string]*authRequest
	codes    map[string]*authRequest
	tokens   map[string]token
}

func newStore(c client) (*store, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &store{client: c, key: key, keyID: rand.Text(), devices: map[string]*device{},
		requests: map[string]*authRequest{}, codes: map[string]*authRequest{}, tokens: map[string]token{}}, nil
}

// sweep forgets what has expired. The caller holds mu.
func (s *store) sweep(now time.Time) {
	for k, d := range s.devices {
		if now.After(d.expires.Add(time.Minute)) {
			delete(s.devices, k)
		}
	}
	for _, m := range []map[string]*authRequest{s.requests, s.codes} {
		for k, r := range m {
			if now.After(r.expires) {
				delete(m, k)
			}
		}
	}
	for k, t := range s.tokens {
		if now.After(t.expires) {
			delete(s.tokens, k)
		}
	}
}

// StoreDeviceAuthorization keeps a new device authorization.
func (s *store) StoreDeviceAuthorization(_ context.Context, clientID, deviceCode, userCode string, expires time.Time, scopes []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(time.Now())
	if len(s.devices) >= maxWaiting {
		return errFull
	}
	for _, d := range s.devices {
		if d.userCode == userCode {
			return op.ErrDuplicateUserCode
		}
	}
	s.devices[deviceCode] = &device{code: deviceCode, userCode: userCode, client: clientID, scopes: scopes, expires: expires}
	return nil
}

// GetDeviceAuthorizatonState answers a poll. A poll that comes too soon is told
// to slow down, which the library does for a missed deadline, and an approval
// is handed out once.
func (s *store) GetDeviceAuthorizatonState(_ context.Context, clientID, deviceCode string) (*op.DeviceAuthorizationState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.devices[deviceCode]
	if !ok || d.client != clientID {
		return nil, errUnknown
	}
	now := time.Now()
	soon := now.Sub(d.polled) < pollInterval-pollTolerance
	d.polled = now
	if soon {
		return nil, context.DeadlineExceeded
	}
	state := &op.DeviceAuthorizationState{ClientID: clientID, Audience: []string{clientID}, Scopes: d.scopes, Expires: d.expires, Denied: d.denied}
	expired := now.After(d.expires)
	if d.login != "" && !expired {
		state.Done, state.Subject, state.AuthTime, state.AMR = true, d.login, now, []string{"pwd"}
	}
	if state.Done || d.denied || expired {
		delete(s.devices, deviceCode)
	}
	return state, nil
}

// decide approves or denies the device that shows userCode, once.
func (s *store) decide(userCode, login string, deny bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	userCode = strings.ToUpper(strings.TrimSpace(userCode))
	for _, d := range s.devices {
		if subtle.ConstantTimeCompare([]byte(d.userCode), []byte(userCode)) != 1 {
			continue
		}
		if d.login != "" || d.denied || time.Now().After(d.expires) {
			return errUnknown
		}
		d.denied = deny
		if !deny {
			d.login = login
		}
		return nil
	}
	return errUnknown
}

// finish signs login in to the browser's request id, once.
func (s *store) finish(id, login string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.requests[id]
	if !ok || r.done || time.Now().After(r.expires) {
		return errUnknown
	}
	r.login, r.done, r.authTime = login, true, time.Now()
	return nil
}

// fill sets the claims that scopes ask for.
func fill(u *oidc.UserInfo, login string, scopes []string) error {
	a, ok := findAccount(login)
	if !ok {
		return errUnknown
	}
	for _, scope := range scopes {
		switch scope {
		case oidc.ScopeOpenID:
			u.Subject = a.Login
		case oidc.ScopeProfile:
			u.Name, u.PreferredUsername = a.Name, a.Login
			u.AppendClaims("groups", a.Groups)
		case oidc.ScopeEmail:
			u.Email, u.EmailVerified = a.Email, true
		}
	}
	return nil
}

// signingKey and publicKey are the two halves as the library wants them.
type signingKey struct{ *store }

func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.ES256 }
func (k signingKey) Key() any                                    { return k.key }
func (k signingKey) ID() string                                  { return k.keyID }

type publicKey struct{ *store }

func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.ES256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return &k.key.PublicKey }
func (k publicKey) ID() string                         { return k.keyID }
