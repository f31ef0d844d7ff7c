package replay_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/ledger"
	"sallyport/recorder/sealed"
	"sallyport/replay"
)

// forgery is a recording made by somebody who has every key, that of the ledger
// too: digests and signatures are right, whatever it says. Each function, where
// there is one, changes a part before what follows is made of it.
type forgery struct {
	event    func(*sealed.Event)
	context  func(*policy.Session)
	keyframe []byte
	sealWith func(*sealed.Keys) // other keys than the key object's
	key      func([]byte) []byte
	segment  func([]byte) []byte
	clear    func(*sealed.Manifest)
	private  func(*policy.Recording)
	text     func([]byte) []byte // of the private part
	manifest func([]byte) []byte
	entries  func(policy.SessionID, []policy.Entry) []policy.Entry
	objects  func(id string, all map[string][]byte)
}

func change[T any](f func(T) T, v T) T {
	if f == nil {
		return v
	}
	return f(v)
}

func touch[T any](f func(*T), v *T) {
	if f != nil {
		f(v)
	}
}

// forged is a forgery, ready to be verified.
type forged struct {
	o         replay.VerifyOptions
	view, raw *age.X25519Identity
}

func (f forgery) make(t testing.TB) forged {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	out := forged{view: identity(t), raw: identity(t)}
	s := session(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	id, err := sealed.ParseID(string(s.ID))
	must(err)
	keys := sealed.NewKeys()
	key, err := sealed.WrapKeys(id, keys, []age.Recipient{out.view.Recipient()}, []age.Recipient{out.raw.Recipient()})
	must(err)
	key = change(f.key, key)
	touch(f.sealWith, &keys)
	shown := s
	touch(f.context, &shown)
	e := sealed.Event{Code: 'o', Raw: []byte("password=hunter22"), View: []byte("password=********"), Masks: []string{`{"rule":"password","off":9,"len":8,"cells":8}`}}
	touch(f.event, &e)
	w := sealed.NewWriter(id, 0, [32]byte{}, keys)
	w.Context(mustJSON(t, shown))
	if len(f.keyframe) > 0 {
		w.Keyframe(f.keyframe)
	}
	must(w.Block([]sealed.Event{{Code: 'i', Raw: []byte("typed")}, e, {Code: 'o', Raw: []byte("plain")}}))
	seg, info, err := w.Finish(0, 3)
	must(err)
	seg = change(f.segment, seg)
	ref := info.Ref()
	ref.SHA256 = sum(seg)
	ref.Size = int64(len(seg))
	m := sealed.Manifest{ID: id, State: sealed.StateComplete, Started: s.Start, Ended: s.Start.Add(time.Second), Segments: []sealed.SegmentRef{ref}, KeyObject: sum(key),
		OutputBytes: info.OutputBytes, InputBytes: info.InputBytes, Events: info.Events, Masks: info.Masks}
	r := policy.Recording{Session: s, Summary: policy.Summary{ID: s.ID, State: policy.RecordingComplete, Ended: m.Ended, Duration: time.Second, Segments: 1,
		OutputBytes: info.OutputBytes, InputBytes: info.InputBytes, Events: info.Events, Masks: info.Masks}}
	touch(f.clear, &m)
	touch(f.private, &r)
	manifest, err := sealed.SealManifest(m, change(f.text, mustJSON(t, r)), keys)
	must(err)
	manifest = change(f.manifest, manifest)
	name := string(s.ID)
	objects := map[string][]byte{archive.KeyName(name): key, archive.SegmentName(name, 0): seg, archive.ManifestName(name): manifest}
	entries := []policy.Entry{
		{Kind: policy.EntryRecordingStart, Session: s.ID, Ref: map[string]string{"key": hexSum(key)}},
		{Kind: policy.EntryRecordingSegment, Session: s.ID, Ref: map[string]string{"segment": "0", "sha256": hexSum(seg)}},
		{Kind: policy.EntryRecordingEnd, Session: s.ID, Ref: map[string]string{"manifest": hexSum(manifest), "segments": "1", "state": "complete"}},
	}
	if f.entries != nil {
		entries = f.entries(s.ID, entries)
	}
	if f.objects != nil {
		f.objects(name, objects)
	}
	dir := t.TempDir()
	store, err := archive.OpenDir(filepath.Join(dir, "archive"), archive.DirOptions{})
	must(err)
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		must(store.Create(context.Background(), name, objects[name]))
	}
	skey, vkey, err := ledger.GenerateKey("sallyport/forger")
	must(err)
	forge(t, filepath.Join(dir, "ledger"), skey, entries...)
	log, err := ledger.Load(filepath.Join(dir, "ledger"), verifier(t, vkey))
	must(err)
	out.o = replay.VerifyOptions{Archive: store, Log: log}
	return out
}

