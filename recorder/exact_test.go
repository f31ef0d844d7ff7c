package recorder

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sallyport/policy"
	"sallyport/recorder/cast"
	"sallyport/recorder/redact"
)

// holder is a masker that holds back at random, hides every 'S', and never ends
// a chunk within a character that goes on.
type holder struct {
	rng  *rand.Rand
	held []byte
	when time.Time
	cols int
}

func (h *holder) Feed(p []byte, now time.Time) []redact.Chunk {
	if len(h.held) == 0 {
		h.when = now
	}
	h.held = append(h.held, p...)
	n := h.rng.IntN(len(h.held) + 1)
	if h.rng.IntN(3) > 0 {
		n = len(h.held)
	}
	for n > 0 && cutOff(h.held[:n]) > 0 {
		n--
	}
	return h.release(n)
}

func (h *holder) Flush(time.Time) []redact.Chunk { return h.release(len(h.held)) }

func (h *holder) release(n int) (chunks []redact.Chunk) {
	raw := bytes.Clone(h.held[:n])
	h.held = h.held[n:]
	for len(raw) > 0 {
		k := len(raw)
		if i := bytes.IndexByte(raw, '\n'); i >= 0 {
			k = i + 1
		}
		c := redact.Chunk{Raw: raw[:k]}
		for i, b := range c.Raw {
			if b == 'S' {
				c.Masks = append(c.Masks, redact.Mask{Rule: "s \x00\"é", Off: i, Len: 1, Cells: 1})
			}
		}
		chunks, raw = append(chunks, c), raw[k:]
	}
	return chunks
}

func (h *holder) Deadline() (time.Time, bool) {
	return h.when.Add(5 * time.Millisecond), len(h.held) > 0
}

func (h *holder) Resize(cols int) { h.cols = cols }

// pieces are what random output is made of.
var pieces = []string{
	"plain text ", "S", "secretS\r\n", "\x1b[1;31m", "naïve ", "漢字", "🎉", "\u0085", "\u2028", "\uFFFD",
	"\xff", "\xe6\xbc", "\xf0\x9f\x8e", "\xc0\x80", "\xed\xa0\x80", "\x00\x00\x00", "\"\\", "\x7f", "\n",
}

func randomBytes(rng *rand.Rand, n int) []byte {
	var b []byte
	for len(b) < n {
		if rng.IntN(4) == 0 {
			for range rng.IntN(20) {
				b = append(b, byte(rng.Uint32()))
			}
			continue
		}
		b = append(b, pieces[rng.IntN(len(pieces))]...)
	}
	return b
}

// TestByteExact holds the record to every byte of any input, cut anyhow, on all
// streams, and what Next gives out to the view of the record.
func TestByteExact(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			var o Options
			if seed%2 == 1 {
				o.NewMasker = func(policy.Session) Masker {
					return &holder{rng: rand.New(rand.NewPCG(seed, 2))}
				}
			}
			r := newRecorder(t, o)
			s := shell()
			s.TTY, s.RedactStreams = seed%3 > 0, seed%3 == 0
			rec := open(t, r, s)
			out, errs := take(rec, policy.StreamOutput), take(rec, policy.StreamStderr)
			sent := map[policy.Stream][]byte{}
			for range 60 {
				stream := []policy.Stream{'o', 'o', 'o', 'e', 'i'}[rng.IntN(5)]
				size := rng.IntN(80)
				if rng.IntN(20) == 0 {
					size = rng.IntN(3 * maxPiece)
				}
				data := randomBytes(rng, size)
				for len(data) > 0 {
					n := min(len(data), 1+rng.IntN(1+rng.IntN(len(data))))
					if stream == policy.StreamInput {
						check(t, rec.Input(data[:n]))
					} else {
						check(t, rec.Output(stream, data[:n]))
					}
					sent[stream] = append(sent[stream], data[:n]...)
					data = data[n:]
				}
				if rng.IntN(15) == 0 {
					time.Sleep(time.Duration(rng.IntN(25)) * time.Millisecond)
				}
				if rng.IntN(10) == 0 {
					check(t, rec.Resize(rng.IntN(300), rng.IntN(100)))
				}
			}
			sum, err := rec.Close(status(0))
			check(t, err)
			all, stored := r.read(t, s.ID, bothKeys)
			checkCounts(t, all, sum, stored)
			watched, _ := r.read(t, s.ID, viewKey)
			if raw, _ := joined(all, cast.CodeInput); !bytes.Equal(raw, sent['i']) {
				t.Error("input differs")
			}
			for stream, k := range map[policy.Stream]*taker{'o': out, 'e': errs} {
				raw, view := joined(all, cast.Code(stream))
				if !bytes.Equal(raw, sent[stream]) {
					t.Errorf("stream %q: the record differs from what was sent", byte(stream))
				}
				got, _ := k.end(t)
				if !bytes.Equal(got, view) {
					t.Errorf("stream %q: what was given out differs from the view of the record", byte(stream))
				}
				if _, view := joined(watched, cast.Code(stream)); !bytes.Equal(got, view) {
					t.Errorf("stream %q: what was given out differs from what a watcher reads", byte(stream))
				}
				if o.NewMasker == nil && !bytes.Equal(got, sent[stream]) {
					t.Errorf("stream %q: what was given out differs from what was sent", byte(stream))
				}
				if raw, _ := joined(watched, cast.CodeInput); len(raw) > 0 {
					t.Error("a watcher reads input")
				}
				if o.NewMasker != nil && bytes.Contains(got, []byte("S")) {
					t.Errorf("stream %q: a masked byte was given out", byte(stream))
				}
			}
		})
	}
}

