// Package castgen makes terminal sessions for tests and benchmarks: a shell at
// work, a log that goes by, a full-screen program. It is test support, and no
// part of the product.
//
// What it makes depends on the seed alone, on every machine and with every
// version of Go, so that figures measured with it can be compared. The text is
// invented, and varies as the real thing does: times, addresses, identifiers
// and numbers are random, words, formats and escape sequences repeat.
package castgen

import (
	"fmt"
	"iter"
	"time"
)

// Chunk is what one read of the terminal or of the client brings.
type Chunk struct {
	Time  time.Duration // since the start, whole microseconds; never goes back
	Input bool          // typed by the user, and not output
	Data  []byte        // UTF-8; belongs to the receiver
}

// maxRead is the most that one read of a terminal brings, in bytes.
const maxRead = 4096

// generator puts chunks together.
type generator struct {
	rng
	at    time.Duration
	left  int // bytes of output still to make
	yield func(Chunk) bool
	done  bool // the receiver wants no more
	buf   []byte
}

// generate calls step until there are n bytes of output.
func generate(seed uint64, n int, step func(*generator)) iter.Seq[Chunk] {
	return func(yield func(Chunk) bool) {
		g := &generator{rng: rng(seed), left: n, yield: yield}
		for g.left > 0 && !g.done {
			step(g)
			g.flush()
		}
	}
}

// Mix is a day's work: shells, logs and full-screen programs in turn, about
// the same number of bytes of each.
func Mix(seed uint64, n int) iter.Seq[Chunk] {
	kinds := []func(uint64, int) iter.Seq[Chunk]{Shell, Log, Screen}
	return func(yield func(Chunk) bool) {
		const turn = 64 << 10
		var base, last time.Duration
		for i := 0; n > 0; i++ {
			for c := range kinds[i%len(kinds)](seed+uint64(i), min(n, turn)) {
				c.Time += base
				last = c.Time
				if !c.Input {
					n -= len(c.Data)
				}
				if !yield(c) {
					return
				}
			}
			base = last
		}
	}
}

// printf adds to the output that is being put together.
func (g *generator) printf(format string, args ...any) {
	g.buf = fmt.Appendf(g.buf, format, args...)
}

// flush gives out what was put together, in pieces as a terminal is read.
func (g *generator) flush() {
	b := g.buf
	for len(b) > 0 {
		n := min(len(b), maxRead)
		for n < len(b) && b[n]&0xc0 == 0x80 { // not within a character
			n--
		}
		g.emit(false, b[:n])
		g.wait(20*time.Microsecond, 300*time.Microsecond)
		b = b[n:]
	}
	g.buf = g.buf[:0]
}

func (g *generator) emit(input bool, data []byte) {
	if g.done {
		return
	}
	if !input {
		g.left -= len(data)
	}
	g.done = !g.yield(Chunk{g.at, input, append([]byte{}, data...)})
}

// wait lets time pass, from least to most, mostly little.
func (g *generator) wait(least, most time.Duration) {
	f := g.float()
	g.at += (least + time.Duration(f*f*f*float64(most-least))).Truncate(time.Microsecond)
}

// key is the user pressing a key and the terminal echoing it.
func (g *generator) key(press, echo string) {
	g.flush()
	g.wait(40*time.Millisecond, 900*time.Millisecond)
	g.emit(true, []byte(press))
	g.wait(200*time.Microsecond, 3*time.Millisecond)
	g.emit(false, []byte(echo))
}

// rng is the SplitMix64 generator of Steele, Lea and Flood (2014).
type rng uint64

func (r *rng) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// intn returns a number from 0 up to n, which is not in it.
func (r *rng) intn(n int) int { return int(r.next() >> 1 % uint64(n)) }

// span returns a number from a to b, both in it.
func (r *rng) span(a, b int) int { return a + r.intn(b-a+1) }

// float returns a number from 0 up to 1.
func (r *rng) float() float64 { return float64(r.next()>>11) / (1 << 53) }

func (r *rng) chance(percent int) bool { return r.intn(100) < percent }

func (r *rng) pick(from ...string) string { return from[r.intn(len(from))] }

// zipf picks one of from, the first ones far more often than the last.
func (r *rng) zipf(from []string) string {
	f := r.float()
	return from[int(f*f*float64(len(from)))]
}
