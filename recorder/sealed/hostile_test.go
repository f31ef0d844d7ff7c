package sealed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"sallyport/recorder/cast"
)

// readWhole opens all of a segment, and returns the first error.
func readWhole(object []byte, k Keys) error {
	s, err := Open(bytes.NewReader(object), int64(len(object)))
	if err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return err
	}
	if _, err := s.Context(k); err != nil {
		return err
	}
	if _, err := s.Keyframe(k); err != nil {
		return err
	}
	for i := range s.Blocks() {
		if _, err := s.Events(i, k); err != nil {
			return err
		}
	}
	return nil
}

// oneSentence holds an error to naming a byte, once, and one kind of fault.
func oneSentence(t *testing.T, err error) {
	t.Helper()
	if text := err.Error(); strings.Count(text, " at byte ") < 1 || strings.Contains(text, "\n") || len(text) > 250 {
		t.Errorf("error %q", text)
	}
}

func TestCutAnywhere(t *testing.T) {
	k := NewKeys()
	object, _ := sealEvents(t, k, story(), story())
	for n := range object {
		err := readWhole(object[:n], k)
		if !errors.Is(err, ErrTruncated) || !strings.HasPrefix(fmt.Sprint(err), fmt.Sprintf("segment at byte %d: cut off: ", n)) {
			t.Fatalf("cut at byte %d: %v", n, err)
		}
		oneSentence(t, err)
	}
	for _, more := range [][]byte{{0}, object[:50], bytes.Repeat([]byte(trailerMagic), 9)} {
		if err := readWhole(append(bytes.Clone(object), more...), k); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes too many: %v", len(more), err)
		}
	}
}

// TestShrinks: a file that ends earlier than its size says.
func TestShrinks(t *testing.T) {
	object, _ := sealEvents(t, NewKeys(), story())
	for _, n := range []int{0, 50, 200, len(object) - 1} {
		_, err := Open(bytes.NewReader(object[:n]), int64(len(object)))
		if !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes of %d: %v", n, len(object), err)
		}
	}
}

// TestEveryBitCounts: with both keys, no bit can be changed.
func TestEveryBitCounts(t *testing.T) {
	k := NewKeys()
	object, _ := sealEvents(t, k, story(), story()[:3])
	for i := range object {
		for bit := range 8 {
			object[i] ^= 1 << bit
			err := readWhole(object, k)
			object[i] ^= 1 << bit
			if err == nil {
				t.Fatalf("bit %d of byte %d was changed, and nothing is wrong", bit, i)
			}
			if errors.Is(err, ErrWrongKey) || errors.Is(err, ErrNoKey) {
				t.Fatalf("bit %d of byte %d was changed: %v", bit, i, err)
			}
			oneSentence(t, err)
		}
	}
	if err := readWhole(object, k); err != nil {
		t.Fatal(err)
	}
}

