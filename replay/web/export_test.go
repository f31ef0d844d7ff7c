package web

// Patterns returns the routes, for the test that must name each of them.
func Patterns() []string {
	var all []string
	for _, r := range new(server).routes(nil) {
		all = append(all, r.pattern)
	}
	return all
}

// The names of the cookies, without and with https.
var PlainCookies, SecureCookies = namesFor(false), namesFor(true)

// SessionCookie is the name of the cookie that opens a session.
func (n cookieNames) SessionCookie() string { return n.session }

// FlowCookie is the name of the cookie of a sign-in under way.
func (n cookieNames) FlowCookie() string { return n.flow }
