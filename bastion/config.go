// Package bastion is the front door: it listens, proves who connects, and
// hands every session channel to a target through the recording, or to the
// console. It knows SSH connections and channels (RFC 4252, 4254); what it
// needs beyond them (identities, decisions, recordings, targets) comes in as
// functions.
//
// Every channel and request type is recorded, or refused (DESIGN, invariant
// I3), and whatever cannot be recorded, authorised or verified does not start
// (I4).
package bastion

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
	"sallyport/policy"
)

// Config is what a Server needs from the rest of the system. All functions may
// be called from several goroutines at once. Fields without "optional" are
// required.
//
// An error of these functions is for the log. Where it, or an error that it
// wraps, has a method UserMessage() string, the user reads that sentence;
// otherwise only that it did not work, with the id of the connection.
type Config struct {
	// HostKeys returns what the bastion presents as itself: host
	// certificates and plain keys, at most one of a type.
	HostKeys func(context.Context) ([]ssh.Signer, error)
	// TargetHostKeys returns what the bastion presents in the place of a
	// target to clients that jump through it (ssh -J).
	TargetHostKeys func(ctx context.Context, name string) ([]ssh.Signer, error)

	// Lookup finds a registered target by its name or name.suffix.
	Lookup func(name string) (policy.Target, bool)
	// Targets lists the registered targets.
	Targets func() []policy.Target

	// Identify tells whose key has signed. It returns ErrNotSignedIn for a
	// plain key that nobody is bound to; any other error is a refusal.
	Identify func(context.Context, Credential) (Identity, error)
	// SignIn begins a device flow. It is called for nobody else's key than
	// the one that signed the connection.
	SignIn func(context.Context, SignInRequest) (PendingSignIn, error)

	// Decide is asked again for every channel.
	Decide func(policy.Request) policy.Decision
	// OpenRecording returns once the start of the recording is durable.
	OpenRecording func(context.Context, policy.Session) (proxy.Recording, error)
	// Connect reaches a target. An error with a method HostKeyMismatch()
	// bool that returns true is also entered as a host key mismatch.
	Connect func(context.Context, ConnectRequest) (Upstream, error)
	// Console runs one command of a user and returns its exit status.
	Console func(context.Context, ConsoleCall) int
	// Audit returns once the entry is durable. What cannot be entered does
	// not happen.
	Audit func(context.Context, policy.Entry) error

	// Digests returns the SHA-256, in hex, of the policy and of the
	// configuration in force, which recordings name. Optional.
	Digests func() (policy, config string)
	// Live is told of each session before it runs. It returns the context to
	// run it in, which it may cancel with a cause that the user reads, and
	// what to call when the session is over. Optional.
	Live func(context.Context, policy.SessionID) (context.Context, func())
	// HelpSignIn is the command that signs in, as users of a key without a
	// sign-in are told: "ssh -p 2222 bastion.example.com".
	HelpSignIn string
	// EnvAllow names the environment variables that reach a target; a
	// trailing * stands for any rest. Optional; nil means LANG and LC_*.
	EnvAllow []string
	Limits   Limits           // optional; zero fields mean the defaults
	Log      *slog.Logger     // optional
	Now      func() time.Time // optional; the clock
}

// ErrNotSignedIn is what Identify returns for a plain key that nobody is bound
// to (any more).
var ErrNotSignedIn = errors.New("nobody is signed in with this key")

// Credential is a key that has signed a connection.
type Credential struct {
	Key    ssh.PublicKey // a plain key or an *ssh.Certificate
	User   string        // the user name of the SSH connection, as typed
	Remote net.Addr
}

// Identity is who signed in, proven by Key.
type Identity struct {
	User    policy.User
	Key     policy.Fingerprint // of the plain key; empty when none signed
	Serial  policy.Serial      // of the certificate; 0 when there is none
	Expires time.Time          // no channel is opened from then on
}

// SignInRequest says for which key and from where a sign-in is started.
type SignInRequest struct {
	Key        ssh.PublicKey // nil when no key signed: then nothing is bound
	Source     netip.AddrPort
	Connection policy.ConnectionID
}

// PendingSignIn is a device flow that waits for its user (RFC 8628).
type PendingSignIn interface {
	Prompt() SignInPrompt
	// Wait blocks until the identity provider has an answer or ctx is done.
	// It binds nothing yet.
	Wait(ctx context.Context) (Identity, error)
	// Keep binds the key to what Wait returned. It is called once the
	// sign-in is allowed and entered; until then it does not count.
	Keep(ctx context.Context) error
}