func TestWrongKey(t *testing.T) {
	k, other := NewKeys(), NewKeys()
	object, _ := sealEvents(t, k, story())
	for name, c := range map[string]struct {
		k    Keys
		want error
	}{
		"other view": {Keys{View: other.View, HasView: true}, ErrWrongKey},
		"other raw":  {Keys{View: k.View, HasView: true, Raw: other.Raw, HasRaw: true}, ErrWrongKey},
		"swapped":    {Keys{View: k.Raw, HasView: true, Raw: k.View, HasRaw: true}, ErrWrongKey},
		"none":       {Keys{}, ErrNoKey},
		"raw only":   {Keys{Raw: k.Raw, HasRaw: true}, ErrNoKey},
		"right":      {k, nil},
	} {
		if err := readWhole(object, c.k); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// frames divides a segment.
func frames(t *testing.T, object []byte) (out [][]byte) {
	t.Helper()
	for at := int64(headerSize); at < int64(len(object))-trailerSize; {
		h, err := parseFrameHeader(object[at:at+frameHeaderSize], at)
		if err != nil {
			t.Fatal(err)
		}
		next := at + frameHeaderSize + int64(h.body)
		out = append(out, object[at:next])
		at = next
	}
	return out
}

// TestSwapped: frames of the same size that change places, or come from another
// segment, another track or another recording, do not decrypt.
func TestSwapped(t *testing.T) {
	k := NewKeys()
	block := func(s string) []Event {
		return []Event{{Code: cast.CodeOutput, Raw: []byte(s)}, {Code: cast.CodeInput, Raw: []byte(s)}}
	}
	object, _ := sealEvents(t, k, block("one"), block("two"))
	again, _ := sealEvents(t, k, block("one"), block("two"))
	f := frames(t, object)
	if len(f) != 7 || len(f[2]) != len(f[4]) || len(f[3]) != len(f[5]) {
		t.Fatalf("%d frames", len(f))
	}
	put := func(at, frame []byte) []byte {
		return bytes.Replace(bytes.Clone(object), at, frame, 1)
	}
	swapped := put(f[2], f[4])
	copy(swapped[bytes.LastIndex(swapped, f[4]):], f[2])
	raws := put(f[3], f[5])
	copy(raws[bytes.LastIndex(raws, f[5]):], f[3])
	for name, hostile := range map[string][]byte{
		"blocks swapped":             swapped,
		"raw tracks swapped":         raws,
		"a block twice":              put(f[4], f[2]),
		"a block of another segment": put(f[2], frames(t, again)[2]),
		"the header of another":      append(bytes.Clone(again[:headerSize]), object[headerSize:]...),
		"the footer of another":      append(bytes.Clone(object[:len(object)-len(f[6])-trailerSize]), again[len(again)-len(f[6])-trailerSize:]...),
	} {
		if bytes.Equal(hostile, object) || len(hostile) != len(object) {
			t.Fatalf("%s: nothing was changed", name)
		}
		s, err := Open(bytes.NewReader(hostile), int64(len(hostile)))
		if err != nil || s.Check() != nil {
			t.Fatalf("%s: the structure is whole, and yet: %v, %v", name, err, s.Check())
		}
		if err := readWhole(hostile, k); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	asView := bytes.Clone(f[3]) // the raw track, called a view track
	asView[0] = frameView
	if err := readWhole(put(f[2], asView), k); !errors.Is(err, ErrDamaged) {
		t.Errorf("the raw track in the view's place: %v", err)
	}
}

// rewriteHeader changes a segment's header and its checksum.
func rewriteHeader(object []byte, change func(h []byte)) []byte {
	b := bytes.Clone(object)
	change(b)
	binary.BigEndian.PutUint32(b[headerSize-4:], crc32.Checksum(b[:headerSize-4], castagnoli))
	return b
}

// TestRenumbered: a segment that is given another number, predecessor or
// recording does not decrypt, even where who did it knew the checksum.
func TestRenumbered(t *testing.T) {
	k := NewKeys()
	object, _ := sealEvents(t, k, story())
	for _, at := range []int{15, 32, 64} {
		err := readWhole(rewriteHeader(object, func(h []byte) { h[at] ^= 1 }), k)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
	if err := readWhole(rewriteHeader(object, func(h []byte) { h[20] ^= 1 }), k); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another recording: %v", err)
	}
}

func TestNewerVersion(t *testing.T) {
	k := NewKeys()
	object, _ := sealEvents(t, k, story())
	newer := rewriteHeader(object, func(h []byte) { h[9] = 2 })
	err := readWhole(newer, k)
	if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "version 2") {
		t.Error(err)
	}
}

// craft makes a segment with one block whose frame holds body as it is, with
// the flags and sizes that h says.
func craft(k Keys, h frameHeader, body []byte) []byte {
	w := NewWriter(testID, 0, [32]byte{}, k)
	at := len(w.out)
	h.kind, h.body = frameView, uint32(len(body)+tagSize)
	w.out = h.append(w.out)
	w.out = w.view.Seal(w.out, nonce(0), body, w.out[at:])
	w.frames = 1
	w.foot.index = []block{{at: uint32(at), view: uint32(len(w.out) - at), events: h.events}}
	w.foot.events = uint64(h.events)
	object, _, err := w.Finish(0, 0)
	if err != nil {
		panic(err)
	}
	return object
}

// TestBombs: who holds the keys can make frames that pretend. Memory stays
// within what is declared, and that within the limit.
func TestBombs(t *testing.T) {
	k := NewKeys()
	plainEncoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 256<<20)
	bomb := plainEncoder.EncodeAll(zeros, nil)
	var streamed bytes.Buffer
	stream, _ := zstd.NewWriter(&streamed, zstd.WithEncoderConcurrency(1))
	stream.Write(zeros)
	stream.Close()
	zeros = nil
	small := plainEncoder.EncodeAll(bytes.Repeat([]byte("a"), 1000), nil)
	line := []byte(`[0.000000, "o", "a"]` + "\n")
	lines := bytes.Repeat(line, MaxPlain/len(line))
	packed := compress(nil, lines)
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4}, small...)
	// Announces 1000 bytes, and says two hundred times to repeat one 1000 times
	// (RFC 8878, sections 3.1.1.1 and 3.1.1.2).
	lied := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x60, 0xe8, 0x02}
	for range 200 {
		lied = append(lied, 0x42, 0x1f, 0, 'a')
	}
	for name, c := range map[string]struct {
		h    frameHeader
		body []byte
	}{
		"too many bytes":       {frameHeader{flags: flagZstd, plain: 256 << 20, events: 1}, bomb},
		"the most bytes":       {frameHeader{flags: flagZstd, plain: MaxPlain, events: 1}, bomb},
		"fewer announced":      {frameHeader{flags: flagZstd, plain: 50_000, events: 1}, bomb},
		"fewer in the frame":   {frameHeader{flags: flagZstd, plain: 1000, events: 1}, lied},
		"nothing announced":    {frameHeader{flags: flagZstd, plain: MaxPlain, events: 1}, streamed.Bytes()},
		"two in one":           {frameHeader{flags: flagZstd, plain: 1000, events: 1}, append(bytes.Clone(small), small...)},
		"a skippable frame":    {frameHeader{flags: flagZstd, plain: 1000, events: 1}, skippable},
		"not compressed":       {frameHeader{flags: flagZstd, plain: 1000, events: 1}, []byte("hello")},
		"more events":          {frameHeader{flags: flagZstd, plain: uint32(len(lines)), events: MaxBlockEvents}, packed},
		"fewer events":         {frameHeader{flags: flagZstd, plain: uint32(len(lines)), events: 7}, packed},
		"too many events":      {frameHeader{flags: flagZstd, plain: uint32(len(lines)), events: MaxBlockEvents + 1}, packed},
		"nothing in it":        {frameHeader{plain: 0, events: 1}, nil},
		"no end of line":       {frameHeader{plain: 20, events: 1}, line[:20]},
		"masks without end":    {frameHeader{plain: 29, events: 1}, []byte(`[0.000000, "k", "{}"]` + "\n" + `[0,"k",`)},
		"a mask of nothing":    {frameHeader{plain: 22, events: 1}, []byte(`[0.000000, "k", "{}"]` + "\n")},
		"input in the view":    {frameHeader{plain: 21, events: 1}, []byte(`[0.000000, "i", "a"]` + "\n")},
		"a number in the view": {frameHeader{plain: 24, events: 1}, []byte(`[0.000000, "o", "a", 0]` + "\n")},
		"time without end":     {frameHeader{plain: 29, events: 1}, []byte(`[1000000000.00001, "o", "a"]` + "\n")},
	} {
		before := allocated()
		err := readWhole(craft(k, c.h, c.body), k)
		if grown := allocated() - before; grown > 80<<20 {
			t.Errorf("%s: %d MiB were taken", name, grown>>20)
		}
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		oneSentence(t, err)
	}
}

