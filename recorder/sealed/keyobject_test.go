package sealed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"filippo.io/age"
)

// pair is a recipient and its identity.
type pair struct {
	to   []age.Recipient
	with []age.Identity
}

func x25519(t testing.TB) pair {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{[]age.Recipient{id.Recipient()}, []age.Identity{id}}
}

func hybrid(t testing.TB) pair {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{[]age.Recipient{id.Recipient()}, []age.Identity{id}}
}

// joined wraps for both and opens with the second.
func joined(a, b pair) pair { return pair{append(a.to, b.to...), b.with} }

func wrapped(t testing.TB, k Keys, view, raw pair) ([]byte, *KeyObject) {
	t.Helper()
	b, err := WrapKeys(testID, k, view.to, raw.to)
	if err != nil {
		t.Fatal(err)
	}
	o, err := ParseKeyObject(b)
	if err != nil {
		t.Fatal(err)
	}
	if again := o.append(nil); !bytes.Equal(again, b) {
		t.Error("a key object parsed and written again is another")
	}
	return b, o
}

func TestKeyObject(t *testing.T) {
	k := NewKeys()
	viewOnly := Keys{View: k.View, HasView: true}
	for name, kinds := range map[string][2]pair{
		"X25519":                 {x25519(t), x25519(t)},
		"hybrid":                 {hybrid(t), hybrid(t)},
		"view hybrid":            {hybrid(t), x25519(t)},
		"raw hybrid":             {x25519(t), hybrid(t)},
		"view of several":        {joined(x25519(t), x25519(t)), x25519(t)},
		"raw of several, hybrid": {x25519(t), joined(hybrid(t), hybrid(t))},
	} {
		view, raw, stranger := kinds[0], kinds[1], x25519(t).with
		b, o := wrapped(t, k, view, raw)
		if o.ID() != testID {
			t.Errorf("%s: id %s", name, o.ID())
		}
		if bytes.Contains(b, k.View[:]) || bytes.Contains(b, k.Raw[:]) {
			t.Errorf("%s: a key is in clear", name)
		}
		for what, c := range map[string]struct {
			view, raw []age.Identity
			want      Keys
			err       error
		}{
			"both":                       {view.with, raw.with, k, nil},
			"raw identity":               {nil, raw.with, k, nil},
			"view identity":              {view.with, nil, viewOnly, nil},
			"a stranger's raw identity":  {view.with, stranger, viewOnly, nil},
			"a stranger's view identity": {stranger, raw.with, k, nil},
			"strangers":                  {stranger, stranger, Keys{}, ErrWrongKey},
			"the view's for raw":         {nil, view.with, Keys{}, ErrWrongKey},
			"the raw's for view":         {raw.with, nil, Keys{}, ErrWrongKey},
			"nothing":                    {nil, nil, Keys{}, ErrNoKey},
		} {
			got, err := o.Unwrap(c.view, c.raw)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%s, %s: %v, want %v", name, what, err, c.err)
			}
			if err != nil && !strings.Contains(err.Error(), testID.String()) {
				t.Errorf("%s, %s: the error does not name the recording: %v", name, what, err)
			}
		}
	}
}

