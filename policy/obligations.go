package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	cedar "github.com/cedar-policy/cedar-go"
)

// parseAnnotations reads the obligations of one policy. An annotation that
// nobody knows is an error, since a mistyped one would be a rule that is lost.
func parseAnnotations(all cedar.Annotations) (Obligations, error) {
	var o Obligations
	for name, value := range all {
		var err error
		switch name {
		case "id", "description":
		case "cert_ttl":
			o.CertTTL, err = positiveDuration(string(value))
		case "max_session":
			o.MaxSession, err = positiveDuration(string(value))
		case "idle_timeout":
			o.IdleTimeout, err = positiveDuration(string(value))
		case "redact":
			o.Redact = value == "all"
			if !o.Redact {
				err = fmt.Errorf("want \"all\", found %q", value)
			}
		case "retention":
			o.Retention, err = retention(string(value))
		case "context":
			o.Context = value == "probe"
			if !o.Context {
				err = fmt.Errorf("want \"probe\", found %q", value)
			}
		default:
			err = fmt.Errorf("unknown annotation; known: id, description, cert_ttl, max_session, idle_timeout, redact, retention, context")
		}
		if err != nil {
			return o, fmt.Errorf("@%s: %w", name, err)
		}
	}
	return o, nil
}

func positiveDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("want a duration such as 30m or 8h, found %q", s)
	}
	return d, nil
}

// retention takes a duration, or whole days such as 90d.
func retention(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 16)
		if err == nil && days > 0 {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("want days such as 90d, or a duration such as 12h, found %q", s)
	}
	return d, nil
}

// strictest merges two sets of obligations: the shorter time, the longer
// retention, and every mask.
func (o Obligations) strictest(p Obligations) Obligations {
	shorter := func(a, b time.Duration) time.Duration {
		if a == 0 || b != 0 && b < a {
			return b
		}
		return a
	}
	return Obligations{CertTTL: shorter(o.CertTTL, p.CertTTL), MaxSession: shorter(o.MaxSession, p.MaxSession),
		IdleTimeout: shorter(o.IdleTimeout, p.IdleTimeout), Redact: o.Redact || p.Redact,
		Retention: max(o.Retention, p.Retention), Context: o.Context || p.Context}
}

var bastionActions = []Action{ActionSignIn, ActionAdminister, ActionAuditKeys, ActionRevokeKeys}

var targetActions = []Action{ActionShell, ActionExec, ActionSFTP, ActionForward, ActionAgent, ActionCommand, ActionReplay,
	ActionReplayRaw, ActionWatch, ActionJoin, ActionTerminate, ActionApprove, ActionRequest}

func onBastion(a Action) bool { return slices.Contains(bastionActions, a) }

// KnownAction reports whether policies can decide about a.
func KnownAction(a Action) bool { return onBastion(a) || slices.Contains(targetActions, a) }

// ActionNames lists the actions, separated by commas.
func ActionNames() string {
	var names []string
	for _, a := range append(slices.Clone(bastionActions), targetActions...) {
		names = append(names, string(a))
	}
	return strings.Join(names, ", ")
}