// checkCounts holds a summary, and the stored one, to the events.
func checkCounts(t *testing.T, all []Frame, sum policy.Summary, stored policy.Recording) {
	t.Helper()
	var c policy.Summary
	c.Events = int64(len(all))
	for _, f := range all {
		c.Masks += int64(len(f.Masks))
		switch f.Code {
		case cast.CodeOutput:
			c.OutputBytes += int64(len(f.Raw))
		case cast.CodeStderr:
			c.StderrBytes += int64(len(f.Raw))
		case cast.CodeInput:
			c.InputBytes += int64(len(f.Raw))
		}
	}
	for _, s := range []policy.Summary{sum, stored.Summary} {
		if c.Events != s.Events || c.Masks != s.Masks || c.OutputBytes != s.OutputBytes || c.StderrBytes != s.StderrBytes || c.InputBytes != s.InputBytes {
			t.Errorf("the summary is %+v, counted %+v", s, c)
		}
	}
	if sum.SHA256 != stored.Summary.SHA256 || sum.Size != stored.Summary.Size || sum.Segments != stored.Summary.Segments || sum.SHA256 == "" {
		t.Errorf("the summary is %+v, stored %+v", sum, stored.Summary)
	}
}

// TestSplitUTF8 cuts text at every position, and into single bytes: the record
// has it as text, never as bytes with U+FFFD.
func TestSplitUTF8(t *testing.T) {
	const text = "aé漢🎉\u0301é"
	cuts := [][]string{strings.Split(text, "")}
	for i := range len(text) + 1 {
		cuts = append(cuts, []string{text[:i], text[i:]})
	}
	var single []string
	for i := range len(text) {
		single = append(single, text[i:i+1])
	}
	now := time.Now() // stands still, so that nothing is overdue
	r := newRecorder(t, Options{Now: func() time.Time { return now }})
	for _, parts := range append(cuts, single) {
		rec := open(t, r, shell())
		k := take(rec, policy.StreamOutput)
		for _, p := range parts {
			check(t, rec.Output(policy.StreamOutput, []byte(p)))
		}
		_, err := rec.Close(policy.End{})
		check(t, err)
		if got, _ := k.end(t); string(got) != text {
			t.Errorf("%q: given out as %q", parts, got)
		}
		for _, f := range r.frames(t, rec.session.ID) {
			if !utf8.Valid(f.Raw) {
				t.Errorf("%q: stored as %q", parts, f.Raw)
			}
		}
	}
}