func TestWrapRefuses(t *testing.T) {
	k := NewKeys()
	mixed := append(x25519(t).to, hybrid(t).to...)
	for name, c := range map[string]struct {
		k         Keys
		view, raw []age.Recipient
		say       string
	}{
		"no view recipients": {k, nil, x25519(t).to, "the view key has no recipients"},
		"no raw recipients":  {k, x25519(t).to, nil, "the raw key has no recipients"},
		"mixed":              {k, mixed, x25519(t).to, "the view key cannot be encrypted to its recipients"},
		"mixed raw":          {k, x25519(t).to, mixed, "the raw key cannot be encrypted to its recipients"},
		"one key":            {Keys{View: k.View, HasView: true}, x25519(t).to, x25519(t).to, "needs the view key and the raw key"},
	} {
		if _, err := WrapKeys(testID, c.k, c.view, c.raw); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyObjectCutAnywhere(t *testing.T) {
	b, _ := wrapped(t, NewKeys(), x25519(t), x25519(t))
	for n := range b {
		_, err := ParseKeyObject(b[:n])
		if !errors.Is(err, ErrTruncated) || !strings.HasPrefix(fmt.Sprint(err), fmt.Sprintf("key object at byte %d: cut off: ", n)) {
			t.Fatalf("cut at byte %d: %v", n, err)
		}
	}
	if _, err := ParseKeyObject(append(b, 0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte too many: %v", err)
	}
	b[9] = 2
	if _, err := ParseKeyObject(b); !errors.Is(err, ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
}

// TestKeyObjectDamage: no bit can be changed unnoticed, and none looks like a
// wrong identity; where who changed it knew the checksum, no other keys come
// out.
func TestKeyObjectDamage(t *testing.T) {
	k := NewKeys()
	view, raw := x25519(t), x25519(t)
	b, _ := wrapped(t, k, view, raw)
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			_, err := ParseKeyObject(b)
			if err == nil || errors.Is(err, ErrWrongKey) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
			oneSentence(t, err)
			if bit > 0 && i > keyHeader { // one bit of each byte of the age files
				b[i] ^= 1 << bit
				continue
			}
			forged := rewriteKeys(b)
			if o, err := ParseKeyObject(forged); err == nil {
				got, err := o.Unwrap(nil, raw.with)
				if err == nil && (got != k || i < 60) {
					t.Fatalf("bit %d of byte %d: other keys came out, or nothing is wrong", bit, i)
				}
			}
			b[i] ^= 1 << bit
		}
	}
}

// rewriteKeys returns a key object with its checksum put right.
func rewriteKeys(b []byte) []byte {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
	return b
}

func TestParseKeyFiles(t *testing.T) {
	x, h := x25519(t), hybrid(t)
	id := fmt.Sprint(x.with[0])
	hid := fmt.Sprint(h.with[0])
	rec, hrec := fmt.Sprint(x.to[0]), fmt.Sprint(h.to[0])
	for name, c := range map[string]struct {
		text string
		n    int
		say  string
	}{
		"X25519":              {rec + "\n", 1, ""},
		"several":             {"# ours\n\n " + rec + "\r\n" + rec, 2, ""},
		"hybrid":              {hrec + "\n" + hrec + "\n", 2, ""},
		"mixed":               {rec + "\n\n" + hrec + "\n", 0, "keys.txt: line 3: a post-quantum recipient (line 3) and an X25519 one (line 1) cannot be in one list"},
		"mixed, hybrid first": {hrec + "\n" + rec + "\n", 0, "keys.txt: line 2: a post-quantum recipient (line 1) and an X25519 one (line 2)"},
		"an identity":         {"\n" + id + "\n", 0, "keys.txt: line 2: this is an identity, which must stay secret"},
		"mistyped":            {rec[:20] + "\n", 0, "keys.txt: line 1: "},
		"an SSH key":          {"ssh-ed25519 AAAA\n", 0, "keys.txt: line 1: this is no age recipient"},
		"nothing":             {"# nothing\n", 0, "keys.txt: no recipient in it"},
		"a long line":         {"\n" + strings.Repeat("a", maxKeyLine+1), 0, "keys.txt: line 2: longer than"},
		"many":                {strings.Repeat(rec+"\n", maxKeyList+1), 0, "keys.txt: line 101: more than 100 keys"},
		"a great file":        {strings.Repeat("# comment\n", maxKeyFile/10+1), 0, "keys.txt: longer than"},
	} {
		got, err := ParseRecipients(strings.NewReader(c.text), "keys.txt")
		if c.say == "" && (err != nil || len(got) != c.n) || c.say != "" && !strings.HasPrefix(fmt.Sprint(err), c.say) {
			t.Errorf("recipients, %s: %d, %v", name, len(got), err)
		}
	}
	for name, c := range map[string]struct {
		text string
		n    int
		say  string
	}{
		"X25519":      {"# created\n" + id + "\n", 1, ""},
		"hybrid":      {hid, 1, ""},
		"both":        {id + "\n" + hid + "\n", 2, ""},
		"a recipient": {rec, 0, "keys.txt: line 1: this is a recipient and not an identity"},
		"cut off":     {"\n" + id[:40], 0, "keys.txt: line 2: the identity is mistyped or cut off"},
		"a password":  {"hunter2", 0, "keys.txt: line 1: this is no age identity"},
		"nothing":     {"", 0, "keys.txt: no identity in it"},
	} {
		got, err := ParseIdentities(strings.NewReader(c.text), "keys.txt")
		if c.say == "" && (err != nil || len(got) != c.n) || c.say != "" && !strings.HasPrefix(fmt.Sprint(err), c.say) {
			t.Errorf("identities, %s: %d, %v", name, len(got), err)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), id[20:40])) {
			t.Errorf("identities, %s: the error tells a secret: %v", name, err)
		}
	}
}
