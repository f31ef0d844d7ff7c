// Package policy holds the words that every other package of Sallyport speaks
// (User, Target, Session, Decision, Entry, …) and the Cedar engine that turns a
// Request into a Decision. It is pure: it dials nothing, stores nothing, and
// imports nothing of ours, so a reader of this file knows the system.
package policy

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// User is a person or a job, as the issuer's signed claims name them. Issuer
// and Subject together are the identity (OpenID Connect Core 1.0, section 2);
// the rest describes it and may change between sign-ins.
type User struct {
	Issuer  string   `json:"issuer"`
	Subject string   `json:"subject"`
	Name    string   `json:"name,omitempty"`
	Email   string   `json:"email,omitempty"`
	Groups  []string `json:"groups,omitempty"`
}

// Principal is the only name that a client certificate carries: "u-" and 32
// lower-case base32 characters.
type Principal string

// Principal returns the certificate principal of u. Names and e-mail addresses
// leave the character set that every SSH implementation treats alike (THREATS
// T3), so it is "u-" and the first 160 bits of SHA-256 over the issuer, a NUL
// and the subject.
func (u User) Principal() Principal {
	sum := sha256.Sum256([]byte(u.Issuer + "\x00" + u.Subject))
	return Principal("u-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:20])))
}

// String is how people see u: the e-mail address, else the name, else the
// subject.
func (u User) String() string {
	for _, s := range []string{u.Email, u.Name, u.Subject} {
		if s != "" {
			return s
		}
	}
	return "nobody"
}

// IsZero reports whether u names nobody.
func (u User) IsZero() bool { return u.Issuer == "" || u.Subject == "" }

type (
	// Login is an account on a target, for example "root".
	Login string
	// SessionID names one SSH session channel and the recording it leaves.
	SessionID string
	// ConnectionID names one SSH connection, which may hold several sessions.
	ConnectionID string
	// Fingerprint is "SHA256:" and unpadded base64, as ssh-keygen -l prints it.
	Fingerprint string
	// Serial is a certificate serial (PROTOCOL.certkeys), never used twice.
	Serial uint64
	// Action is what a user wants to do; see the Action constants.
	Action string
)

// The actions that policies decide about.
const (
	ActionSignIn     Action = "signIn"
	ActionShell      Action = "shell"
	ActionExec       Action = "exec"
	ActionSFTP       Action = "sftp"
	ActionForward    Action = "forward"
	ActionAgent      Action = "agent"
	ActionCommand    Action = "command"
	ActionReplay     Action = "replay"
	ActionReplayRaw  Action = "replayRaw"
	ActionWatch      Action = "watch"
	ActionJoin       Action = "join"
	ActionTerminate  Action = "terminate"
	ActionApprove    Action = "approve"
	ActionRequest    Action = "request"
	ActionAuditKeys  Action = "auditKeys"
	ActionRevokeKeys Action = "revokeKeys"
	ActionAdminister Action = "administer"
)

// Target is a server that users reach through the bastion.
type Target struct {
	Name    string            `json:"name"`
	Address string            `json:"address"` // HOST:PORT that the bastion dials
	Labels  map[string]string `json:"labels,omitempty"`
	Logins  []Login           `json:"logins"`
	// HostKeys are the public keys that the target may present, and HostCAs
	// the authorities that may have signed its host certificate, both in
	// authorized_keys format. A target has at least one of either.
	HostKeys []string `json:"host_keys,omitempty"`
	HostCAs  []string `json:"host_cas,omitempty"`
}

// Allows reports whether the configuration lists l for t.
func (t Target) Allows(l Login) bool {
	for _, x := range t.Logins {
		if x == l {
			return true
		}
	}
	return false
}

// Request asks whether User may do Action.
type Request struct {
	User   User
	Action Action
	// Target is the resource. Its zero value stands for the bastion itself
	// (signIn, administer).
	Target Target
	Login  Login // empty where the action has none
	// Owner is whose recording a replay, watch or join is about.
	Owner  User
	Source netip.Addr // the client's address; invalid when there is none
}

// Obligations come with a permit: annotations of the deciding policies, merged
// strictest first. A zero value means that no policy said anything.
type Obligations struct {
	CertTTL     time.Duration // @cert_ttl: the certificate's longest lifetime
	MaxSession  time.Duration // @max_session
	IdleTimeout time.Duration // @idle_timeout
	Redact      bool          // @redact("all"): also mask streams without a terminal
	Retention   time.Duration // @retention: how long a recording is kept at least; the longest counts
	Context     bool          // @context("probe"): ask the target what it is
}

// Decision answers a Request.
type Decision struct {
	Allowed     bool
	Policies    []string // ids of the policies that decided, "FILE:LINE" or @id
	Reason      string   // one sentence for logs and policy explain
	Obligations Obligations
}

// Entry is one line of the ledger: a decision or an event that an auditor
// will ask about.
type Entry struct {
	Time    time.Time         `json:"time"` // set by the ledger when zero
	Kind    EntryKind         `json:"kind"`
	User    *User             `json:"user,omitempty"`
	Session SessionID         `json:"session,omitempty"`
	Target  string            `json:"target,omitempty"`
	Login   Login             `json:"login,omitempty"`
	Source  string            `json:"source,omitempty"` // client address
	Detail  map[string]string `json:"detail,omitempty"` // never a secret
	// Ref holds what anybody may read: numbers, digests and states, never a
	// name or an address. It stays when the rest, the entry's body, is erased.
	Ref map[string]string `json:"ref,omitempty"`
}

// EntryKind says what an Entry is about.
type EntryKind string

// The kinds of entries.
const (
	EntryNodeStart     EntryKind = "node.start"
	EntryNodeStop      EntryKind = "node.stop"
	EntryPolicyLoad    EntryKind = "policy.load"
	EntrySignIn        EntryKind = "signin"
	EntrySignInFailed  EntryKind = "signin.failed"
	EntryCertificate   EntryKind = "certificate"
	EntryAuthRefused   EntryKind = "auth.refused"
	EntryPermit        EntryKind = "permit"
	EntryDeny          EntryKind = "deny"
	EntrySessionStart  EntryKind = "session.start"
	EntrySessionEnd    EntryKind = "session.end"
	EntryHostKey       EntryKind = "hostkey.mismatch"
	EntryChannelDenied EntryKind = "channel.refused"
	EntryView          EntryKind = "view"
	EntryExport        EntryKind = "export"
	EntryConfig        EntryKind = "config.load"

	// The recorder's own. Ref of a start: "key" (SHA-256 of the key object);
	// of a segment: "segment" (its number from 0), "sha256", "size"; of an
	// end: "manifest" (SHA-256), "segments" (how many), "state".
	EntryRecordingStart   EntryKind = "recording.start"
	EntryRecordingSegment EntryKind = "recording.segment"
	EntryRecordingEnd     EntryKind = "recording.end"
	// The archive's. Ref of a shredding: "key" (SHA-256 of the key object).
	EntryHold   EntryKind = "hold"
	EntryUnhold EntryKind = "hold.lift"
	EntryShred  EntryKind = "recording.shred"
	// The ledger's: somebody let a ledger start that does not fit what is
	// remembered of it. Ref: "size" and "root" of both.
	EntryRollback EntryKind = "ledger.override"
)

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewSessionID returns an id that sorts by time: 48 bits of Unix milliseconds
// and 80 random bits, as 26 characters of Crockford's base32.
func NewSessionID(now time.Time) SessionID {
	var b [16]byte
	ms := uint64(now.UnixMilli())
	for i := 0; i < 6; i++ {
		b[i] = byte(ms >> (40 - 8*i))
	}
	rand.Read(b[6:])
	return SessionID(idEncoding.EncodeToString(b[:]))
}

// NewConnectionID returns a fresh id of the same form as a SessionID.
func NewConnectionID(now time.Time) ConnectionID { return ConnectionID(NewSessionID(now)) }

// ParseSessionID accepts exactly what NewSessionID makes, so that an id can be
// part of a file name.
func ParseSessionID(s string) (SessionID, error) {
	if len(s) != 26 {
		return "", fmt.Errorf("session id %q: want 26 characters", clip(s))
	}
	for _, c := range s {
		if !strings.ContainsRune("0123456789abcdefghjkmnpqrstvwxyz", c) {
			return "", fmt.Errorf("session id %q: character %q is not allowed", clip(s), c)
		}
	}
	return SessionID(s), nil
}

// Time returns when id was made, in milliseconds, or the zero time where it is
// no id.
func (id SessionID) Time() time.Time {
	b, err := idEncoding.DecodeString(string(id))
	if err != nil || len(b) != 16 {
		return time.Time{}
	}
	ms := int64(0)
	for _, x := range b[:6] {
		ms = ms<<8 | int64(x)
	}
	return time.UnixMilli(ms).UTC()
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
