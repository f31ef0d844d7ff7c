package sealed

import (
	"bytes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/recorder/cast"
)

const odd = "é界\u2028\u0085\\\"\x1b[0m\r\n\uFFFD"

// randomBytes are text, controls, bytes that are not UTF-8, or cut characters.
func randomBytes(r *rand.Rand, most int) []byte {
	b := make([]byte, r.IntN(most+1))
	kind := r.IntN(4)
	for i := range b {
		switch kind {
		case 0:
			b[i] = byte(r.Uint32())
		case 1:
			b[i] = byte(r.IntN(0x20))
		case 2:
			b[i] = odd[r.IntN(len(odd))]
		default:
			b[i] = byte(0x20 + r.IntN(0x5f))
		}
	}
	return b
}

func randomText(r *rand.Rand) string {
	return string(bytes.ToValidUTF8(randomBytes(r, 40), []byte("\uFFFD")))
}

// randomEvent returns an event that may follow one at the time at.
func randomEvent(r *rand.Rand, at time.Duration) Event {
	e := Event{Time: at + time.Duration(r.IntN(3)*r.IntN(1_000_000))*time.Microsecond}
	if r.IntN(50) == 0 {
		e.Time += time.Duration(r.IntN(40)) * time.Hour
	}
	switch r.IntN(6) {
	case 0:
		e.Code, e.Raw = cast.CodeInput, randomBytes(r, 30)
	case 1:
		e.Code = []cast.Code{cast.CodeMarker, cast.CodeResize, cast.CodeExit, cast.CodeGap, 'Z', '~', ' ', '"', '\\'}[r.IntN(9)]
		e.Text = randomText(r)
	default:
		e.Code, e.Raw = cast.CodeOutput, randomBytes(r, 1+r.IntN(300))
		if r.IntN(3) == 0 {
			e.Code = cast.CodeStderr
		}
		switch r.IntN(5) {
		case 0:
			e.View = randomBytes(r, 300)
			for range 1 + r.IntN(4) {
				e.Masks = append(e.Masks, randomText(r))
			}
		case 1:
			e.Undecided = true
		}
	}
	return e
}

// watched returns what the view key alone shows of events.
func watched(events []Event) []Event {
	out := []Event{}
	for _, e := range events {
		switch {
		case e.Code == cast.CodeInput:
			continue
		case e.Undecided:
			e = Event{Time: e.Time, Code: cast.CodeGap, Text: undecidedText(len(e.Raw))}
		case e.masked():
			e.Raw = nil
		}
		out = append(out, e)
	}
	return out
}

// readAll returns the events of all blocks.
func readAll(t testing.TB, s *Segment, k Keys) []Event {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	out := []Event{}
	for i := range s.Blocks() {
		events, err := s.Events(i, k)
		if err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		out = append(out, events...)
	}
	return out
}

// TestAnyEventsComeBack: whatever is sealed comes back exactly with both keys,
// and without what is hidden with the view key.
func TestAnyEventsComeBack(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		k := NewKeys()
		w := NewWriter(testID, uint32(seed), [32]byte{}, k)
		var all []Event
		at := time.Duration(r.IntN(1000)) * time.Microsecond
		for range r.IntN(5) {
			var block []Event
			for range r.IntN(40) {
				e := randomEvent(r, at)
				at = e.Time
				block = append(block, e)
			}
			if err := w.Block(block); err != nil {
				t.Fatal(err)
			}
			all = append(all, block...)
		}
		object, info, err := w.Finish(seed, seed+uint64(len(all)))
		if err != nil {
			t.Fatal(err)
		}
		s := openBytes(t, object)
		same(t, seed, readAll(t, s, k), append([]Event{}, all...))
		same(t, seed, readAll(t, s, Keys{View: k.View, HasView: true}), watched(all))
		if got := countEvents(all); got != [5]int64{info.Events, info.Masks, info.OutputBytes, info.StderrBytes, info.InputBytes} {
			t.Errorf("seed %d: counts %v, info %+v", seed, got, info)
		}
		if len(all) > 0 && (info.From != all[0].Time || info.To != at) {
			t.Errorf("seed %d: from %v to %v, want %v to %v", seed, info.From, info.To, all[0].Time, at)
		}
	}
}

func countEvents(events []Event) (n [5]int64) {
	for _, e := range events {
		n[0]++
		n[1] += int64(len(e.Masks))
		switch e.Code {
		case cast.CodeOutput:
			n[2] += int64(len(e.Raw))
		case cast.CodeStderr:
			n[3] += int64(len(e.Raw))
		case cast.CodeInput:
			n[4] += int64(len(e.Raw))
		}
	}
	return n
}

func same(t *testing.T, seed uint64, got, want []Event) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	for i := range want {
		if i >= len(got) || !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("seed %d: event %d is %+v, want %+v", seed, i, got[min(i, len(got)-1):][:1], want[i])
		}
	}
	t.Fatalf("seed %d: %d events, want %d", seed, len(got), len(want))
}

