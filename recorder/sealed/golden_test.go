package sealed_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"sallyport/recorder/cast"
	"sallyport/recorder/sealed"
)

var update = flag.Bool("update", false, "write testdata/golden anew: with a new version of the format only")

const golden = "testdata/golden"

// TestIndependentSharesNoCode: the other reader proves the document only while
// it has nothing in common with this package.
func TestIndependentSharesNoCode(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "independent_test.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		if strings.HasPrefix(path, "sallyport") || strings.Contains(path, ".") &&
			path != "filippo.io/age" && path != "github.com/klauspost/compress/zstd" {
			t.Errorf("the independent reader imports %s", path)
		}
	}
	if len(f.Imports) == 0 {
		t.Error("the independent reader imports nothing")
	}
}

// goldenEvents are the events of the recording in testdata: each kind, in each
// form.
func goldenEvents(segment int) []sealed.Event {
	at := time.Duration(segment) * 90 * time.Second
	next := func() time.Duration { at += 1234567 * time.Microsecond; return at }
	again := func() time.Duration { return at }
	return []sealed.Event{
		{Time: next(), Code: cast.CodeOutput, Raw: []byte("\x1b[1mroot@db1\x1b[0m:~# ")},
		{Time: next(), Code: cast.CodeInput, Raw: []byte("cat key\r")},
		{Time: next(), Code: cast.CodeInput, Raw: []byte{0xff, 0xfe, 3}},
		{Time: next(), Code: cast.CodeOutput, Raw: []byte("cat key\r\n")},
		{Time: next(), Code: cast.CodeOutput, Raw: []byte("AKIAZ3QW7RTY5UPLK2MN é界\r\n"), View: []byte("AKIA**************** é界\r\n"),
			Masks: []string{`{"rule":"aws-access-key-id","off":4,"len":16,"cells":16}`}},
		{Time: next(), Code: cast.CodeStderr, Raw: []byte("bad \xff token=s3cr3t\n"), View: []byte("bad \xff token=******\n"),
			Masks: []string{`{"rule":"token","off":12,"len":3,"cells":3}`, `{"rule":"token","off":15,"len":3,"cells":3}`}},
		{Time: again(), Code: cast.CodeResize, Text: "120x40"},
		{Time: next(), Code: cast.CodeMarker, Text: "signal INT"},
		{Time: next(), Code: cast.CodeOutput, Raw: []byte{0, 1, 2, 0x80, 0xc3, '"', '\\', 0x7f}},
		{Time: next(), Code: cast.CodeOutput, Raw: []byte("not decid\xc3"), Undecided: true},
		{Time: next(), Code: cast.CodeGap, Text: "3 records are lost"},
		{Time: next(), Code: cast.CodeExit, Text: "0"},
	}
}

// independent is what e is to the other reader.
func independent(e sealed.Event) indEvent {
	return indEvent{
		TimeUS: e.Time.Microseconds(), Code: string(rune(e.Code)), Raw: e.Raw, View: e.View,
		Masks: e.Masks, Undecided: e.Undecided, Text: e.Text,
	}
}

// sealAll seals blocks of events, two a segment.
func sealAll(t *testing.T, id sealed.ID, k sealed.Keys, blocks [][]sealed.Event) (objects [][]byte, infos []sealed.Info) {
	t.Helper()
	var prev [32]byte
	for n := 0; n*2 < len(blocks); n++ {
		w := sealed.NewWriter(id, uint32(n), prev, k)
		if n == 0 {
			w.Context([]byte(`{"id":"` + id.String() + `"}`))
		} else {
			w.Keyframe([]byte("\x1b[H\x1b[2Jscreen"))
		}
		for _, b := range blocks[2*n : min(2*n+2, len(blocks))] {
			if err := w.Block(b); err != nil {
				t.Fatal(err)
			}
		}
		object, info, err := w.Finish(uint64(n*10), uint64(n*10+10))
		if err != nil {
			t.Fatal(err)
		}
		prev = info.SHA256
		objects, infos = append(objects, object), append(infos, info)
	}
	return objects, infos
}

// TestIndependentReader: the reader written from the document reads the same
// events as this package, from what this package writes.
func TestIndependentReader(t *testing.T) {
	identity, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	viewer, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 9))
		id := sealed.ID{byte(seed), 7}
		k := sealed.NewKeys()
		var blocks [][]sealed.Event
		for n := range 1 + r.IntN(5) {
			events := goldenEvents(n)
			for range r.IntN(30) {
				i := r.IntN(len(events))
				events = append(events[:i:i], append([]sealed.Event{events[i]}, events[i:]...)...)
			}
			blocks = append(blocks, events)
		}
		object, err := sealed.WrapKeys(id, k, []age.Recipient{viewer.Recipient()}, []age.Recipient{identity.Recipient()})
		if err != nil {
			t.Fatal(err)
		}
		segments, infos := sealAll(t, id, k, blocks)
		for _, who := range []age.Identity{identity, viewer} {
			view, raw, err := indKeys(object, who)
			if err != nil || !bytes.Equal(view, k.View[:]) || (raw != nil) != (who == age.Identity(identity)) {
				t.Fatalf("keys %x, %x: %v", view, raw, err)
			}
			keys := k
			keys.HasRaw = raw != nil
			for i, b := range segments {
				compare(t, b, infos[i], view, raw, keys)
			}
		}
	}
}