// TestTailIsReleased holds half a character to 20 ms.
func TestTailIsReleased(t *testing.T) {
	rec := open(t, newRecorder(t, Options{}), shell())
	k := take(rec, policy.StreamOutput)
	start := time.Now()
	check(t, rec.Output(policy.StreamOutput, []byte("ab\xe6\xbc")))
	until(t, "the whole characters", func() bool { return string(k.bytes()) == "ab" || len(k.bytes()) == 4 })
	until(t, "half a character", func() bool { return string(k.bytes()) == "ab\xe6\xbc" })
	if took := time.Since(start); took < tailTime || took > 5*time.Second {
		t.Errorf("it was held for %v", took)
	}
	check(t, rec.Output(policy.StreamOutput, []byte("\xa2")))
	until(t, "the other half", func() bool { return string(k.bytes()) == "ab漢" })
}

// TestMaskerIsFlushed holds the committer to the masker's deadline.
func TestMaskerIsFlushed(t *testing.T) {
	r := newRecorder(t, Options{NewMasker: func(policy.Session) Masker { return &keeper{} }})
	rec := open(t, r, shell())
	k := take(rec, policy.StreamOutput)
	check(t, rec.Output(policy.StreamOutput, []byte("AKIA")))
	until(t, "what the masker held back", func() bool { return string(k.bytes()) == "AKIA" })
	check(t, rec.Resize(132, 50))
	if m := rec.out.masker.(*keeper); m.cols != 132 {
		t.Errorf("the masker has %d columns", m.cols)
	}
}

// Without a terminal the client gets every byte, at once (THREATS T23), and
// replays show the masked view (DESIGN, invariant I2).
func TestStreamsAreMaskedInTheViewOnly(t *testing.T) {
	rules, err := redact.Compile(redact.Config{})
	check(t, err)
	r := newRecorder(t, Options{NewMasker: func(s policy.Session) Masker { return rules.NewMasker(0) }})
	s := shell()
	s.TTY = false
	rec := open(t, r, s)
	k := take(rec, policy.StreamOutput)
	const text = "key AKIAZ3QW7RTY5UPLK2MN \xff\x00 and AKIAZ3Q" // the end could go on
	for _, c := range []byte(text) {
		check(t, rec.Output(policy.StreamOutput, []byte{c}))
	}
	until(t, "every byte", func() bool { return string(k.bytes()) == text })
	_, err = rec.Close(policy.End{})
	check(t, err)
	var raw, view strings.Builder
	for _, f := range r.frames(t, s.ID) {
		raw.Write(f.Raw)
		view.Write(f.View())
	}
	if raw.String() != text || strings.Contains(view.String(), "Z3QW") || !strings.Contains(view.String(), "AKIA****") || len(view.String()) != len(text) {
		t.Errorf("raw %q, view %q", raw.String(), view.String())
	}
}

// keeper holds everything back until it is flushed.
type keeper struct{ holder }

func (k *keeper) Feed(p []byte, now time.Time) []redact.Chunk {
	k.when = now
	k.held = append(k.held, p...)
	return nil
}

// TestSecretIsHidden runs the real masker: the record keeps what the live view
// hides (THREATS T24), at every split.
func TestSecretIsHidden(t *testing.T) {
	rules, err := redact.Compile(redact.Config{})
	check(t, err)
	r := newRecorder(t, Options{
		NewMasker: func(s policy.Session) Masker { return rules.NewMasker(s.Cols) },
	})
	const secret = "AKIAQ3EGRJ7KYBLM2P5X"
	const text = "key: " + secret + " \r\n漢"
	for cut := range len(text) + 1 {
		rec := open(t, r, shell())
		k := take(rec, policy.StreamOutput)
		check(t, rec.Output(policy.StreamOutput, []byte(text[:cut])))
		check(t, rec.Output(policy.StreamOutput, []byte(text[cut:])))
		sum, err := rec.Close(policy.End{})
		check(t, err)
		all := r.frames(t, rec.session.ID)
		raw, view := joined(all, cast.CodeOutput)
		got, _ := k.end(t)
		if string(raw) != text || !bytes.Equal(view, got) {
			t.Fatalf("cut at %d: record %q, view %q, given out %q", cut, raw, view, got)
		}
		if strings.Contains(string(got), secret[4:]) || len(got) != len(text) || sum.Masks == 0 {
			t.Fatalf("cut at %d: given out as %q with %d masks", cut, got, sum.Masks)
		}
	}
}
