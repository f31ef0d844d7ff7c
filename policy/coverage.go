package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// What a Channel of a coverage list is.
const (
	KindChannel = "channel"
	KindRequest = "request" // on the channel of the session itself
	KindGlobal  = "global"  // a request of the connection (RFC 4254, section 4)
)

// Who opened a channel or sent a request.
const (
	FromClient  = "client"
	FromTarget  = "target"
	FromBastion = "bastion" // on its own account: what it passes on is listed where it came from
)

// OtherTypes stands in a coverage list for the types beyond the ones that it
// names. No name from the wire looks like it, since ShowType escapes spaces.
const OtherTypes = "other types"

// Bounds of a coverage list: names that nobody knows, of one kind and sender,
// and the bytes of one that are kept (RFC 4250, section 4.6.1 allows 64).
const (
	maxTypes    = 16
	maxTypeName = 64
)

// Outcome is what became of a channel or a request: whether a recording holds
// it and, in one of few sentences of ours, what of it is missing there and why.
type Outcome struct {
	Captured bool
	Note     string
}

// Coverage counts the channels and requests of a connection or a session. A
// hostile peer cannot make it grow without bound: types that no SSH
// implementation in use knows are named up to a number, and counted together
// from there on. The zero value is ready, and its methods may be called from
// several goroutines at once.
type Coverage struct {
	mu     sync.Mutex
	rows   []Channel         // guarded by mu; never shrinks
	others map[[2]string]int // unknown types by kind and sender; guarded by mu
}

// Seen is one channel or request that a Coverage counts. Its zero value counts
// nowhere.
type Seen struct {
	c   *Coverage
	row *int // of c.rows, -1 when it does not count any more; guarded by c.mu
}

// Add counts a channel or request. wireType is as it came; o is what is known
// of it so far.
func (c *Coverage) Add(kind, wireType, from string, o Outcome) Seen {
	if c == nil {
		return Seen{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	row := c.row(Channel{Kind: kind, Type: c.typeName(kind, wireType, from), From: from, Captured: o.Captured, Note: o.Note})
	c.rows[row].Count++
	return Seen{c, &row}
}

// Now says that s turned out to be o.
func (s Seen) Now(o Outcome) {
	if s.c == nil {
		return
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if *s.row < 0 {
		return
	}
	as := s.c.rows[*s.row]
	as.Captured, as.Note = o.Captured, o.Note
	s.c.rows[*s.row].Count--
	*s.row = s.c.row(as)
	s.c.rows[*s.row].Count++
}

// Forget counts s no more: somebody else does.
func (s Seen) Forget() {
	if s.c == nil {
		return
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if *s.row >= 0 {
		s.c.rows[*s.row].Count--
		*s.row = -1
	}
}

// List returns what was counted, in the order in which it first came. The
// channels of except are left out.
func (c *Coverage) List(except ...Seen) []Channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	rows := slices.Clone(c.rows)
	for _, s := range except {
		if s.c == c && *s.row >= 0 {
			rows[*s.row].Count--
		}
	}
	return slices.DeleteFunc(rows, func(r Channel) bool { return r.Count <= 0 })
}

// row finds or adds the row that is like want but for its count.
func (c *Coverage) row(want Channel) int {
	for i, have := range c.rows {
		if want.Count = have.Count; have == want {
			return i
		}
	}
	want.Count = 0
	c.rows = append(c.rows, want)
	return len(c.rows) - 1
}

// typeName is what the list calls a type.
func (c *Coverage) typeName(kind, wireType, from string) string {
	name := ShowType(wireType)
	if slices.Contains(forwardTypes, wireType) || slices.Contains(sessionTypes, wireType) || slices.ContainsFunc(c.rows, func(r Channel) bool {
		return r.Kind == kind && r.From == from && r.Type == name
	}) {
		return name
	}
	group := [2]string{kind, from}
	if c.others[group] >= maxTypes {
		return OtherTypes
	}
	if c.others == nil {
		c.others = map[[2]string]int{}
	}
	c.others[group]++
	return name
}

// ShowType makes the name of a channel or request type fit for a list: its
// first 64 bytes, in which all but printable ASCII characters, and a space and
// a backslash too, stand as \xHH, so that two such names never look alike.
func ShowType(wireType string) string {
	cut := wireType
	if len(cut) > maxTypeName {
		cut = cut[:maxTypeName]
	}
	var b strings.Builder
	for _, c := range []byte(cut) {
		if c <= ' ' || c == '\\' || c >= 0x7f {
			fmt.Fprintf(&b, `\x%02x`, c)
			continue
		}
		b.WriteByte(c)
	}
	if n := len(wireType) - len(cut); n > 0 {
		fmt.Fprintf(&b, `\and %d bytes more`, n)
	}
	if b.Len() == 0 {
		return `\empty`
	}
	return b.String()
}

// Refused is what becomes of a channel or request that is refused for its type
// alone, or because it comes at a time or in a form that is not allowed.
func Refused(wireType string) Outcome {
	switch {
	case slices.Contains(forwardTypes, wireType):
		return Outcome{Note: "refused: nothing is forwarded"}
	case slices.Contains(sessionTypes, wireType):
		return Outcome{Note: "refused: not allowed here, or malformed"}
	}
	return Outcome{Note: "refused: unknown type"}
}

// The channel and request types of RFC 4254, RFC 4335 and OpenSSH (PROTOCOL),
// which a list names however many others there are.
var (
	forwardTypes = []string{
		"x11", "direct-tcpip", "forwarded-tcpip", "direct-streamlocal@openssh.com", "forwarded-streamlocal@openssh.com",
		"tun@openssh.com", "auth-agent@openssh.com", "auth-agent", "x11-req", "auth-agent-req@openssh.com", "auth-agent-req",
		"tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com", "cancel-streamlocal-forward@openssh.com",
	}
	sessionTypes = []string{
		"session", "hostkeys-00@openssh.com", "hostkeys-prove-00@openssh.com", "no-more-sessions@openssh.com", "keepalive@openssh.com",
		"pty-req", "env", "shell", "exec", "subsystem", "window-change", "signal", "break", "xon-xoff",
		"exit-status", "exit-signal", "eow@openssh.com",
	}
)
