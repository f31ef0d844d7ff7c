package web

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"net/url"

	"sallyport/policy"
)

// cookieNames are the names of the two cookies. The prefix __Host- makes a
// browser refuse them from another host or without https (RFC 6265bis, 4.1.3).
type cookieNames struct {
	secure        bool
	session, flow string
}

func namesFor(secure bool) cookieNames {
	n := cookieNames{secure: secure, session: "sallyport-session", flow: "sallyport-signin"}
	if secure {
		n.session, n.flow = "__Host-"+n.session, "__Host-"+n.flow
	}
	return n
}

func (n cookieNames) set(w http.ResponseWriter, name, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: seconds,
		Secure: n.secure, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, // strict would not survive the way back from the issuer
	})
}

// value returns a cookie's value, or "". A cookie sent more than once is not
// believed: one of them may have been planted by a neighbouring host.
func (n cookieNames) value(r *http.Request, name string) string {
	if c := r.CookiesNamed(name); len(c) == 1 {
		return c[0].Value
	}
	return ""
}

// handler is a route for somebody who is signed in.
type handler func(w http.ResponseWriter, r *http.Request, who *signedIn)

type whoKey struct{}

// current returns who is signed in, or nil; for pages that are open to all.
func current(r *http.Request) *signedIn {
	who, _ := r.Context().Value(whoKey{}).(*signedIn)
	return who
}

// page lets signed-in users through to h and sends others to sign in.
func (s *server) page(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, r, ok := s.identify(w, r)
		if !ok {
			return
		}
		if who == nil {
			http.Redirect(w, r, "/login?next="+url.QueryEscape(localPath(r.URL.RequestURI())), http.StatusSeeOther)
			return
		}
		h(w, r, who)
	}
}

// api lets signed-in users through to h and tells others to sign in.
func (s *server) api(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, r, ok := s.identify(w, r)
		if !ok {
			return
		}
		if who == nil {
			s.fail(w, r, http.StatusUnauthorized, "You are not signed in.")
			return
		}
		w.Header().Set("Content-Security-Policy", dataPolicy)
		h(w, r, who)
	}
}

// identify returns who asks, or nil for nobody. A user whom policy does not
// let in (any more) loses the session, gets an answer, and ok is false.
func (s *server) identify(w http.ResponseWriter, r *http.Request) (who *signedIn, _ *http.Request, ok bool) {
	cookie := s.cookies.value(r, s.cookies.session)
	who = s.sessions.find(cookie)
	if who == nil {
		return nil, r, true
	}
	if d := s.Still(who.User, source(r)); !d.Allowed {
		s.sessions.end(cookie)
		s.cookies.set(w, s.cookies.session, "", -1)
		s.Log.Info("web session ended by policy", "user", who.User.Principal(), "reason", d.Reason)
		s.fail(w, r, http.StatusForbidden, notAllowed)
		return nil, r, false
	}
	return who, r.WithContext(context.WithValue(r.Context(), whoKey{}, who)), true
}

const notAllowed = "Your session has ended: the policy of this bastion does not let you in, or your account has changed since. You may try to sign in again."

// login sends the browser to the issuer, with what callback will need to know
// in a cookie.
func (s *server) login(w http.ResponseWriter, r *http.Request) {
	fl := s.flows.begin(localPath(r.URL.Query().Get("next")))
	to, err := s.SignIn.AuthURL(r.Context(), fl.State, fl.Nonce, fl.Verifier, s.redirectURL)
	if err != nil {
		s.signInFailed(w, r, http.StatusBadGateway, err)
		return
	}
	sealed, err := s.flows.seal(fl)
	if err != nil {
		s.internal(w, r, err)
		return
	}
	s.cookies.set(w, s.cookies.flow, sealed, int(flowLifetime.Seconds()))
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// callback is where the issuer sends the browser back to (RFC 6749, 4.1.2).
func (s *server) callback(w http.ResponseWriter, r *http.Request) {
	fl, err := s.flows.open(s.cookies.value(r, s.cookies.flow))
	s.cookies.set(w, s.cookies.flow, "", -1) // an answer is taken once
	q := r.URL.Query()
	if err != nil || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(fl.State)) != 1 {
		s.signInFailed(w, r, http.StatusBadRequest, errFlow)
		return
	}
	if q.Get("error") != "" {
		s.Log.Info("issuer refused a web sign-in", "error", q.Get("error"), "description", q.Get("error_description"))
		s.signInFailed(w, r, http.StatusForbidden, errors.New("the identity provider refused the sign-in"))
		return
	}
	u, err := s.SignIn.Exchange(r.Context(), q.Get("code"), fl.Nonce, fl.Verifier, s.redirectURL)
	if err == nil && u.IsZero() {
		err = errors.New("the identity provider named nobody")
	}
	if err != nil {
		s.signInFailed(w, r, http.StatusForbidden, err)
		return
	}
	if err := s.Allow(r.Context(), u, source(r)); err != nil {
		s.Log.Warn("web sign-in refused", "user", u.Principal(), "error", err, "detail", errors.Unwrap(err))
		text := "You cannot be signed in at the moment. The server's log says why."
		var m interface{ UserMessage() string }
		if errors.As(err, &m) {
			text = sentence(m.UserMessage())
		}
		s.fail(w, r, http.StatusForbidden, text)
		return
	}
	s.sessions.end(s.cookies.value(r, s.cookies.session)) // what this browser had before
	s.cookies.set(w, s.cookies.session, s.sessions.start(u).String(), int(sessionLifetime.Seconds()))
	s.Log.Info("web sign-in", "user", u.Principal(), "name", u.String(), "source", source(r))
	http.Redirect(w, r, fl.Next, http.StatusSeeOther)
}

// signInFailed says err, which is fit for the user, and logs what it wraps.
func (s *server) signInFailed(w http.ResponseWriter, r *http.Request, status int, err error) {
	s.Log.Warn("web sign-in failed", "error", err, "detail", errors.Unwrap(err), "source", source(r))
	s.render(w, r, status, "message", message{
		Heading: "Sign-in failed", Text: sentence(err.Error()), Link: "/login", LinkText: "Try again",
	})
}

// askLogout offers the button that logout wants pressed, or says that nobody
// is signed in.
func (s *server) askLogout(w http.ResponseWriter, r *http.Request) {
	_, r, ok := s.identify(w, r)
	if !ok {
		return
	}
	s.render(w, r, http.StatusOK, "logout", nil)
}

// logout ends the session. The form must carry the session's own token.
func (s *server) logout(w http.ResponseWriter, r *http.Request) {
	cookie := s.cookies.value(r, s.cookies.session)
	who := s.sessions.find(cookie)
	if who != nil {
		r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
		if !who.csrfMatches(r.PostFormValue("csrf")) {
			s.fail(w, r, http.StatusForbidden, "This form is out of date. Go back, reload the page and try again.")
			return
		}
		s.sessions.end(cookie)
		s.Log.Info("web sign-out", "user", who.User.Principal())
	}
	s.cookies.set(w, s.cookies.session, "", -1)
	http.Redirect(w, r, "/logout", http.StatusSeeOther)
}

// source returns the client's address, or the zero Addr.
func source(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// userName is how pages show u.
func userName(u policy.User) string { return visible(u.String()) }
