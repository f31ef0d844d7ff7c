package bastion

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
	"sallyport/policy"
)

// Bounds of what comes before a session starts. OpenSSH sends some 60 terminal
// modes of 5 bytes, and few variables.
const (
	maxTerm     = 64
	maxModes    = 4096
	maxEnv      = 64
	maxEnvName  = 64
	maxEnvValue = 4096
)

// terminal is what the client asked for with pty-req. Its methods take a nil
// receiver for a session without one.
type terminal struct {
	proxy.PTY
	original []byte      // the payload of pty-req; nil once the size has changed
	seen     policy.Seen // the pty-req
}

// setTerminal checks and keeps a pty-req; a session has at most one.
func (s *session) setTerminal(payload []byte) bool {
	p, err := proxy.ParsePTY(payload)
	if err != nil || s.pty != nil || len(p.Term) > maxTerm || len(p.Modes) > maxModes || !isPrintableASCII(p.Term) {
		return false
	}
	s.pty = &terminal{PTY: p, original: payload}
	return true
}

// resize takes the payload of a window-change before the session has started.
func (t *terminal) resize(payload []byte) bool {
	if t == nil {
		return false
	}
	var m struct{ Cols, Rows, WidthPixel, HighPixel uint32 }
	if err := ssh.Unmarshal(payload, &m); err != nil {
		return false
	}
	t.Cols, t.Rows, t.WidthPixel, t.HighPixel = m.Cols, m.Rows, m.WidthPixel, m.HighPixel
	t.original = nil
	return true
}

// size is the terminal's size, within the bounds of a recording.
func (t *terminal) size() (cols, rows int) { return proxy.ClampSize(t.Cols, t.Rows) }

// payload is the pty-req for the target: verbatim, unless the size changed.
func (t *terminal) payload() []byte {
	if t.original != nil {
		return t.original
	}
	return ssh.Marshal(struct {
		Term                              string
		Cols, Rows, WidthPixel, HighPixel uint32
		Modes                             string
	}{t.Term, t.Cols, t.Rows, t.WidthPixel, t.HighPixel, string(t.Modes)})
}

// envRequest is the payload of an env request (RFC 4254, section 6.4).
type envRequest struct{ Name, Value string }

// envVar is a variable that goes to the target, and the request that set it.
type envVar struct {
	Name, Value string
	seen        policy.Seen
}

// addEnv keeps a variable that the allow-list names (THREATS T37), and the name
// of any.
func (s *session) addEnv(r *ssh.Request) {
	var v envRequest
	if ssh.Unmarshal(r.Payload, &v) != nil {
		s.refuseQuietly(r)
		return
	}
	if name := policy.ShowType(v.Name); len(s.asked) < maxEnv && !slices.Contains(s.asked, name) {
		s.asked = append(s.asked, name)
	}
	if !envAllowed(s.c.s.cfg.EnvAllow, v) {
		s.answer(r, false, seenNoEnv)
		return
	}
	i := slices.IndexFunc(s.env, func(have envVar) bool { return have.Name == v.Name })
	switch {
	case i >= 0:
		s.env[i].seen.Now(seenSuperseded)
		s.env[i] = envVar{v.Name, v.Value, s.answer(r, true, seenEnv)}
	case len(s.env) >= maxEnv:
		s.answer(r, false, seenNoEnv)
	default:
		s.env = append(s.env, envVar{v.Name, v.Value, s.answer(r, true, seenEnv)})
	}
}

// envAllowed reports whether v may reach a target: its name is a plain one, is
// on the list, and its value is one line.
func envAllowed(allow []string, v envRequest) bool {
	if len(v.Name) > maxEnvName || len(v.Value) > maxEnvValue || !isEnvName(v.Name) || strings.ContainsAny(v.Value, "\x00\r\n") {
		return false
	}
	for _, a := range allow {
		if prefix, ok := strings.CutSuffix(a, "*"); ok && strings.HasPrefix(v.Name, prefix) || a == v.Name {
			return true
		}
	}
	return false
}

func isEnvName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && s[i] != '_' {
			return false
		}
	}
	return s != "" && (s[0] < '0' || s[0] > '9')
}

func isPrintableASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
