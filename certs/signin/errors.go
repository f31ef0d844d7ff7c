package signin

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Kind says why a sign-in failed.
type Kind int

// The kinds of failure.
const (
	Unreachable    Kind = iota + 1 // no answer, a broken connection, a 5xx
	Denied                         // the person or the issuer said no
	Expired                        // nobody approved in time, or the code was used before
	ClientRejected                 // the issuer does not know us, or not for this flow or scope
	NoDeviceFlow                   // the issuer has no device authorization endpoint
	BadAnswer                      // the issuer broke the protocol
	BadToken                       // the ID token or a claim in it does not hold
	Cancelled                      // the caller's context ended
)

// Error is a failed sign-in. Error returns one sentence for the person who
// signs in, without addresses and secrets; Unwrap returns the detail, which is
// for the log and holds no secret either.
type Error struct {
	Kind  Kind
	Claim string // for BadToken: the claim or part of the token that failed
	Err   error
}

// Error returns the sentence for the user.
func (e *Error) Error() string {
	switch e.Kind {
	case Unreachable:
		return "The identity provider cannot be reached; try again later."
	case Denied:
		return "The sign-in was denied at the identity provider."
	case Expired:
		return "The sign-in was not approved in time; start again for a new code."
	case ClientRejected:
		return "The identity provider does not accept this bastion's client registration; tell your administrator."
	case NoDeviceFlow:
		return "The identity provider does not offer the device flow to this bastion; tell your administrator."
	case BadToken:
		return fmt.Sprintf("The identity provider's token was refused because of its %s; tell your administrator.", e.Claim)
	case Cancelled:
		return "The sign-in was cancelled."
	}
	return "The identity provider gave an answer that is not valid; tell your administrator."
}

// UserMessage returns the same sentence as Error.
func (e *Error) UserMessage() string { return e.Error() }

// Unwrap returns the detail for the log.
func (e *Error) Unwrap() error { return e.Err }

func fail(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Err: fmt.Errorf(format, args...)}
}

func badToken(claim, format string, args ...any) *Error {
	return &Error{Kind: BadToken, Claim: claim, Err: fmt.Errorf(format, args...)}
}

// ended is the failure that ctx stands for, or nil while ctx goes on. A caller
// whose time has run out was waiting for the issuer.
func ended(ctx context.Context) *Error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Kind: Unreachable, Err: context.Cause(ctx)}
	}
	return &Error{Kind: Cancelled, Err: context.Cause(ctx)}
}

// shorten bounds what an issuer can make us log, and escapes it.
func shorten(s string) string {
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	q := fmt.Sprintf("%q", s)
	return q[1 : len(q)-1]
}

// clipped is an error of a library whose text holds what the issuer sent.
func clipped(err error) error {
	if s := err.Error(); shorten(s) != s {
		return &clippedError{shorten(s), err}
	}
	return err
}

type clippedError struct {
	text string
	err  error
}

func (e *clippedError) Error() string { return e.text }
func (e *clippedError) Unwrap() error { return e.err }

// asError finds a failure that is already described.
func asError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}
