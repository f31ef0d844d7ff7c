package sealed

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// Limits of a file of recipients or identities.
const (
	maxKeyFile = 1 << 20 // bytes
	maxKeyLine = 8 << 10 // bytes
	maxKeyList = 100     // keys
)

// ParseRecipients reads public keys of age, one a line: native ones, hybrid
// post-quantum ones (age1pq1…) and those of plugins (age1NAME1…). Empty lines
// and lines that begin with # are skipped. Hybrid recipients cannot stand
// beside others in one list, since whoever breaks those would have the key.
// Errors begin with name and say which line is wrong.
func ParseRecipients(r io.Reader, name string) ([]age.Recipient, error) {
	var out []age.Recipient
	firstHybrid, firstOther := 0, 0
	err := eachKey(r, name, "recipient", func(n int, line string) error {
		rec, err := parseRecipient(line)
		if err != nil {
			return err
		}
		out = append(out, rec)
		switch rec.(type) {
		case *age.HybridRecipient:
			firstHybrid = cmp.Or(firstHybrid, n)
		case *age.X25519Recipient:
			firstOther = cmp.Or(firstOther, n)
		}
		if firstHybrid > 0 && firstOther > 0 {
			return fmt.Errorf("a post-quantum recipient (line %d) and an X25519 one (line %d) cannot be in one list: use one kind", firstHybrid, firstOther)
		}
		return nil
	})
	return out, err
}

func parseRecipient(s string) (age.Recipient, error) {
	switch {
	case strings.HasPrefix(s, "AGE-"):
		return nil, fmt.Errorf("this is an identity, which must stay secret, and not a recipient (age1…)")
	case strings.HasPrefix(s, "age1pq1"):
		return age.ParseHybridRecipient(s)
	case strings.HasPrefix(s, "age1") && strings.Count(s, "1") > 1:
		return plugin.NewRecipient(s, silent())
	case strings.HasPrefix(s, "age1"):
		return age.ParseX25519Recipient(s)
	}
	return nil, fmt.Errorf("this is no age recipient (age1…)")
}

// ParseIdentities reads secret keys of age, one a line: native ones, hybrid
// post-quantum ones and those of plugins (AGE-PLUGIN-…). Empty lines and lines
// that begin with # are skipped. A plugin that wants to ask something is
// refused. Errors begin with name, say which line is wrong, and hold nothing of
// what it says.
func ParseIdentities(r io.Reader, name string) ([]age.Identity, error) {
	return ParseIdentitiesAsking(r, name, silent())
}

// ParseIdentitiesAsking is ParseIdentities with a way for plugins to ask for a
// PIN or a touch.
func ParseIdentitiesAsking(r io.Reader, name string, ui *plugin.ClientUI) ([]age.Identity, error) {
	var out []age.Identity
	err := eachKey(r, name, "identity", func(n int, line string) error {
		id, err := parseIdentity(line, ui)
		out = append(out, id)
		return err
	})
	return out, err
}

func parseIdentity(s string, ui *plugin.ClientUI) (id age.Identity, err error) {
	switch {
	case strings.HasPrefix(s, "AGE-PLUGIN-"):
		id, err = plugin.NewIdentity(s, ui)
	case strings.HasPrefix(s, "AGE-SECRET-KEY-1"):
		id, err = age.ParseX25519Identity(s)
	case strings.HasPrefix(s, "AGE-SECRET-KEY-PQ-1"):
		id, err = age.ParseHybridIdentity(s)
	case strings.HasPrefix(s, "age1"):
		return nil, fmt.Errorf("this is a recipient and not an identity (AGE-SECRET-KEY-… or AGE-PLUGIN-…)")
	default:
		return nil, fmt.Errorf("this is no age identity (AGE-SECRET-KEY-… or AGE-PLUGIN-…)")
	}
	if err != nil {
		return nil, fmt.Errorf("the identity is mistyped or cut off")
	}
	return id, nil
}

// silent is for programs that have nobody to ask.
func silent() *plugin.ClientUI {
	return &plugin.ClientUI{DisplayMessage: func(string, string) error { return nil }}
}

// eachKey calls f for every line that holds a key.
func eachKey(r io.Reader, name, kind string, f func(n int, line string) error) error {
	lr := &io.LimitedReader{R: r, N: maxKeyFile + 1}
	lines := bufio.NewScanner(lr)
	lines.Buffer(nil, maxKeyLine)
	n, keys := 0, 0
	for lines.Scan() {
		n++
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if keys++; keys > maxKeyList {
			return fmt.Errorf("%s: line %d: more than %d keys", name, n, maxKeyList)
		}
		if err := f(n, line); err != nil {
			return fmt.Errorf("%s: line %d: %w", name, n, err)
		}
	}
	switch err := lines.Err(); {
	case err == bufio.ErrTooLong:
		return fmt.Errorf("%s: line %d: longer than %d bytes", name, n+1, maxKeyLine)
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case lr.N == 0:
		return fmt.Errorf("%s: longer than %d bytes", name, maxKeyFile)
	case keys == 0:
		return fmt.Errorf("%s: no %s in it", name, kind)
	}
	return nil
}
