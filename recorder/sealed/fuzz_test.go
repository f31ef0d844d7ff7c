package sealed

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// fuzzKeys are the keys of the seeds.
var fuzzKeys = Keys{View: [32]byte{1}, Raw: [32]byte{2}, HasView: true, HasRaw: true}

// FuzzOpen: a segment is refused with an error, or what is parsed serializes to
// the same bytes. The seeds are whole segments under fuzzKeys, and pieces.
func FuzzOpen(f *testing.F) {
	for _, seed := range seedFiles(f, "*.seg") {
		f.Add(seed)
		f.Add(seed[:len(seed)/2])
	}
	object, _ := sealEvents(f, fuzzKeys, story())
	f.Add(object)
	w := NewWriter(testID, 0, [32]byte{}, fuzzKeys)
	empty, _, err := w.Finish(0, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(empty)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerSize { // the checksum would stop most changes
			b = rewriteHeader(b, func([]byte) {})
		}
		s, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			oneSentence(t, err)
			return
		}
		if !bytes.Equal(s.head.append(nil), b[:headerSize]) {
			t.Error("the header serializes to something else")
		}
		foot := s.foot.append(nil)
		if !bytes.Equal(foot, b[s.footAt+frameHeaderSize:len(b)-trailerSize-tagSize]) {
			t.Error("the footer serializes to something else")
		}
		for i := range s.Blocks() {
			s.frame(i)
		}
		if s.Check() == nil {
			readWhole(b, fuzzKeys)
		}
	})
}

// FuzzTracks: two tracks that decrypted are refused with an error, or sealing
// what they hold gives it again. The seeds are lines.
func FuzzTracks(f *testing.F) {
	var t tracks
	t.reset(0)
	for _, e := range story() {
		t.add(&e, e.Time)
	}
	f.Add(t.view, t.raw, uint16(t.viewN), uint16(t.rawN), uint64(0))
	f.Add([]byte(`[0.5, "o", "a\ud83d\ude00"]`+"\n"+`[1e-3, "g", ""]`+"\n"), []byte(`[0.501, "e", "x", 1]`+"\n"), uint16(2), uint16(1), uint64(0))
	f.Fuzz(func(t *testing.T, view, raw []byte, nv, nr uint16, from uint64) {
		h := frameHeader{events: uint32(nv), from: from % maxMicros}
		events, err := viewEvents(view, h)
		if err != nil {
			return
		}
		h.events = uint32(nr)
		hidden, err := rawEvents(raw, h)
		if err != nil {
			return
		}
		inputs := 0
		for _, e := range hidden {
			if e.Code == 'i' {
				inputs++
			}
		}
		merged, err := merge(events, hidden, len(events)+inputs)
		if err != nil || len(merged) == 0 {
			return
		}
		for i := range merged {
			if merged[i].Time%time.Microsecond != 0 || merged[i].valid() != nil {
				return // written by nobody, though it can be read
			}
		}
		object, _ := sealEvents(t, fuzzKeys, merged)
		if got := readAll(t, openBytes(t, object), fuzzKeys); !reflect.DeepEqual(got, merged) {
			t.Errorf("sealed and opened again:\n%+v\n%+v", got, merged)
		}
	})
}

// FuzzManifest: a manifest is refused with an error, or its clear part
// serializes to the same bytes.
func FuzzManifest(f *testing.F) {
	for _, seed := range seedFiles(f, "manifest") {
		f.Add(seed)
	}
	f.Add(sealManifest(f, testManifest(), []byte("{}"), fuzzKeys))
	f.Add([]byte(manMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= manHeader { // the checksum would stop most changes
			b = bytes.Clone(b)
			binary.BigEndian.PutUint32(b[manHeader-4:], crc32.Checksum(b[:manHeader-4], castagnoli))
		}
		fuzzManifest(t, b)
		if m, err := parseClear(b); err == nil {
			fuzzManifest(t, sealManifest(t, m, b, fuzzKeys))
		}
	})
}

func fuzzManifest(t *testing.T, b []byte) {
	m, sm, err := ParseManifest(b)
	if err != nil {
		oneSentence(t, err)
		return
	}
	clear, err := m.appendClear(nil)
	if err != nil || !bytes.Equal(clear, sm.head[manHeader:]) {
		t.Errorf("the clear part serializes to something else: %v", err)
	}
	sm.Private(fuzzKeys)
}

// FuzzKeyObject: a key object is refused with an error, or what is parsed
// serializes to the same bytes.
func FuzzKeyObject(f *testing.F) {
	for _, seed := range seedFiles(f, "key") {
		f.Add(seed)
	}
	p := x25519(f)
	b, _ := wrapped(f, fuzzKeys, p, p)
	f.Add(b)
	f.Add(b[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= keyHeader { // the checksum would stop most changes
			b = rewriteKeys(b)
		}
		o, err := ParseKeyObject(b)
		if err != nil {
			oneSentence(t, err)
			return
		}
		if !bytes.Equal(o.append(nil), b) {
			t.Error("it serializes to something else")
		}
		if k, err := o.Unwrap(p.with, p.with); err == nil && k.fits(o.id, o.viewC, o.rawC) != nil {
			t.Error("the keys do not fit")
		}
	})
}

// seedFiles returns the golden files that a pattern names; there are some.
func seedFiles(f *testing.F, pattern string) (out [][]byte) {
	f.Helper()
	names, err := filepath.Glob(filepath.Join("testdata/golden", pattern))
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds %s: %v", pattern, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}
