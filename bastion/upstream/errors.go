package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"sallyport/policy"
)

// Kind says what went wrong on the way to a target.
type Kind int

// The kinds of errors.
const (
	Unreachable        Kind = iota + 1 // no connection, or no answer in time
	HostKeyMismatch                    // the host is not the one that is registered
	HostKeyUnknown                     // nothing usable is registered for the target
	CertificateRefused                 // the target takes the certificate for nobody
	NoCertificate                      // the bastion could not make one
	Protocol                           // anything else in the SSH protocol
)

// String returns the kind as a word for logs.
func (k Kind) String() string {
	switch k {
	case Unreachable:
		return "unreachable"
	case HostKeyMismatch:
		return "host key mismatch"
	case HostKeyUnknown:
		return "host key unknown"
	case CertificateRefused:
		return "certificate refused"
	case NoCertificate:
		return "no certificate"
	case Protocol:
		return "protocol"
	}
	return fmt.Sprintf("kind %d", int(k))
}

// Error is a failed connection to a target. Error() is for logs and may hold
// internal addresses; UserMessage() is for the user.
type Error struct {
	Kind   Kind
	Target string
	Login  policy.Login
	Err    error
	// Got and Want are fingerprints, set for HostKeyMismatch.
	Got, Want string
}

func newError(kind Kind, req Request, err error) *Error {
	return &Error{Kind: kind, Target: req.Target.Name, Login: req.Login, Err: err}
}

func (e *Error) Error() string {
	return fmt.Sprintf("target %s as %s: %s: %v", e.Target, e.Login, e.Kind, e.Err)
}

// Unwrap returns the detail.
func (e *Error) Unwrap() error { return e.Err }

// UserMessage is one sentence for the user, without internal addresses.
func (e *Error) UserMessage() string {
	switch e.Kind {
	case Unreachable:
		return fmt.Sprintf("%s cannot be reached from the bastion: %s.", e.Target, reach(e.Err))
	case HostKeyMismatch:
		s := fmt.Sprintf("the host key of %s is not the registered one, so nothing was sent to it: it shows %s, registered is %s", e.Target, e.Got, e.Want)
		var k *keyError
		if errors.As(e.Err, &k) && k.reason != "" {
			s += fmt.Sprintf(" (%s)", k.reason)
		}
		return s + "."
	case HostKeyUnknown:
		return fmt.Sprintf("no usable host key is registered for %s, so the bastion does not connect to it.", e.Target)
	case CertificateRefused:
		return fmt.Sprintf("%s refused the bastion's certificate for %s: its TrustedUserCAKeys or AuthorizedPrincipals do not allow it.", e.Target, e.Login)
	case NoCertificate:
		return fmt.Sprintf("the bastion could not make a certificate for %s.", e.Target)
	}
	return fmt.Sprintf("%s does not speak SSH as the bastion expects.", e.Target)
}

// reach says why there is no connection, in words without an address.
func reach(err error) string {
	var dns *net.DNSError
	var netErr net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "its name is not known"
	case errors.As(err, &dns):
		return "its name could not be looked up"
	case errors.Is(err, errForbidden):
		return "its name leads to an address that is not allowed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no route to it"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &netErr) && netErr.Timeout():
		return "it did not answer in time"
	case errors.Is(err, context.Canceled):
		return "the attempt was cancelled"
	case hungUp(err):
		return "it closed the connection"
	}
	return "the connection failed"
}

// hungUp reports whether the other side ended the connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// HostKeyMismatch reports whether the target showed another host key than the
// registered one: somebody should hear of that.
func (e *Error) HostKeyMismatch() bool { return e.Kind == HostKeyMismatch }