// verdicts are those from outside, with the view identity, with the raw one.
func (f forged) verdicts(t testing.TB) [3]replay.Result {
	t.Helper()
	var out [3]replay.Result
	for i := range out {
		o := f.o
		switch i {
		case 1:
			o.View = []age.Identity{f.view}
		case 2:
			o.Raw = []age.Identity{f.raw}
		}
		n := 0
		for v, err := range replay.Verify(context.Background(), o) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; v.Bad() && v.Detail == "" || !v.Bad() && v.Segment != -1 {
				t.Errorf("%+v", v)
			}
			out[i] = v.Result
		}
		if n != 1 {
			t.Errorf("%d verdicts on one recording", n)
		}
	}
	return out
}

var (
	allValid   = [3]replay.Result{replay.Valid, replay.Valid, replay.Valid}
	allAltered = [3]replay.Result{replay.Altered, replay.Altered, replay.Altered}
	viewFinds  = [3]replay.Result{replay.Valid, replay.Altered, replay.Altered}
	rawFinds   = [3]replay.Result{replay.Valid, replay.Valid, replay.Altered}
)

func every(r replay.Result) [3]replay.Result { return [3]replay.Result{r, r, r} }

// T35: content that lies under digests that are right.
func TestVerifyForgedContent(t *testing.T) {
	mask := func(text string) func(*sealed.Event) {
		return func(e *sealed.Event) { e.Masks = []string{text} }
	}
	private := func(f func(*policy.Recording)) forgery { return forgery{private: f} }
	clear := func(f func(*sealed.Manifest)) forgery { return forgery{clear: f} }
	for name, c := range map[string]struct {
		f    forgery
		want [3]replay.Result
	}{
		"nothing":                       {forgery{}, allValid},
		"a view of something else":      {forgery{event: func(e *sealed.Event) { e.View = []byte("I logged in as me") }}, rawFinds},
		"a view that hides more":        {forgery{event: func(e *sealed.Event) { e.View = []byte("*****************") }}, rawFinds},
		"a view that shows all":         {forgery{event: func(e *sealed.Event) { e.View = e.Raw }}, rawFinds},
		"a mask beyond the end":         {forgery{event: mask(`{"rule":"password","off":9,"len":80,"cells":8}`)}, rawFinds},
		"a mask before the start":       {forgery{event: mask(`{"rule":"password","off":-1,"len":8,"cells":8}`)}, viewFinds},
		"a mask of negative length":     {forgery{event: mask(`{"rule":"password","off":9,"len":-8,"cells":8}`)}, viewFinds},
		"a mask that overflows":         {forgery{event: mask(`{"rule":"password","off":9,"len":9223372036854775807,"cells":8}`)}, viewFinds},
		"a mask that is none":           {forgery{event: mask(`"nothing"`)}, viewFinds},
		"a session of another id":       {forgery{context: func(s *policy.Session) { s.ID = policy.NewSessionID(time.Now()) }}, viewFinds},
		"a session of another user":     {forgery{context: func(s *policy.Session) { s.User = somebody }}, viewFinds},
		"a session on another target":   {forgery{context: func(s *policy.Session) { s.Target = "db2" }}, viewFinds},
		"keys of another recording":     {forgery{sealWith: func(k *sealed.Keys) { *k = sealed.NewKeys() }}, viewFinds},
		"clear: one event more":         {clear(func(m *sealed.Manifest) { m.Events++ }), allAltered},
		"clear: one mask less":          {clear(func(m *sealed.Manifest) { m.Masks-- }), allAltered},
		"clear: other output":           {clear(func(m *sealed.Manifest) { m.OutputBytes++ }), allAltered},
		"clear: other errors":           {clear(func(m *sealed.Manifest) { m.StderrBytes++ }), allAltered},
		"clear: other input":            {clear(func(m *sealed.Manifest) { m.InputBytes++ }), allAltered},
		"clear: another state":          {clear(func(m *sealed.Manifest) { m.State = sealed.StateInterrupted }), allAltered},
		"clear: another key object":     {clear(func(m *sealed.Manifest) { m.KeyObject[0] ^= 1 }), allAltered},
		"clear: another recording":      {clear(func(m *sealed.Manifest) { m.ID[15] ^= 1 }), allAltered},
		"clear: another segment":        {clear(func(m *sealed.Manifest) { m.Segments[0].SHA256[0] ^= 1 }), allAltered},
		"clear: a segment's size":       {clear(func(m *sealed.Manifest) { m.Segments[0].Size++ }), allAltered},
		"clear: a segment's events":     {clear(func(m *sealed.Manifest) { m.Segments[0].Events++ }), allAltered},
		"clear: a segment's time":       {clear(func(m *sealed.Manifest) { m.Segments[0].To += time.Hour }), allAltered},
		"clear: no segment":             {clear(func(m *sealed.Manifest) { m.Segments = nil }), allAltered},
		"clear: another start":          {clear(func(m *sealed.Manifest) { m.Started = m.Started.Add(-time.Hour) }), viewFinds},
		"clear: another end":            {clear(func(m *sealed.Manifest) { m.Ended = m.Ended.Add(time.Hour) }), viewFinds},
		"private: no JSON":              {forgery{text: func([]byte) []byte { return []byte("{") }}, viewFinds},
		"private: empty":                {forgery{text: func([]byte) []byte { return nil }}, viewFinds},
		"private: another session":      {private(func(r *policy.Recording) { r.Session.ID = "06h0000000000000000000000c" }), viewFinds},
		"private: another summary":      {private(func(r *policy.Recording) { r.Summary.ID = "06h0000000000000000000000c" }), viewFinds},
		"private: another user":         {private(func(r *policy.Recording) { r.Session.User = somebody }), viewFinds},
		"private: another target":       {private(func(r *policy.Recording) { r.Session.Target = "db2" }), viewFinds},
		"private: another login":        {private(func(r *policy.Recording) { r.Session.Login = "nobody" }), viewFinds},
		"private: another source":       {private(func(r *policy.Recording) { r.Session.Source = "192.0.2.1:1" }), viewFinds},
		"private: another command":      {private(func(r *policy.Recording) { r.Session.Command = "true" }), viewFinds},
		"private: another action":       {private(func(r *policy.Recording) { r.Session.Action = policy.ActionExec }), viewFinds},
		"private: another start":        {private(func(r *policy.Recording) { r.Session.Start = r.Session.Start.Add(time.Hour) }), viewFinds},
		"private: another end":          {private(func(r *policy.Recording) { r.Summary.Ended = r.Summary.Ended.Add(time.Hour) }), viewFinds},
		"private: another state":        {private(func(r *policy.Recording) { r.Summary.State = policy.RecordingInterrupted }), viewFinds},
		"private: a segment more":       {private(func(r *policy.Recording) { r.Summary.Segments++ }), viewFinds},
		"private: other events":         {private(func(r *policy.Recording) { r.Summary.Events++ }), viewFinds},
		"private: other masks":          {private(func(r *policy.Recording) { r.Summary.Masks++ }), viewFinds},
		"private: other output":         {private(func(r *policy.Recording) { r.Summary.OutputBytes++ }), viewFinds},
		"private: other errors":         {private(func(r *policy.Recording) { r.Summary.StderrBytes++ }), viewFinds},
		"private: other input":          {private(func(r *policy.Recording) { r.Summary.InputBytes++ }), viewFinds},
		"key: of another recording":     {forgery{key: rekey(12)}, allAltered},
		"key: announces another view":   {forgery{key: rekey(28)}, viewFinds},
		"key: announces another raw":    {forgery{key: rekey(44)}, rawFinds},
		"key: nonsense":                 {forgery{key: func([]byte) []byte { return []byte("key") }}, allAltered},
		"manifest: nonsense":            {forgery{manifest: func([]byte) []byte { return []byte("manifest") }}, allAltered},
		"manifest: its sealed part":     {forgery{manifest: func(b []byte) []byte { return flip(b, len(b)-20) }}, viewFinds},
		"manifest: the tag of it":       {forgery{manifest: func(b []byte) []byte { return flip(b, len(b)-1) }}, viewFinds},
		"manifest: its salt":            {forgery{manifest: remanifest(44)}, viewFinds},
		"manifest: its key check":       {forgery{manifest: remanifest(28)}, viewFinds},
		"segment: nonsense":             {forgery{segment: func([]byte) []byte { return []byte("segment") }}, allAltered},
		"segment: of another recording": {forgery{segment: reseg(16)}, allAltered},
		"segment: of another number":    {forgery{segment: reseg(15)}, allAltered},
		"segment: after another":        {forgery{segment: reseg(32)}, allAltered},
		"segment: a keyframe":           {forgery{keyframe: []byte("screen")}, allValid},
		"segment: its keyframe":         {forgery{keyframe: []byte("screen"), segment: beforeBlocks}, viewFinds},
		"segment: its salt":             {forgery{segment: reseg(64)}, viewFinds},
		"segment: its view key check":   {forgery{segment: reseg(80)}, viewFinds},
		"segment: its raw key check":    {forgery{segment: reseg(96)}, viewFinds},
	} {
		if got := c.f.make(t).verdicts(t); got != c.want {
			t.Errorf("%s: from outside %s, with the view %s, with all %s; want %s", name, got[0], got[1], got[2], c.want)
		}
	}
}