// TestLargeBlocks: what is too much for one block becomes several, and the
// largest event of each kind fits.
func TestLargeBlocks(t *testing.T) {
	k := NewKeys()
	worst := append(bytes.Repeat([]byte{0}, MaxEvent-1), 0xff)
	var events []Event
	for i := range 12 {
		e := Event{Time: time.Duration(i), Code: cast.CodeOutput, Raw: worst}
		switch i % 4 {
		case 1:
			e.Code = cast.CodeInput
		case 2:
			e.View, e.Masks = worst, slices.Repeat([]string{string(worst[:(MaxMasks/8-32)/6])}, 8)
		case 3:
			e = Event{Code: cast.CodeMarker, Text: string(worst[:MaxEvent-1])}
		}
		e.Time = 0
		events = append(events, e)
	}
	for range 2 * softEvents {
		events = append(events, Event{Code: cast.CodeOutput, Raw: []byte{'a'}})
	}
	object, _ := sealEvents(t, k, events)
	s := openBytes(t, object)
	same(t, 0, readAll(t, s, k), events)
	if n := len(s.Blocks()); n < 5 || n > 20 {
		t.Errorf("%d blocks", n)
	}
}

// TestBlockRefuses: what cannot be kept as it is, or would show what masks
// hide, is refused as a whole, for good.
func TestBlockRefuses(t *testing.T) {
	x := []byte("x")
	mask := []string{"{}"}
	for name, c := range map[string]struct {
		e   Event
		say string
	}{
		"masks without a view":   {Event{Code: cast.CodeOutput, Raw: x, Masks: mask}, "go together"},
		"a view without masks":   {Event{Code: cast.CodeOutput, Raw: x, View: x}, "go together"},
		"undecided with masks":   {Event{Code: cast.CodeOutput, Raw: x, View: x, Masks: mask, Undecided: true}, "undecided"},
		"masked input":           {Event{Code: cast.CodeInput, Raw: x, View: x, Masks: mask}, "only o and e"},
		"undecided input":        {Event{Code: cast.CodeInput, Raw: x, Undecided: true}, "only o and e"},
		"a marker with bytes":    {Event{Code: cast.CodeMarker, Raw: x}, "only o, e and i"},
		"output with text":       {Event{Code: cast.CodeOutput, Text: "x"}, "bytes and no text"},
		"a code of the format":   {Event{Code: cast.CodeMask, Text: "{}"}, "no code"},
		"another such":           {Event{Code: cast.CodeBytes, Text: "eA=="}, "no code"},
		"a control character":    {Event{Code: '\n'}, "no code"},
		"text that is not UTF-8": {Event{Code: cast.CodeMarker, Text: "\xff"}, "not UTF-8"},
		"a mask that is not":     {Event{Code: cast.CodeOutput, Raw: x, View: x, Masks: []string{"\xff"}}, "not UTF-8"},
		"too many bytes":         {Event{Code: cast.CodeInput, Raw: make([]byte, MaxEvent+1)}, "larger than"},
		"too many masks":         {Event{Code: cast.CodeOutput, Raw: x, View: x, Masks: make([]string, MaxMasks/32+1)}, "masks are larger"},
	} {
		w := NewWriter(testID, 0, [32]byte{}, NewKeys())
		err := w.Block([]Event{{Code: cast.CodeOutput, Raw: x}, c.e})
		if err == nil || !strings.Contains(err.Error(), "event 1 of a block cannot be stored") || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
		if w.Size() != headerSize {
			t.Errorf("%s: the event before was stored", name)
		}
		if _, _, again := w.Finish(0, 0); again != err {
			t.Errorf("%s: Finish says %v", name, again)
		}
	}
}