// allocated returns how many bytes were ever taken.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

// TestTinyFrames: a million frames of nothing end at a limit, soon.
func TestTinyFrames(t *testing.T) {
	k := NewKeys()
	w := NewWriter(testID, 0, [32]byte{}, k)
	empty := frameHeader{kind: frameView, body: tagSize}.append(nil)
	empty = append(empty, make([]byte, tagSize)...)
	object := append(bytes.Clone(w.out), bytes.Repeat(empty, 1_000_000)...)
	start, before := time.Now(), allocated()
	err := readWhole(object, k)
	if !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	oneSentence(t, err)
	if grown := allocated() - before; grown > 10<<20 {
		t.Errorf("%d MiB were taken", grown>>20)
	}
	t.Log(time.Since(start), err)

	// The same with an index, and a footer that the right key made.
	for i := range 2 * MaxBlocks {
		w.foot.index = append(w.foot.index, block{at: uint32(headerSize + i*len(empty)), view: uint32(len(empty)), events: 1})
		w.foot.events++
		w.out = append(w.out, empty...)
	}
	object, _, err = w.Finish(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := readWhole(object, k); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

// TestLyingIndex: an index that the right key made, and that does not fit.
func TestLyingIndex(t *testing.T) {
	k := NewKeys()
	for name, lie := range map[string]func(f *footer){
		"more events":    func(f *footer) { f.index[0].events++; f.events++ },
		"fewer events":   func(f *footer) { f.index[0].events--; f.events-- },
		"no events":      func(f *footer) { f.index[0].events, f.events = 0, 0 },
		"another sum":    func(f *footer) { f.events += 5 },
		"another place":  func(f *footer) { f.index[0].at += 5 },
		"another size":   func(f *footer) { f.index[0].view += 5; f.index[0].raw -= 5 },
		"no raw track":   func(f *footer) { f.index[0].view += f.index[0].raw; f.index[0].raw = 0 },
		"a later start":  func(f *footer) { f.index[0].from += 5 },
		"an earlier end": func(f *footer) { f.index[0].to-- },
		"backwards":      func(f *footer) { f.index[0].from, f.index[0].to = 9, 5 },
		"no context":     func(f *footer) { f.keyframeSize += f.contextSize; f.contextSize = 0 },
		"great counts":   func(f *footer) { f.output = 1 << 62 },
		"no block":       func(f *footer) { f.index, f.events = nil, 0 },
	} {
		w := NewWriter(testID, 0, [32]byte{}, k)
		w.Context([]byte("c"))
		w.Keyframe([]byte("k"))
		if err := w.Block(story()); err != nil {
			t.Fatal(err)
		}
		lie(&w.foot)
		object, _, err := w.Finish(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := readWhole(object, k); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		} else {
			oneSentence(t, err)
		}
	}
}

// TestMergeRefuses: tracks that who has both keys made so that they do not fit.
func TestMergeRefuses(t *testing.T) {
	out := func(at int, s string) Event {
		return Event{Time: time.Duration(at), Code: cast.CodeOutput, Raw: []byte(s)}
	}
	in := Event{Time: 5, Code: cast.CodeInput, Raw: []byte("i")}
	masked := Event{Time: 5, Code: cast.CodeOutput, View: []byte("*"), Masks: []string{"{}"}}
	gap := Event{Time: 5, Code: cast.CodeGap, Text: "g"}
	for name, c := range map[string]struct {
		view []Event
		raw  []hidden
		n    int
		ok   bool
	}{
		"fits":               {[]Event{out(1, "a"), masked, gap}, []hidden{{out(5, "s"), 1}, {in, 0}, {out(5, "t"), 0}}, 4, true},
		"too few":            {[]Event{out(1, "a")}, []hidden{{in, 1}}, 3, false},
		"too many":           {[]Event{out(1, "a"), out(6, "b")}, []hidden{{in, 1}}, 2, false},
		"beyond the end":     {[]Event{out(1, "a")}, []hidden{{in, 2}}, 2, false},
		"nothing to uncover": {[]Event{out(1, "a")}, []hidden{{out(5, "x"), 1}}, 2, false},
		"another time":       {[]Event{masked}, []hidden{{out(4, "x"), 0}}, 1, false},
		"another stream":     {[]Event{masked}, []hidden{{Event{Time: 5, Code: cast.CodeStderr}, 0}}, 1, false},
		"unmasked output":    {[]Event{out(5, "a")}, []hidden{{out(5, "b"), 0}}, 1, false},
		"bytes missing":      {[]Event{masked}, nil, 1, false},
		"passed over":        {[]Event{masked, out(6, "b")}, []hidden{{in, 2}}, 3, false},
		"input too early":    {[]Event{out(6, "a")}, []hidden{{in, 1}}, 2, false},
		"input too late":     {[]Event{out(4, "a")}, []hidden{{in, 0}}, 2, false},
	} {
		if _, err := merge(c.view, c.raw, c.n); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