// rekey flips a byte of a key object and makes its checksum right again.
func rekey(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b = flip(b, at)
		binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], crc32.MakeTable(crc32.Castagnoli)))
		return b
	}
}

// beforeBlocks flips a byte just before the first block: of the keyframe, where
// there is one.
func beforeBlocks(b []byte) []byte {
	seg, err := sealed.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		panic(err)
	}
	return flip(b, int(seg.Blocks()[0].Offset)-1)
}

// reseg does so with the header of a segment, remanifest with a manifest's.
func reseg(at int) func([]byte) []byte      { return reheader(at, 116) }
func remanifest(at int) func([]byte) []byte { return reheader(at, 80) }

func reheader(at, size int) func([]byte) []byte {
	return func(b []byte) []byte {
		b = flip(b, at)
		binary.BigEndian.PutUint32(b[size-4:], crc32.Checksum(b[:size-4], crc32.MakeTable(crc32.Castagnoli)))
		return b
	}
}

// T35: every byte of a segment, under a ledger and a manifest that have its
// digest: what is in the clear may pass without keys, and nothing does with them.
func TestVerifyEveryByteOfASegmentIsChecked(t *testing.T) {
	const (
		always  = iota // nobody is fooled
		outside        // without keys it may pass
		raw            // with the view key it may pass
	)
	for class, c := range map[string]struct{ step, who int }{
		"header": {1, always}, "trailer": {1, always},
		"frame header": {1, outside}, "counts": {1, outside}, "index": {1, outside}, "footer tag": {1, outside},
		"context": {13, outside}, "view": {7, outside}, "raw frame header": {1, raw}, "raw": {7, raw},
	} {
		size := 1
		for n := 0; n < size; n += c.step {
			at := -1
			got := (forgery{segment: func(b []byte) []byte {
				places := classes(t, b)[class]
				// Of frames, whose length differs from one to the next, the last byte too.
				size = len(places)
				if n+c.step >= size {
					n = size - 1
				}
				at = places[n]
				return flip(b, at)
			}}).make(t).verdicts(t)
			if got[2] != replay.Altered || c.who < raw && got[1] != replay.Altered || c.who < outside && got[0] != replay.Altered ||
				got[0] != replay.Altered && got[0] != replay.Valid || got[1] != replay.Altered && got[1] != replay.Valid {
				t.Errorf("byte %d, number %d of the %s, flipped: from outside %s, with the view %s, with all %s", at, n, class, got[0], got[1], got[2])
			}
		}
		if size < 16 {
			t.Errorf("%d bytes of the %s were flipped", size, class)
		}
	}
}