// compare reads a segment with both readers.
func compare(t *testing.T, b []byte, info sealed.Info, view, raw []byte, k sealed.Keys) {
	t.Helper()
	got, err := indRead(b, view, raw)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sealed.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var want []indEvent
	for i := range s.Blocks() {
		events, err := s.Events(i, k)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			want = append(want, independent(e))
		}
	}
	if !reflect.DeepEqual(got.Events, want) {
		t.Fatalf("the readers disagree:\n%+v\n%+v", got.Events, want)
	}
	counts := [5]uint64{uint64(info.Events), uint64(info.Masks), uint64(info.OutputBytes), uint64(info.StderrBytes), uint64(info.InputBytes)}
	if got.Number != info.Number || [16]byte(got.ID) != info.ID || [32]byte(got.Prev) != info.Prev ||
		got.FirstSeq != info.FirstSeq || got.NextSeq != info.NextSeq || got.Counts != counts {
		t.Fatalf("the readers disagree: %+v, %+v", got, info)
	}
	context, _ := s.Context(k)
	keyframe, _ := s.Keyframe(k)
	if !bytes.Equal(got.Context, context) || !bytes.Equal(got.Keyframe, keyframe) || len(context)+len(keyframe) == 0 {
		t.Fatalf("the readers disagree: context %q, %q, keyframe %q, %q", got.Context, context, got.Keyframe, keyframe)
	}
}

func goldenFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(golden, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGolden: a recording that lies in testdata since the format was made can
// be read, by both readers.
func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	ids, err := sealed.ParseIdentities(bytes.NewReader(goldenFile(t, "raw.agekey")), "raw.agekey")
	if err != nil {
		t.Fatal(err)
	}
	var want []indEvent
	if err := json.Unmarshal(goldenFile(t, "events.json"), &want); err != nil || len(want) < 20 {
		t.Fatalf("%d events: %v", len(want), err)
	}
	key := goldenFile(t, "key")
	view, raw, err := indKeys(key, ids[0])
	if err != nil {
		t.Fatal(err)
	}
	o, err := sealed.ParseKeyObject(key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := o.Unwrap(nil, ids)
	if err != nil {
		t.Fatal(err)
	}
	clear, private, err := indManifest(goldenFile(t, "manifest"), view)
	if err != nil || string(private) != `{"session":{},"summary":{}}` {
		t.Fatalf("private part %q: %v", private, err)
	}
	m, sm, err := sealed.ParseManifest(goldenFile(t, "manifest"))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := sm.Private(k); err != nil || !bytes.Equal(p, private) {
		t.Fatalf("private part %q: %v", p, err)
	}
	if sum := sha256.Sum256(key); m.KeyObject != sum || clear["key_object"] != hex.EncodeToString(sum[:]) {
		t.Error("the key object is another")
	}
	var got []indEvent
	prev := make([]byte, 32)
	for i, ref := range clear["segments"].([]any) {
		b := goldenFile(t, fmt.Sprintf("%06d.seg", i))
		sum := sha256.Sum256(b)
		if ref.(map[string]any)["sha256"] != hex.EncodeToString(sum[:]) {
			t.Errorf("segment %d is another", i)
		}
		s, err := indRead(b, view, raw)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.Prev, prev) {
			t.Errorf("segment %d follows another", i)
		}
		prev = sum[:]
		got = append(got, s.Events...)
		open, err := sealed.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		info := open.Info()
		info.SHA256 = sum
		if info.Ref() != m.Segments[i] {
			t.Errorf("segment %d is %+v, in the manifest %+v", i, info.Ref(), m.Segments[i])
		}
		compare(t, b, info, view, raw, k)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%d events are not the %d of events.json", len(got), len(want))
	}
}

// writeGolden makes the recording in testdata.
func writeGolden(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	id := sealed.ID{1, 0x8f, 3, 4, 5, 6, 7, 8}
	k := sealed.NewKeys()
	to := []age.Recipient{identity.Recipient()}
	key, err := sealed.WrapKeys(id, k, to, to)
	if err != nil {
		t.Fatal(err)
	}
	blocks := [][]sealed.Event{goldenEvents(0), goldenEvents(1), goldenEvents(2)}
	objects, infos := sealAll(t, id, k, blocks)
	m := sealed.Manifest{
		ID: id, State: sealed.StateInterrupted, KeyObject: sha256.Sum256(key), Missing: "the end",
		Started: time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC), Ended: time.Date(2026, 10, 1, 8, 5, 0, 500, time.UTC),
	}
	files := map[string][]byte{"key": key, "raw.agekey": []byte("# For tests only.\n" + identity.String() + "\n")}
	for i, info := range infos {
		m.Segments = append(m.Segments, info.Ref())
		m.Events += info.Events
		files[fmt.Sprintf("%06d.seg", i)] = objects[i]
	}
	if files["manifest"], err = sealed.SealManifest(m, []byte(`{"session":{},"summary":{}}`), k); err != nil {
		t.Fatal(err)
	}
	var events []indEvent
	for _, b := range blocks {
		for _, e := range b {
			events = append(events, independent(e))
		}
	}
	if files["events.json"], err = json.MarshalIndent(events, "", " "); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(golden, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(golden, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
