package bastion

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport/policy"
)

// Longest names, in bytes. A login is what useradd and directory services
// make; a target is a DNS name (RFC 1035, section 2.3.4).
const (
	maxUserName = 512
	maxLogin    = 64
	maxTarget   = 255
)

// userName is the user name of an SSH connection, taken apart.
type userName struct {
	Login  policy.Login // empty without a target
	Target string       // empty when the name is not LOGIN@TARGET
}

// parseUserName reads "LOGIN@TARGET", split at the last '@', since a login may
// hold one itself. A name without '@' names no target and may be anything that
// can be printed: clients send the local user's name. Errors are for the user.
func parseUserName(s string) (userName, error) {
	if len(s) > maxUserName {
		return userName{}, refusef("The user name is longer than %d bytes.", maxUserName)
	}
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			return userName{}, refusef("The user name has characters that cannot be printed.")
		}
		return userName{}, nil
	}
	login, target := s[:i], s[i+1:]
	if err := checkLogin(login); err != nil {
		return userName{}, err
	}
	if err := checkTargetName(target); err != nil {
		return userName{}, err
	}
	return userName{policy.Login(login), target}, nil
}

// checkLogin accepts letters, digits and . _ - + @ \ $, not starting with '-'
// (an option to somebody) or '@'.
func checkLogin(s string) error {
	switch {
	case s == "":
		return refusef("The login before '@' is empty; want LOGIN@TARGET, for example root@db1.")
	case len(s) > maxLogin:
		return refusef("The login is longer than %d characters.", maxLogin)
	case s[0] == '-' || s[0] == '@':
		return refusef("A login cannot start with %q.", s[:1])
	}
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte(`._-+@\$`, s[i]) < 0 {
			return refusef(`The login %q has a character that is not allowed; letters, digits and . _ - + @ \ $ are.`, printable(s, maxLogin))
		}
	}
	return nil
}

// checkTargetName accepts what can name a host: letters, digits, '.', '_' and
// '-', starting with a letter or digit.
func checkTargetName(s string) error {
	switch {
	case s == "":
		return refusef("The target after '@' is empty; want LOGIN@TARGET, for example root@db1.")
	case len(s) > maxTarget:
		return refusef("The target's name is longer than %d characters.", maxTarget)
	case !isAlnum(s[0]):
		return refusef("A target's name starts with a letter or a digit.")
	}
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte("._-", s[i]) < 0 {
			return refusef("The target's name %q has a character that is not allowed; letters, digits and . _ - are.", printable(s, maxTarget))
		}
	}
	return nil
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
