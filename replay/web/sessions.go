package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"sync"
	"time"

	"sallyport/policy"
)

const (
	sessionLifetime = 8 * time.Hour // from sign-in, however busy the session is
	maxSessions     = 20_000        // of all users
	maxUserSessions = 20            // of one user; a further one ends the oldest
)

// token is 256 random bits that a browser holds in a cookie. The server keeps
// only their hash, so that a copy of its memory opens no session.
type token [32]byte

func newToken() token {
	var t token
	rand.Read(t[:])
	return t
}

func (t token) String() string { return base64.RawURLEncoding.EncodeToString(t[:]) }

// parseToken accepts exactly what String makes.
func parseToken(s string) (token, bool) {
	var t token
	if len(s) != base64.RawURLEncoding.EncodedLen(len(t)) {
		return t, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(t[:], []byte(s))
	return t, err == nil && n == len(t)
}

// signedIn is one browser's session.
type signedIn struct {
	User    policy.User
	csrf    token
	expires time.Time
}

// CSRF is what a form of this session must send back.
func (i *signedIn) CSRF() string { return i.csrf.String() }

// csrfMatches reports whether sent is what CSRF returned, in constant time.
func (i *signedIn) csrfMatches(sent string) bool {
	t, ok := parseToken(sent)
	return ok && subtle.ConstantTimeCompare(t[:], i.csrf[:]) == 1
}

// sessions holds who is signed in. They end with the process.
type sessions struct {
	now func() time.Time

	mu     sync.Mutex
	byHash map[[32]byte]*signedIn
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, byHash: map[[32]byte]*signedIn{}}
}

// start makes a session for u and returns its token, which nobody held before.
func (s *sessions) start(u policy.User) token {
	t := newToken()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.evict(u, now)
	s.byHash[sha256.Sum256(t[:])] = &signedIn{User: u, csrf: newToken(), expires: now.Add(sessionLifetime)}
	return t
}

// evict makes room for a session of u: what has expired goes, then the oldest
// of u's own beyond their number, then the oldest of all beyond theirs. s.mu
// is held.
func (s *sessions) evict(u policy.User, now time.Time) {
	var own int
	var oldest, oldestOwn [32]byte
	var first, firstOwn time.Time
	for h, i := range s.byHash {
		if !now.Before(i.expires) {
			delete(s.byHash, h)
			continue
		}
		if first.IsZero() || i.expires.Before(first) {
			oldest, first = h, i.expires
		}
		if i.User.Issuer == u.Issuer && i.User.Subject == u.Subject {
			own++
			if firstOwn.IsZero() || i.expires.Before(firstOwn) {
				oldestOwn, firstOwn = h, i.expires
			}
		}
	}
	switch {
	case own >= maxUserSessions:
		delete(s.byHash, oldestOwn)
	case len(s.byHash) >= maxSessions:
		delete(s.byHash, oldest)
	}
}

// find returns the session whose token is cookie, or nil.
func (s *sessions) find(cookie string) *signedIn {
	t, ok := parseToken(cookie)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := sha256.Sum256(t[:])
	i := s.byHash[h]
	if i != nil && !s.now().Before(i.expires) {
		delete(s.byHash, h)
		return nil
	}
	return i
}

// end forgets the session whose token is cookie, if there is one.
func (s *sessions) end(cookie string) {
	t, ok := parseToken(cookie)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byHash, sha256.Sum256(t[:]))
}