// classes are the places of a segment's bytes by what they belong to.
func classes(t testing.TB, b []byte) map[string][]int {
	t.Helper()
	const header, frame, fixed, tag, trailer = 116, 32, 64, 16, 16
	seg, err := sealed.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]int{}
	next := 0
	mark := func(name string, n int) {
		for ; n > 0; n-- {
			out[name] = append(out[name], next)
			next++
		}
	}
	blocks := seg.Blocks()
	if len(blocks) != 1 || blocks[0].RawSize == 0 {
		t.Fatalf("%+v", blocks)
	}
	mark("header", header)
	mark("frame header", frame)
	mark("context", int(blocks[0].Offset)-header-frame)
	mark("frame header", frame)
	mark("view", int(blocks[0].ViewSize)-frame)
	mark("raw frame header", frame)
	mark("raw", int(blocks[0].RawSize)-frame)
	mark("frame header", frame)
	mark("counts", fixed)
	mark("index", len(b)-next-trailer-tag)
	mark("footer tag", tag)
	mark("trailer", trailer)
	if foot := binary.BigEndian.Uint64(b[len(b)-trailer:]); next != len(b) || int(foot) != len(b)-trailer-tag-len(out["index"])-fixed-frame {
		t.Fatalf("%d of %d bytes have a name, and the footer is at byte %d", next, len(b), foot)
	}
	return out
}

