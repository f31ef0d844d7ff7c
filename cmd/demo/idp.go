package main

import (
	"bytes"
	"crypto/rand"
	"embed"
	"html/template"
	"net/http"

	"github.com/zitadel/oidc/v3/pkg/op"
)

//go:embed pages.html
var pageFiles embed.FS

var pages = template.Must(template.ParseFS(pageFiles, "pages.html"))

// issuer is the development identity provider. It lets anybody in as anybody,
// so it belongs on loopback only.
type issuer struct {
	url   string
	store *store
	http.Handler
}

// newIssuer returns an issuer known as url for one client.
func newIssuer(url string, c client) (*issuer, error) {
	s, err := newStore(c)
	if err != nil {
		return nil, err
	}
	cfg := &op.Config{
		CodeMethodS256:  true,
		SupportedScopes: []string{"openid", "profile", "email"},
		SupportedClaims: []string{"sub", "name", "preferred_username", "email", "email_verified", "groups"},
		DeviceAuthorization: op.DeviceAuthorizationConfig{
			Lifetime: deviceLifetime, PollInterval: pollInterval, UserFormPath: "/device", UserCode: op.UserCodeBase20,
		},
	}
	if _, err := rand.Read(cfg.CryptoKey[:]); err != nil {
		return nil, err
	}
	provider, err := op.NewProvider(cfg, s, op.StaticIssuer(url), op.WithAllowInsecure(), op.WithCORSOptions(nil))
	if err != nil {
		return nil, err
	}
	i := &issuer{url: url, store: s}
	mux := http.NewServeMux()
	mux.Handle("/", provider)
	mux.HandleFunc("GET /device", i.deviceForm)
	mux.HandleFunc("POST /device", i.deviceDecision)
	mux.HandleFunc("GET /login", i.loginForm)
	finished := op.AuthCallbackURL(provider)
	mux.Handle("POST /login", op.NewIssuerInterceptor(provider.IssuerFromRequest).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.PostFormValue("id")
		if i.signedIn(w, r, id) {
			http.Redirect(w, r, finished(r.Context(), id), http.StatusFound)
		}
	}))
	i.Handler = http.MaxBytesHandler(mux, 64<<10)
	return i, nil
}

// page is what the templates show.
type page struct {
	Accounts []account
	UserCode string
	ID       string
	Title    string
	Text     string
}

func show(w http.ResponseWriter, status int, name string, p page) {
	p.Accounts = accounts
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, p); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

func say(w http.ResponseWriter, status int, title, text string) {
	show(w, status, "message", page{Title: title, Text: text})
}

func (i *issuer) deviceForm(w http.ResponseWriter, r *http.Request) {
	show(w, http.StatusOK, "device", page{Title: "Approve a sign-in", UserCode: r.FormValue("user_code")})
}

// deviceDecision takes user_code and login, and action=deny to refuse.
func (i *issuer) deviceDecision(w http.ResponseWriter, r *http.Request) {
	login, deny := r.PostFormValue("login"), r.PostFormValue("action") == "deny"
	a, ok := findAccount(login)
	if !ok && !deny {
		say(w, http.StatusBadRequest, "Who?", "Nobody is called that here.")
		return
	}
	if err := i.store.decide(r.PostFormValue("user_code"), login, deny); err != nil {
		say(w, http.StatusBadRequest, "No such code", "The code is unknown, used or expired. Go back and compare it.")
		return
	}
	if deny {
		say(w, http.StatusOK, "Denied", "The sign-in was denied.")
		return
	}
	say(w, http.StatusOK, "Approved", "You are signed in as "+a.Name+". Go back to the terminal.")
}

func (i *issuer) loginForm(w http.ResponseWriter, r *http.Request) {
	show(w, http.StatusOK, "login", page{Title: "Sign in", ID: r.FormValue("id")})
}

func (i *issuer) signedIn(w http.ResponseWriter, r *http.Request, id string) bool {
	a, ok := findAccount(r.PostFormValue("login"))
	if !ok {
		say(w, http.StatusBadRequest, "Who?", "Nobody is called that here.")
		return false
	}
	if err := i.store.finish(id, a.Login); err != nil {
		say(w, http.StatusBadRequest, "Too late", "This sign-in is unknown, used or expired. Start again.")
		return false
	}
	return true
}
