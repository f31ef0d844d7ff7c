package web

import (
	"testing"
	"time"
)

func TestMasksOfOneSecretAreOnePlace(t *testing.T) {
	var m masks
	for i, p := range []struct {
		at   time.Duration
		rule string
	}{{0, "a"}, {900, "a"}, {1800, "a"}, {1900, "b"}, {1950, "a"}, {3000, "a"}} {
		m.add(mask{Time: p.at * time.Millisecond, Rule: p.rule, Len: i + 1, last: p.at * time.Millisecond})
	}
	want := []mask{{Time: 0, Rule: "a", Len: 6}, {Time: 1900 * time.Millisecond, Rule: "b", Len: 4}, {Time: 1950 * time.Millisecond, Rule: "a", Len: 5}, {Time: 3 * time.Second, Rule: "a", Len: 6}}
	if len(m.List) != len(want) {
		t.Fatalf("%+v", m.List)
	}
	for i, w := range want {
		if g := m.List[i]; g.Time != w.Time || g.Rule != w.Rule || g.Len != w.Len {
			t.Errorf("place %d: %+v, want %+v", i, g, w)
		}
	}
}
