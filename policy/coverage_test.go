package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func TestCoverageCounts(t *testing.T) {
	var c Coverage
	refused, waiting, recorded := Outcome{Note: "refused"}, Outcome{Note: "waiting"}, Outcome{Captured: true}
	c.Add(KindChannel, "x11", FromClient, refused)
	own := c.Add(KindChannel, "session", FromClient, waiting)
	c.Add(KindChannel, "session", FromClient, waiting)
	c.Add(KindGlobal, "x11", FromClient, refused)
	c.Add(KindChannel, "x11", FromTarget, refused)
	gone := c.Add(KindRequest, "env", FromClient, waiting)
	c.Add(KindChannel, "x11", FromClient, refused)
	own.Now(recorded)
	gone.Forget()
	gone.Now(recorded) // counts no more
	want := []Channel{
		{KindChannel, "x11", FromClient, 2, false, "refused"}, {KindChannel, "session", FromClient, 1, false, "waiting"},
		{KindGlobal, "x11", FromClient, 1, false, "refused"}, {KindChannel, "x11", FromTarget, 1, false, "refused"},
		{KindChannel, "session", FromClient, 1, true, ""},
	}
	if got := c.List(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	var other Coverage
	if got := c.List(own, gone, Seen{}, other.Add("", "", "", refused)); !reflect.DeepEqual(got, want[:4]) {
		t.Errorf("without the own: %+v", got)
	}
	var none *Coverage
	none.Add(KindChannel, "x", FromClient, refused).Now(recorded) // nobody counts
}

// A peer that makes up types neither grows the list without end nor crowds out
// the ones that matter.
func TestCoverageIsBounded(t *testing.T) {
	var c Coverage
	const many = 5000
	var wg sync.WaitGroup
	for _, from := range []string{FromClient, FromTarget} {
		wg.Go(func() {
			for i := range many {
				c.Add(KindGlobal, fmt.Sprintf("made-up-%d%s", i, strings.Repeat("x", i)), from, Outcome{Note: "refused"}).Now(Outcome{Note: "at last"})
			}
			c.Add(KindGlobal, "tcpip-forward", from, Outcome{Note: "refused"})
		})
	}
	wg.Wait()
	list := c.List()
	sum, known, rest, size := map[string]int{}, 0, 0, 0
	for _, r := range list {
		sum[r.From] += r.Count
		size += len(r.Type)
		switch r.Type {
		case "tcpip-forward":
			known++
		case OtherTypes:
			rest += r.Count
		}
	}
	if len(list) != 2*(maxTypes+2) || size > 10_000 || known != 2 || rest != 2*(many-maxTypes) {
		t.Errorf("%d rows, %d bytes, %d known, %d others", len(list), size, known, rest)
	}
	if sum[FromClient] != many+1 || sum[FromTarget] != many+1 {
		t.Errorf("counted %v", sum)
	}
	if n := len(c.rows); n > 6*(maxTypes+2) {
		t.Errorf("%d rows in memory", n)
	}
}

func TestShowType(t *testing.T) {
	for in, want := range map[string]string{
		"session": "session", "keepalive@openssh.com": "keepalive@openssh.com", "": `\empty`, `\empty`: `\x5cempty`,
		OtherTypes: `other\x20types`, "a\x1b[2J\x00\u202e": `a\x1b[2J\x00\xe2\x80\xae`,
		strings.Repeat("y", 100): strings.Repeat("y", 64) + `\and 36 bytes more`,
	} {
		if got := ShowType(in); got != want {
			t.Errorf("%q shows as %q, want %q", in, got, want)
		}
	}
}

// The digest is that of the policy in force, not of the file that was refused.
func TestStoreDigest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.cedar")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("permit(principal, action, resource);\n")
	s, err := NewStore(file)
	if err != nil {
		t.Fatal(err)
	}
	const want = "ae6f3bbc10d4275226be91b066f1cc3f381fdfef0924005ad6d9c410c2f9d5df"
	first := s.Digest()
	if first != want {
		t.Errorf("digest %q", first)
	}
	write("permit(principal")
	if _, err := s.Reload(); err == nil || s.Digest() != first {
		t.Errorf("%v, digest %q", err, s.Digest())
	}
	write("// another\n")
	if _, err := s.Reload(); err != nil || s.Digest() == first {
		t.Errorf("%v, digest %q", err, s.Digest())
	}
}
