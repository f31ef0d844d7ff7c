package redact

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
	"unicode/utf8"
)

// fuzzRules has small bounds, so that they are reached.
func fuzzRules(t testing.TB, hold int) *Rules {
	return compile(t, Config{HoldBytes: hold, Custom: []CustomRule{
		{"literal", `ACME-[0-9]{6}`}, {"group", `key=(\w{4,8});`}, {"digits", `\b[0-9]{6}\b`}, {"word", `hunter2`},
	}})
}

// checkSplits feeds data whole and cut at random places, and checks what must
// always hold.
func checkSplits(t *testing.T, r *Rules, cols int, data []byte, seed uint64) {
	whole := feed(t, r, cols, string(data))
	if got, want := cells(whole.view), cells(data); got != want {
		t.Fatalf("the view has %d cells, the raw bytes %d\nraw  %q\nview %q", got, want, data, whole.view)
	}
	if again := View(whole.raw, whole.masks); !bytes.Equal(again, whole.view) {
		t.Fatalf("a replay's view differs:\n%q\n%q", again, whole.view)
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 3 {
		var parts []string
		for rest := data; len(rest) > 0; {
			n := 1 + rnd.IntN(min(len(rest), 40))
			parts = append(parts, string(rest[:n]))
			rest = rest[n:]
		}
		cut := feed(t, r, cols, parts...)
		if !bytes.Equal(cut.view, whole.view) {
			t.Fatalf("cut as %q:\n got %q\nwant %q", parts, cut.view, whole.view)
		}
		if got := fmt.Sprint(hidden(cut)); got != fmt.Sprint(hidden(whole)) {
			t.Fatalf("rules differ: %v", got)
		}
		if cut.biggest >= r.holdBytes+utf8.UTFMax {
			t.Fatalf("%d bytes were held", cut.biggest)
		}
	}
}

// hidden lists which rule hides each byte.
func hidden(c *collector) (list []string) {
	for _, m := range c.masks {
		for i := range m.Len {
			list = append(list, fmt.Sprint(m.Off+i, m.Rule))
		}
	}
	return list
}

// checkTimes feeds data with time going by, so that deadlines pass.
func checkTimes(t *testing.T, r *Rules, cols int, data []byte, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	m, c, now := r.NewMasker(cols), &collector{}, t0
	for rest := data; len(rest) > 0; {
		n := 1 + rnd.IntN(min(len(rest), 8))
		c.add(t, m.Feed(bytes.Clone(rest[:n]), now))
		rest = rest[n:]
		now = now.Add(time.Duration(rnd.IntN(50)) * time.Millisecond)
		if due, held := m.Deadline(); held && !now.Before(due) && rnd.IntN(4) > 0 {
			c.add(t, m.Flush(now))
		}
		if rnd.IntN(20) == 0 {
			m.Resize(rnd.IntN(100))
		}
	}
	c.add(t, m.Flush(now))
	if !bytes.Equal(c.raw, data) {
		t.Fatalf("raw bytes differ:\n got %q\nwant %q", c.raw, data)
	}
	if n := cap(m.line.cells); n > maxCols+2*maxCells {
		t.Fatalf("the line keeps %d cells", n)
	}
}

var pieces = []string{
	keyID, keySec, jwt, pem, "password=hunter2", "token: abcd1234", "postgres://u:pw1@h/", "ACME-123456", "key=abcdef;",
	"123456", "hunter2", "AKIA", "IOSFODNN", "7EXAMPLE", "eyJ", "-----BEGIN ", "PRIVATE KEY-----", "-----END", "://a:",
	" ", " \r", "\r", "\n", "\r\n", "\b", "\b \b", "\t", "\a", "\x00", "\x7f", "\x1b", "\x1b[", "\x1b[1m", "\x1b]0;t\x07", "\x1b]8;;x\x1b\\",
	"\x1bP1$q\x1b\\", "\x1b[K", "\x1b[1K", "\x1b[2J", "\x1b[J", "\x1b[H", "\x1b[3;5H", "\x1b[3;9H", "\x1b[4G", "\x1b[A", "\x1b[B", "\x1b[5C",
	"\x1b[3D", "\x1b[@", "\x1b[2P", "\x1b[3X", "\x1b[4b", "\x1b[4h", "\x1b[4l", "\x1b7", "\x1b8", "\x1bM", "\x1bD", "\x1bE", "\x1bc", "\x1b[?1049h",
	"\x1b[9999C", "\x1b[d", "\x1b[2I", "\x1b[Z", "\x1b[L", "日本", "e\u0301", "\u200d", "\xff", "\xe6\x97", "\xc2\x9b", "'", "\"", "\\", "=", ":", "a", "Z", "9", "@",
}

// TestRandomSplits: whatever arrives, in whatever parts, the bytes are exact
// and the view is the same.
func TestRandomSplits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	rules := []*Rules{fuzzRules(t, 0), fuzzRules(t, 24)}
	for i := range 6000 {
		var b []byte
		for range 1 + rnd.IntN(30) {
			b = append(b, pieces[rnd.IntN(len(pieces))]...)
		}
		cols := []int{0, 1, 2, 10, 80, 5000}[rnd.IntN(6)]
		checkSplits(t, rules[i%2], cols, b, uint64(i))
		checkTimes(t, rules[i%2], cols, b, uint64(i))
	}
}

func FuzzMasker(f *testing.F) {
	for i, p := range pieces {
		f.Add([]byte("password="+p+keyID), uint16(i), uint64(i))
		f.Add([]byte("AKIAIOSF"+p+"ODNN7EXAMPLE"+p+pem), uint16(80), uint64(i))
	}
	rules := []*Rules{fuzzRules(f, 0), fuzzRules(f, 24)}
	f.Fuzz(func(t *testing.T, data []byte, cols uint16, seed uint64) {
		if len(data) > 4096 {
			data = data[:4096]
		}
		r := rules[seed%2]
		checkSplits(t, r, int(cols)%6000, data, seed)
		checkTimes(t, r, int(cols)%6000, data, seed)
	})
}

func FuzzView(f *testing.F) {
	f.Add([]byte("abc\x1b[1mdef"), 2, 5, 1, 9)
	f.Fuzz(func(t *testing.T, raw []byte, off, n, off2, n2 int) {
		keep := bytes.Clone(raw)
		view := View(raw, []Mask{{Off: off, Len: n}, {Off: off2, Len: n2}})
		if !bytes.Equal(raw, keep) {
			t.Fatal("View wrote to raw")
		}
		if len(view) > 2*len(raw) {
			t.Fatalf("%d bytes became %d", len(raw), len(view))
		}
	})
}
