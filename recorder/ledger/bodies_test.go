package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

// at sets the world's clock.
func (w *world) at(now *time.Time) { w.o.Now = func() time.Time { return *now } }

// who lists whose bodies can be read.
func (w *world) who() string {
	w.t.Helper()
	var who []string
	for e, err := range w.load().Entries(w.o.BodyKey) {
		if err != nil {
			w.t.Fatal(err)
		}
		if e.User != nil {
			who = append(who, e.User.Subject)
		}
	}
	return fmt.Sprint(who)
}

// What is erased is erased for good, by whole days, and the tree stays whole.
func TestErasedBodies(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	w.at(&now)
	l := w.open()
	fill(t, l, 0, 2)
	now = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	fill(t, l, 2, 3)
	now = now.AddDate(0, 0, 3)
	fill(t, l, 3, 5)
	root := func() string { return w.load().Root().String() }
	if _, err := l.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	before := root()
	for _, c := range []struct {
		before time.Time
		erased int
		who    string
	}{
		{time.Date(2026, 1, 1, 23, 59, 59, 0, time.UTC), 0, "[s0 s1 s2 s3 s4]"},
		{time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), 1, "[s2 s3 s4]"},
		{time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC), 0, "[s2 s3 s4]"},
		{time.Date(2026, 1, 5, 12, 0, 0, 0, time.FixedZone("", 14*3600)), 1, "[s3 s4]"},
	} {
		n, err := EraseBodies(w.o.Dir, c.before)
		if err != nil || n != c.erased || w.who() != c.who || root() != before {
			t.Errorf("before %v: %d erased, %v; there are %s", c.before, n, err, w.who())
		}
	}
	// The running ledger goes on, also on a day whose file is gone.
	if n, err := EraseBodies(w.o.Dir, now.AddDate(1, 0, 0)); err != nil || n != 1 || w.who() != "[]" {
		t.Errorf("%d %v", n, err)
	}
	fill(t, l, 5, 7)
	if err := l.Close(); err != nil || w.who() != "[s5 s6]" {
		t.Errorf("%v, %s", err, w.who())
	}
	if n, err := EraseBodies(filepath.Join(w.o.Dir, "none"), now); n != 0 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	w.open().Close()
}

// Files that are no day's bodies are left alone.
func TestEraseBodiesKeepsOtherFiles(t *testing.T) {
	w := newWorld(t)
	w.closed(1)
	for _, name := range []string{"notes.txt", "2020-13-01.jsonl", "2020-1-1.jsonl", "2020-01-01.jsonl.old"} {
		w.write(filepath.Join(bodiesDir, name), []byte("x"))
	}
	if n, err := EraseBodies(w.o.Dir, time.Now().AddDate(0, 0, -1)); n != 0 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}

// Bytes of erased bodies do not stay in the file that had them, for whoever
// holds it open or finds its blocks.
func TestErasedBodiesAreOverwritten(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	w.at(&now)
	w.closed(3)
	f, err := os.Open(w.path("bodies/2026-01-01.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := EraseBodies(w.o.Dir, now.AddDate(0, 0, 1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil || b.Len() < 300 || len(bytes.Trim(b.Bytes(), "\x00")) != 0 {
		t.Errorf("%d bytes, %v: %.50q", b.Len(), err, b.Bytes())
	}
}

// A digest tells nobody whether a guess is right: the salt is long, random, and
// of each body its own.
func TestBodiesCannotBeGuessed(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	w.at(&now)
	l := w.open()
	e := policy.Entry{Kind: policy.EntryPermit, User: &policy.User{Issuer: "https://i", Subject: "alice"}, Target: "db", Source: "192.0.2.1"}
	if err := l.Append(ctx, e, e, policy.Entry{Kind: policy.EntryNodeStart}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	var digests []string
	for leaf := range w.load().Leaves() {
		digests = append(digests, leaf.Digest)
	}
	if digests[0] == digests[1] || len(digests[0]) != 64 || digests[2] != "" {
		t.Errorf("%q", digests)
	}
	// A guess of everything but the salt is no match.
	for _, salt := range []string{"", strings.Repeat("0", 64)} {
		guess, err := json.Marshal(body{Salt: salt, User: e.User, Target: e.Target, Source: e.Source})
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(guess); hex.EncodeToString(sum[:]) == digests[0] {
			t.Error("the salt is not part of the digest")
		}
	}
	salts := map[string]bool{}
	for line := range strings.Lines(string(w.read("bodies/2026-01-01.jsonl"))) {
		if strings.Contains(line, "alice") {
			t.Error("a body is not sealed")
		}
		digest, b, err := openBody([]byte(line), w.o.BodyKey)
		if err != nil || len(b.Salt) != 64 || salts[b.Salt] || digest != digests[len(salts)] {
			t.Errorf("%q %+v %v", digest, b, err)
		}
		salts[b.Salt] = true
	}
	if len(salts) != 2 {
		t.Errorf("%d bodies", len(salts))
	}
	// With another key, or with any bit changed, or under another digest, none opens.
	line := bytes.Split(w.read("bodies/2026-01-01.jsonl"), []byte("\n"))[0]
	if _, _, err := openBody(line, [32]byte{1}); err == nil {
		t.Error("opened with another key")
	}
	for i := range line {
		bad := bytes.Clone(line)
		bad[i] ^= 4
		if _, b, err := openBody(bad, w.o.BodyKey); err == nil {
			t.Errorf("byte %d changed: %+v", i, b)
		}
	}
}

// Damaged, foreign and torn lines among the bodies are passed over.
func TestDamagedBodies(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	w.at(&now)
	w.closed(3)
	name := "bodies/2026-01-01.jsonl"
	lines := bytes.SplitAfter(w.read(name), []byte("\n"))
	zeros := bytes.Repeat([]byte{'0'}, 64)
	w.write(name, bytes.Join([][]byte{lines[0], []byte("\n\nx\n"), append(zeros, " AAAA\n"...), lines[1][:70], []byte("\n"), lines[2], lines[1][:40]}, nil))
	if got := w.who(); got != "[s0 s2]" {
		t.Error(got)
	}
	l := w.open()
	fill(t, l, 3, 4) // after the torn line, not in it
	l.Close()
	if got := w.who(); got != "[s0 s2 s3]" {
		t.Error(got)
	}
	w.write(name, append(bytes.Repeat([]byte("x"), 3<<20), lines[0]...))
	if got := w.who(); got != "[]" {
		t.Error(got)
	}
}

// Entries of several days come mixed, as around midnight and from queues.
func TestBodiesOfMixedDays(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	want := []string{}
	for i, day := range []int{1, 2, 1, 3, 2, 1, 2} {
		e := entry(i)
		e.Time = time.Date(2026, 1, day, 23, 59, 59, 0, time.FixedZone("", 0))
		if err := l.Append(ctx, e); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprint("s", i))
	}
	l.Close()
	if got := w.who(); got != fmt.Sprint(want) {
		t.Error(got)
	}
}
