package castgen

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"testing"
	"unicode/utf8"
)

var kinds = map[string]func(uint64, int) iter.Seq[Chunk]{"shell": Shell, "log": Log, "screen": Screen, "mix": Mix}

// digest is SHA-256 over all chunks.
func digest(chunks iter.Seq[Chunk]) string {
	h := sha256.New()
	for c := range chunks {
		binary.Write(h, binary.BigEndian, int64(c.Time))
		binary.Write(h, binary.BigEndian, c.Input)
		binary.Write(h, binary.BigEndian, int64(len(c.Data)))
		h.Write(c.Data)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// TestSame: figures are compared over years, so what the generators make must
// not change unnoticed. Whoever changes a generator puts the new digest here
// and measures again.
func TestSame(t *testing.T) {
	want := map[string]string{
		"shell": "f1d3a45dac5730b7", "log": "33f1ac9cd5260412", "screen": "0ae216f7880ad74e", "mix": "fd63605eb29f07f4",
	}
	for kind, generate := range kinds {
		if got := digest(generate(1, 200_000)); got != want[kind] {
			t.Errorf("%s: digest %s, want %s", kind, got, want[kind])
		}
		if digest(generate(2, 200_000)) == want[kind] {
			t.Errorf("%s: the seed makes no difference", kind)
		}
	}
}

func TestChunks(t *testing.T) {
	const n = 300_000
	for kind, generate := range kinds {
		total, input := 0, 0
		last := Chunk{}
		for c := range generate(7, n) {
			switch {
			case len(c.Data) == 0 || len(c.Data) > maxRead:
				t.Fatalf("%s: a chunk of %d bytes", kind, len(c.Data))
			case !utf8.Valid(c.Data):
				t.Fatalf("%s: a chunk is not UTF-8: %q", kind, c.Data)
			case c.Time < last.Time || c.Time%1000 != 0:
				t.Fatalf("%s: time %v after %v", kind, c.Time, last.Time)
			}
			last = c
			if c.Input {
				input++
			} else {
				total += len(c.Data)
			}
		}
		if total < n || total > n+64<<10 {
			t.Errorf("%s: %d bytes of output, asked for %d", kind, total, n)
		}
		if input == 0 && kind != "log" {
			t.Errorf("%s: nobody typed", kind)
		}
	}
}

func TestStop(t *testing.T) {
	for kind, generate := range kinds {
		n := 0
		for range generate(3, 1<<20) {
			if n++; n == 5 {
				break
			}
		}
		if n != 5 {
			t.Errorf("%s: %d chunks", kind, n)
		}
	}
}