// SignInPrompt is what the user needs to answer a device flow.
type SignInPrompt struct {
	URL, CompleteURL, Code string
	Expires                time.Time
}

// ConnectRequest says which target to reach, as whom and for whom.
type ConnectRequest struct {
	Target     policy.Target
	Login      policy.Login
	User       policy.User
	Connection policy.ConnectionID
}

// Upstream is a connection to a target.
type Upstream interface {
	// OpenSession opens a session channel (RFC 4254, section 6.1).
	OpenSession(context.Context) (ssh.Channel, <-chan *ssh.Request, error)
	// Address is the ADDRESS:PORT that was dialled, and HostKey the
	// fingerprint of the key that the target proved.
	Address() string
	HostKey() policy.Fingerprint
	// Seen lists the channels and requests that the target has begun by
	// itself, and what became of them.
	Seen() []policy.Channel
	// Wait blocks until the connection has ended.
	Wait() error
	Close() error
}

// ConsoleCall is one command that a user runs on the bastion itself.
type ConsoleCall struct {
	Identity Identity
	Key      ssh.PublicKey // the key or certificate that signed; nil for none
	Source   netip.AddrPort
	Args     []string
	In       io.Reader
	Out, Err io.Writer // with a PTY, a line feed goes out as "\r\n"
	PTY      *PTY      // nil when the client asked for none
}

// PTY is the user's terminal.
type PTY struct {
	Term       string
	Cols, Rows int           // 1 to proxy.MaxDimension
	Resize     <-chan [2]int // columns and rows; the newest size only
	// Raw turns the translation of line feeds off (true) and on again.
	Raw func(bool)
}

// Limits bound what clients may take. Zero means the default in brackets.
type Limits struct {
	Handshake time.Duration // to a verified key [10 s]
	// Signing replaces Handshake once a key was offered and a place among
	// SignIns is free: a person may have to type a passphrase or to touch a
	// token before the key can sign [60 s].
	Signing time.Duration
	SignIn  time.Duration // the longest wait for a device flow [10 min]

	Unauthenticated           int // connections before a verified key [256]
	UnauthenticatedPerAddress int // the same, of one address [32]
	SignIns                   int // connections that wait for a person [256]
	SignInsPerAddress         int // the same, of one address [32]
	SignInStarts              int // device flows that one address begins in a minute [60]
	Connections               int // authenticated connections [4096]
	ConnectionsPerAddress     int // the same, of one address [256]
	SessionsPerConnection     int // channels at a time [10]

	Keepalive       time.Duration // silence after which the client is asked [30 s]
	KeepaliveMissed int           // questions without an answer that end it [4]
	Setup           time.Duration // from channel to shell, exec or subsystem [30 s]
	Grace           time.Duration // for live sessions when the server ends [5 s]
	Probe           time.Duration // for a target to say what it is [3 s]
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{
		{&l.Handshake, 10 * time.Second}, {&l.Signing, time.Minute}, {&l.SignIn, 10 * time.Minute},
		{&l.Keepalive, 30 * time.Second}, {&l.Setup, 30 * time.Second}, {&l.Grace, 5 * time.Second}, {&l.Probe, 3 * time.Second},
	} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	for _, n := range []struct {
		p *int
		v int
	}{
		{&l.Unauthenticated, 256}, {&l.UnauthenticatedPerAddress, 32}, {&l.SignIns, 256}, {&l.SignInsPerAddress, 32}, {&l.SignInStarts, 60},
		{&l.Connections, 4096}, {&l.ConnectionsPerAddress, 256}, {&l.SessionsPerConnection, 10}, {&l.KeepaliveMissed, 4},
	} {
		if *n.p <= 0 {
			*n.p = n.v
		}
	}
	return l
}

// check names the first required field that is missing.
func (c *Config) check() error {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"HostKeys", c.HostKeys != nil}, {"TargetHostKeys", c.TargetHostKeys != nil},
		{"Lookup", c.Lookup != nil}, {"Targets", c.Targets != nil},
		{"Identify", c.Identify != nil}, {"SignIn", c.SignIn != nil}, {"Decide", c.Decide != nil},
		{"OpenRecording", c.OpenRecording != nil}, {"Connect", c.Connect != nil},
		{"Console", c.Console != nil}, {"Audit", c.Audit != nil},
	} {
		if !f.set {
			return errors.New("bastion: Config." + f.name + " is not set")
		}
	}
	return nil
}
