package sealed

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func testManifest() Manifest {
	return Manifest{
		ID: testID, State: StateInterrupted,
		Started: time.Date(2026, 10, 1, 12, 0, 0, 123456789, time.UTC), Ended: time.Date(2026, 10, 1, 13, 0, 0, 0, time.UTC),
		KeyObject: [32]byte{1, 2}, Events: 30, Masks: 2, OutputBytes: 4000, StderrBytes: 1, InputBytes: 17,
		Missing: `the end, from 12:59:30 on: "power cut" <é>`,
		Segments: []SegmentRef{
			{Number: 0, Size: 1000, SHA256: [32]byte{3}, Events: 10, From: 0, To: time.Minute},
			{Number: 1, Size: 2000, SHA256: [32]byte{4}, Events: 20, From: 61 * time.Second, To: time.Hour + time.Microsecond},
		},
	}
}

func sealManifest(t testing.TB, m Manifest, private []byte, k Keys) []byte {
	t.Helper()
	b, err := SealManifest(m, private, k)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestManifest(t *testing.T) {
	k, other := NewKeys(), NewKeys()
	private := []byte(`{"session":{"user":"` + strings.Repeat("alice", 100) + `"}}`)
	for _, p := range [][]byte{private, []byte("x"), {}} {
		for _, want := range []Manifest{testManifest(), {ID: testID, State: StateComplete, Segments: []SegmentRef{}, Started: time.Unix(0, 0).UTC(), Ended: time.Unix(0, 0).UTC()}} {
			b := sealManifest(t, want, p, k)
			if bytes.Contains(b, []byte("alice")) {
				t.Error("the private part is in clear")
			}
			got, sm, err := ParseManifest(b)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%v: %+v, want %+v", err, got, want)
			}
			if open, err := sm.Private(k); err != nil || !bytes.Equal(open, p) {
				t.Errorf("private part %q, %v", open, err)
			}
			if open, err := sm.Private(Keys{View: k.View, HasView: true}); err != nil || !bytes.Equal(open, p) {
				t.Errorf("private part with the view key %q, %v", open, err)
			}
			if _, err := sm.Private(other); !errors.Is(err, ErrWrongKey) {
				t.Errorf("another key: %v", err)
			}
			if _, err := sm.Private(Keys{}); !errors.Is(err, ErrNoKey) {
				t.Errorf("no key: %v", err)
			}
		}
	}
}

func TestManifestCutAndChanged(t *testing.T) {
	k := NewKeys()
	b := sealManifest(t, testManifest(), []byte(strings.Repeat("private ", 50)), k)
	for n := range b {
		_, _, err := ParseManifest(b[:n])
		if !errors.Is(err, ErrTruncated) || !strings.HasPrefix(fmt.Sprint(err), fmt.Sprintf("manifest at byte %d: cut off: ", n)) {
			t.Fatalf("cut at byte %d: %v", n, err)
		}
	}
	if _, _, err := ParseManifest(append(bytes.Clone(b), 0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte too many: %v", err)
	}
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			_, sm, err := ParseManifest(b)
			if err == nil {
				_, err = sm.Private(k)
			}
			b[i] ^= 1 << bit
			if err == nil {
				t.Fatalf("bit %d of byte %d was changed, and nothing is wrong", bit, i)
			}
			if errors.Is(err, ErrWrongKey) {
				t.Fatalf("bit %d of byte %d was changed: %v", bit, i, err)
			}
		}
	}
	b[9] = 9
	if _, _, err := ParseManifest(b); !errors.Is(err, ErrVersion) {
		t.Errorf("version 9: %v", err)
	}
}

// TestManifestSaysOneThing: a clear part that two readers could read in two
// ways is refused.
func TestManifestSaysOneThing(t *testing.T) {
	m := testManifest()
	good, err := m.appendClear(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseClear(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"a key twice":         {`"masks":2,`, `"masks":3,"masks":2,`},
		"another case":        {`"masks"`, `"Masks"`},
		"an unknown key":      {`"masks":2,`, `"masks":2,"more":1,`},
		"white space":         {`"masks":2,`, `"masks": 2,`},
		"another order":       {`"events":30,"masks":2,`, `"masks":2,"events":30,`},
		"a float":             {`"masks":2,`, `"masks":2.0,`},
		"escapes":             {`"interrupted"`, `"\u0069nterrupted"`},
		"another state":       {`"interrupted"`, `"open"`},
		"a local time":        {`13:00:00Z`, `14:00:00+01:00`},
		"upper case hex":      {`"0102`, `"0A02`},
		"a shorter digest":    {`"0102`, `"02`},
		"a segment twice":     {`"number":1`, `"number":0`},
		"negative count":      {`"masks":2,`, `"masks":-2,`},
		"negative size":       {`"size":1000`, `"size":-1`},
		"times backwards":     {`"from_us":61000000`, `"from_us":9000000000`},
		"a control character": {`power cut`, `power\u001b[31mcut`},
		"a long text":         {`power cut`, strings.Repeat("x", 1000)},
		"more after it":       {`"segments"`, `"segments":[]}` + "\n" + `{"segments"`},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if bad == string(good) {
			t.Fatalf("%s: nothing was changed in %s", name, good)
		}
		if _, err := parseClear([]byte(bad)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestSealManifestRefuses(t *testing.T) {
	for name, change := range map[string]func(m *Manifest){
		"state":   func(m *Manifest) { m.State = "open" },
		"missing": func(m *Manifest) { m.Missing = "two\nlines" },
		"order":   func(m *Manifest) { m.Segments[0], m.Segments[1] = m.Segments[1], m.Segments[0] },
		"year":    func(m *Manifest) { m.Ended = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"count":   func(m *Manifest) { m.InputBytes = -1 },
	} {
		m := testManifest()
		change(&m)
		if _, err := SealManifest(m, nil, NewKeys()); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	if _, err := SealManifest(testManifest(), make([]byte, MaxPrivate+1), NewKeys()); err == nil {
		t.Error("a private part without end was sealed")
	}
	if _, err := SealManifest(testManifest(), nil, Keys{}); !errors.Is(err, ErrNoKey) {
		t.Errorf("sealed without a key: %v", err)
	}
}