// TestWriterRefuses: what is out of order ends the segment with an error.
func TestWriterRefuses(t *testing.T) {
	whole := NewKeys()
	for name, c := range map[string]struct {
		k   Keys
		use func(w *Writer) error
	}{
		"one key":          {Keys{View: whole.View, HasView: true}, func(w *Writer) error { return w.Block(nil) }},
		"a late context":   {whole, func(w *Writer) error { w.Block(story()); w.Context([]byte("c")); return w.Block(nil) }},
		"a late keyframe":  {whole, func(w *Writer) error { w.Block(story()); w.Keyframe([]byte("c")); return w.Block(nil) }},
		"a great keyframe": {whole, func(w *Writer) error { w.Keyframe(make([]byte, MaxPlain+1)); return w.Block(nil) }},
		"sequences":        {whole, func(w *Writer) error { _, _, err := w.Finish(2, 1); return err }},
		"finished":         {whole, func(w *Writer) error { w.Finish(1, 2); return w.Block(story()) }},
		"too many blocks": {whole, func(w *Writer) error {
			for range MaxBlocks + 1 {
				if err := w.Block(story()[:1]); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		w := NewWriter(testID, 0, [32]byte{}, c.k)
		err := c.use(w)
		if _, _, again := w.Finish(5, 5); err == nil || again == nil {
			t.Errorf("%s: %v, then %v", name, err, again)
		}
	}
}

// TestTimesNeverGoBack: times are stored in whole microseconds, never earlier
// than the event before, within the limit.
func TestTimesNeverGoBack(t *testing.T) {
	k := NewKeys()
	in := []time.Duration{-5, 1499, 1500, 900, 7 * time.Hour, 7*time.Hour - 1, cast.MaxTime + time.Hour}
	want := []time.Duration{0, 1000, 2000, 2000, 7 * time.Hour, 7 * time.Hour, cast.MaxTime}
	var events []Event
	for i, at := range in {
		events = append(events, Event{Time: at, Code: []cast.Code{cast.CodeOutput, cast.CodeInput}[i%2], Raw: []byte("x")})
	}
	object, info := sealEvents(t, k, events[:3], events[3:])
	for i, e := range readAll(t, openBytes(t, object), k) {
		if e.Time != want[i] {
			t.Errorf("time %d is %v, want %v", i, e.Time, want[i])
		}
	}
	if info.To != cast.MaxTime {
		t.Errorf("the segment ends at %v", info.To)
	}
}

// TestViewKeyOpensNothingHidden: in all that can be decrypted with the view
// key, whichever frame and however it is tried, there is nothing of what was
// typed, masked or undecided.
func TestViewKeyOpensNothingHidden(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	secrets := [][]byte{}
	secret := func() []byte {
		b := fmt.Appendf(nil, "%016x%016x", r.Uint64(), r.Uint64())
		if r.IntN(2) == 0 {
			b = append([]byte{0xff}, b...) // needs a line of base64
		}
		secrets = append(secrets, b)
		return b
	}
	var blocks [][]Event
	for range 5 {
		var block []Event
		for range 20 {
			block = append(block,
				Event{Code: cast.CodeOutput, Raw: []byte("shown " + randomText(r))},
				Event{Code: cast.CodeInput, Raw: secret()},
				Event{Code: cast.CodeStderr, Raw: append([]byte("key="), secret()...), View: []byte("key=****"), Masks: []string{`{"rule":"r"}`}},
				Event{Code: cast.CodeOutput, Raw: secret(), Undecided: true})
		}
		blocks = append(blocks, block)
	}
	k := NewKeys()
	object, info := sealEvents(t, k, blocks...)
	manifest, err := SealManifest(Manifest{ID: testID, State: StateComplete, Started: time.Unix(1, 0), Ended: time.Unix(2, 0)}, []byte("{}"), k)
	if err != nil {
		t.Fatal(err)
	}
	opened := decryptable(t, object, k.View)
	if n := len(opened); n != 2+5+1 { // context, keyframe, five view tracks, the empty text of the footer
		t.Errorf("the view key opened %d frames", n)
	}
	haystack := append(bytes.Join(opened, []byte{'\n'}), object...)
	haystack = append(haystack, manifest...)
	for _, e := range readAll(t, openBytes(t, object), Keys{View: k.View, HasView: true}) {
		haystack = fmt.Appendf(haystack, "%s %s %q %s\n", e.Raw, e.View, e.Masks, e.Text)
	}
	if !bytes.Contains(haystack, []byte("shown ")) || info.InputBytes == 0 {
		t.Fatal("nothing was decrypted, so nothing is shown")
	}
	for _, s := range secrets {
		for i := 0; i+10 <= len(s); i++ {
			if bytes.Contains(haystack, s[i:i+10]) {
				t.Fatalf("%q is in what the view key opens", s)
			}
		}
		for i := range 3 {
			if code := base64.StdEncoding.EncodeToString(s[i:]); bytes.Contains(haystack, []byte(code[4:16])) {
				t.Fatalf("%q is in what the view key opens, in base64", s)
			}
		}
	}
}

// decryptable tries a key on every frame of a segment, in every role, and
// returns all that it opens.
func decryptable(t *testing.T, object []byte, key [32]byte) (out [][]byte) {
	t.Helper()
	at, n := int64(headerSize), uint32(0)
	for at < int64(len(object))-trailerSize {
		h, err := parseFrameHeader(object[at:at+frameHeaderSize], at)
		if err != nil {
			t.Fatal(err)
		}
		frame := object[at : at+frameHeaderSize+int64(h.body)]
		for _, info := range []string{infoView, infoRaw, infoManifest} {
			for _, salt := range [][]byte{object[:headerSize], nil, testID[:]} {
				a := newGCM(key, salt, info)
				for _, number := range []uint32{n, n - 1, n + 1} {
					if plain, ok := tryFrame(a, number, h, frame); ok {
						out = append(out, plain)
					}
				}
			}
		}
		at, n = at+int64(len(frame)), n+1
	}
	return out
}

func tryFrame(a cipher.AEAD, n uint32, h frameHeader, frame []byte) ([]byte, bool) {
	if h.kind == frameFooter {
		_, err := a.Open(nil, nonce(n), frame[len(frame)-tagSize:], frame[:len(frame)-tagSize])
		return nil, err == nil
	}
	plain, err := openFrame(a, n, h, bytes.Clone(frame), 0, new([]byte))
	return plain, err == nil
}