// T35: a ledger that is signed, and contradicts itself or the archive.
func TestVerifyForgedEntries(t *testing.T) {
	type entries = []policy.Entry
	ref := func(i int, key, value string) func(policy.SessionID, entries) entries {
		return func(_ policy.SessionID, e entries) entries { e[i].Ref[key] = value; return e }
	}
	with := func(kind policy.EntryKind, ref map[string]string) func(policy.SessionID, entries) entries {
		return func(id policy.SessionID, e entries) entries {
			return append(e, policy.Entry{Kind: kind, Session: id, Ref: ref})
		}
	}
	drop := func(i int) func(policy.SessionID, entries) entries {
		return func(_ policy.SessionID, e entries) entries { return slices.Delete(e, i, i+1) }
	}
	shred := func(id policy.SessionID, e entries) entries {
		return append(e, policy.Entry{Kind: policy.EntryShred, Session: id, Ref: map[string]string{"key": e[0].Ref["key"]}})
	}
	noKey := func(id string, all map[string][]byte) { delete(all, archive.KeyName(id)) }
	noManifest := func(id string, all map[string][]byte) { delete(all, archive.ManifestName(id)) }
	only := func(keep func(string) string) func(string, map[string][]byte) {
		return func(id string, all map[string][]byte) {
			maps.DeleteFunc(all, func(name string, _ []byte) bool { return name != keep(id) })
		}
	}
	zero := fmt.Sprintf("%064d", 0)
	for name, c := range map[string]struct {
		f    forgery
		want replay.Result
	}{
		"another key digest":             {forgery{entries: ref(0, "key", zero)}, replay.Altered},
		"no key digest":                  {forgery{entries: ref(0, "key", "")}, replay.Altered},
		"another segment digest":         {forgery{entries: ref(1, "sha256", zero)}, replay.Altered},
		"another segment number":         {forgery{entries: ref(1, "segment", "1")}, replay.Altered},
		"another manifest digest":        {forgery{entries: ref(2, "manifest", zero)}, replay.Altered},
		"another number of segments":     {forgery{entries: ref(2, "segments", "2")}, replay.Altered},
		"another state":                  {forgery{entries: ref(2, "state", "interrupted")}, replay.Altered},
		"no start":                       {forgery{entries: drop(0)}, replay.Unsigned},
		"no segment":                     {forgery{entries: drop(1)}, replay.Altered},
		"no end":                         {forgery{entries: drop(2)}, replay.Running},
		"no end, and no manifest":        {forgery{entries: drop(2), objects: noManifest}, replay.Running},
		"no end, of another recording":   {forgery{entries: drop(2), objects: noManifest, segment: reseg(16)}, replay.Altered},
		"no end, of another number":      {forgery{entries: drop(2), objects: noManifest, segment: reseg(15)}, replay.Altered},
		"no end, after another":          {forgery{entries: drop(2), objects: noManifest, segment: reseg(32)}, replay.Altered},
		"no entry":                       {forgery{entries: func(policy.SessionID, entries) entries { return entries{{Kind: policy.EntryNodeStart}} }}, replay.Unsigned},
		"a second start, the same":       {forgery{entries: func(_ policy.SessionID, e entries) entries { return slices.Insert(e, 1, e[0]) }}, replay.Valid},
		"a second segment, the same":     {forgery{entries: func(_ policy.SessionID, e entries) entries { return slices.Insert(e, 2, e[1]) }}, replay.Valid},
		"a second start":                 {forgery{entries: with(policy.EntryRecordingStart, map[string]string{"key": zero})}, replay.Altered},
		"a second end":                   {forgery{entries: with(policy.EntryRecordingEnd, map[string]string{"manifest": zero, "segments": "1", "state": "complete"})}, replay.Altered},
		"a segment after the end":        {forgery{entries: with(policy.EntryRecordingSegment, map[string]string{"segment": "1", "sha256": zero})}, replay.Missing},
		"the end before the segment":     {forgery{entries: func(_ policy.SessionID, e entries) entries { e[1], e[2] = e[2], e[1]; return e }}, replay.Altered},
		"shredded":                       {forgery{entries: shred, objects: noKey}, replay.Expired},
		"shredded and swept":             {forgery{entries: shred, objects: only(archive.ManifestName)}, replay.Expired},
		"shredded, and the key is there": {forgery{entries: shred}, replay.Expired},
		"shredded, and another key is there": {forgery{entries: shred, objects: func(id string, all map[string][]byte) {
			all[archive.KeyName(id)] = []byte("key")
		}}, replay.Altered},
		"shredded, and no manifest": {forgery{entries: shred, objects: only(func(id string) string { return archive.SegmentName(id, 0) })}, replay.Missing},
		"shredded, and nothing":     {forgery{entries: shred, objects: only(func(string) string { return "" })}, replay.Missing},
		"shredded, and one segment more": {forgery{entries: shred, objects: func(id string, all map[string][]byte) {
			noKey(id, all)
			all[archive.SegmentName(id, 1)] = []byte("segment")
		}}, replay.Unsigned},
		"shredded, and a segment is another": {forgery{entries: shred, objects: func(id string, all map[string][]byte) {
			noKey(id, all)
			all[archive.SegmentName(id, 0)] = []byte("segment")
		}}, replay.Altered},
		"shredded, and the manifest is another": {forgery{entries: shred, objects: func(id string, all map[string][]byte) {
			noKey(id, all)
			all[archive.ManifestName(id)] = []byte("manifest")
		}}, replay.Altered},
		"another key was shredded": {forgery{entries: with(policy.EntryShred, map[string]string{"key": zero}), objects: noKey}, replay.Altered},
		"shredded twice": {forgery{entries: func(id policy.SessionID, e entries) entries {
			return append(shred(id, e), policy.Entry{Kind: policy.EntryShred, Session: id, Ref: map[string]string{"key": ""}})
		}, objects: noKey}, replay.Expired},
		// A hold wins until the keys are destroyed, so it says that they were not.
		"shredding failed, then a hold": {forgery{entries: func(id policy.SessionID, e entries) entries {
			return append(shred(id, e), policy.Entry{Kind: policy.EntryHold, Session: id})
		}}, replay.Valid},
		"shredding failed, then a hold, and no key": {forgery{entries: func(id policy.SessionID, e entries) entries {
			return append(shred(id, e), policy.Entry{Kind: policy.EntryHold, Session: id})
		}, objects: noKey}, replay.Missing},
		"a hold, lifted, then shredded": {forgery{entries: func(id policy.SessionID, e entries) entries {
			return shred(id, append(e, policy.Entry{Kind: policy.EntryHold, Session: id}, policy.Entry{Kind: policy.EntryUnhold, Session: id}))
		}, objects: noKey}, replay.Expired},
	} {
		if got := c.f.make(t).verdicts(t); got != every(c.want) {
			t.Errorf("%s: from outside %s, with the view %s, with all %s; want %s", name, got[0], got[1], got[2], c.want)
		}
	}
}

var somebody = policy.User{Issuer: "i", Subject: "somebody", Email: "somebody@example.com"}
