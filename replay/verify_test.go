package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/ledger"
	"sallyport/recorder/rectest"
	"sallyport/recorder/redact"
	"sallyport/replay"
)

// evidence is an archive and a ledger with recordings of every good state, each
// known by a name, that tests copy and change.
type evidence struct {
	*rectest.Store
	ids        map[string]policy.SessionID
	remembered []byte // the newest checkpoint
}

func session(at time.Time) policy.Session {
	return policy.Session{ID: policy.NewSessionID(at), User: owner, Target: "db1", Login: "root", Action: policy.ActionShell, TTY: true, Cols: 80, Rows: 24, Start: at}
}

// print types and prints n lines.
func print(t testing.TB, r *recorder.Recording, n int) {
	t.Helper()
	for i := range n {
		for _, err := range []error{
			r.Input([]byte("typed\r")),
			r.Output(policy.StreamOutput, fmt.Appendf(nil, "line %d password=hunter2hunter2 %x\r\n", i, i*i)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Next(policy.StreamOutput); err != nil {
			t.Fatal(err)
		}
	}
}

func newEvidence(t testing.TB) *evidence {
	t.Helper()
	ctx := context.Background()
	rules, err := redact.Compile(redact.Config{})
	if err != nil {
		t.Fatal(err)
	}
	e := &evidence{Store: rectest.New(t, recorder.Options{SegmentBytes: 12 << 10, NewMasker: func(s policy.Session) recorder.Masker { return rules.NewMasker(s.Cols) }}),
		ids: map[string]policy.SessionID{}}
	enter := func(en policy.Entry) {
		if err := e.Ledger.Append(ctx, en); err != nil {
			t.Fatal(err)
		}
	}
	enter(policy.Entry{Kind: policy.EntryNodeStart})
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	make := func(name string) policy.Session {
		at = at.Add(time.Minute)
		s := session(at)
		e.ids[name] = s.ID
		return s
	}
	status := uint32(0)
	for _, name := range []string{"complete", "other", "expired"} {
		e.Record(make(name), func(r *recorder.Recording) { print(t, r, 200) }, policy.End{ExitStatus: &status})
	}
	open := func(name string) {
		r, err := e.Recorder.Open(ctx, make(name))
		if err != nil {
			t.Fatal(err)
		}
		print(t, r, 40)
		if err := e.Recorder.Flush(ctx, e.ids[name]); err != nil {
			t.Fatal(err)
		}
		print(t, r, 5)
	}
	open("interrupted")
	e.Stop()
	e.Start()
	enter(policy.Entry{Kind: policy.EntryNodeStart})
	if _, err := e.Recorder.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	open("running")
	key, err := archive.ReadAll(ctx, e.Archive, archive.KeyName(string(e.ids["expired"])), 1<<20)
	if err != nil || len(key) == 0 {
		t.Fatal(err)
	}
	enter(policy.Entry{Kind: policy.EntryShred, Session: e.ids["expired"], Ref: map[string]string{"key": hexSum(key)}})
	if err := e.Archive.Delete(ctx, archive.KeyName(string(e.ids["expired"]))); err != nil {
		t.Fatal(err)
	}
	if e.remembered, err = e.Ledger.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	return e
}

// copied is the evidence in another directory, to be changed.
type copied struct {
	t   testing.TB
	e   *evidence
	dir string
}

func (e *evidence) copy(t testing.TB) *copied {
	t.Helper()
	c := &copied{t, e, t.TempDir()}
	for _, d := range []string{"archive", "ledger"} {
		if err := os.CopyFS(filepath.Join(c.dir, d), os.DirFS(filepath.Join(e.Dir, d))); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *copied) object(name string) string { return filepath.Join(c.dir, "archive", name) }

func (c *copied) read(path string) []byte {
	c.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *copied) write(path string, b []byte) {
	c.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *copied) remove(path string) {
	c.t.Helper()
	if err := os.RemoveAll(path); err != nil {
		c.t.Fatal(err)
	}
}

// verify returns the verdicts by the names of the recordings.
func (c *copied) verify(edit ...func(*replay.VerifyOptions)) map[string]replay.Verdict {
	c.t.Helper()
	store, err := archive.OpenDir(filepath.Join(c.dir, "archive"), archive.DirOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	o := replay.VerifyOptions{Archive: store}
	o.Log, o.LogErr = ledger.Load(filepath.Join(c.dir, "ledger"), c.e.Verifier)
	for _, f := range edit {
		f(&o)
	}
	names := map[policy.SessionID]string{}
	for name, id := range c.e.ids {
		names[id] = name
	}
	found := map[string]replay.Verdict{}
	last := policy.SessionID("")
	for v, err := range replay.Verify(context.Background(), o) {
		if err != nil {
			c.t.Fatal(err)
		}
		if v.ID <= last {
			c.t.Errorf("%s comes after %s", v.ID, last)
		}
		last = v.ID
		name := names[v.ID]
		if name == "" {
			name = string(v.ID)
		}
		found[name] = v
	}
	return found
}

func (c *copied) withKeys(o *replay.VerifyOptions) {
	o.View, o.Raw = []age.Identity{c.e.View}, []age.Identity{c.e.Raw}
}

var good = map[string]replay.Result{"complete": replay.Valid, "other": replay.Valid, "expired": replay.Expired, "interrupted": replay.Interrupted, "running": replay.Running}

// expect wants the good verdicts but for those in but.
func expect(t testing.TB, what string, got map[string]replay.Verdict, but map[string]replay.Result) {
	t.Helper()
	for name, want := range good {
		if r, ok := but[name]; ok {
			want = r
		}
		if got[name].Result != want {
			t.Errorf("%s: %s is %q (%s), want %q", what, name, got[name].Result, got[name].Detail, want)
		}
		if v := got[name]; v.Bad() != (v.Result == replay.Altered || v.Result == replay.Missing || v.Result == replay.Unsigned || v.Result == replay.WrongKey || v.Result == replay.RolledBack) || v.Bad() && v.Detail == "" {
			t.Errorf("%s: %s: %+v", what, name, v)
		}
	}
}

func TestVerifyWhatIsWhole(t *testing.T) {
	e := newEvidence(t)
	c := e.copy(t)
	expect(t, "outside", c.verify(), nil)
	got := c.verify(c.withKeys)
	expect(t, "content", got, nil)
	if !got["complete"].Content || c.verify()["complete"].Content {
		t.Error("content was not checked, or without a key")
	}
	expect(t, "view key only", c.verify(func(o *replay.VerifyOptions) { o.View = []age.Identity{e.View} }), nil)
	expect(t, "remembered", c.verify(func(o *replay.VerifyOptions) { o.Checkpoint = e.remembered }), nil)
	// An identity that opens nothing proves no more, and no less.
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	got = c.verify(func(o *replay.VerifyOptions) { o.View = []age.Identity{other} })
	expect(t, "another identity", got, nil)
	if got["complete"].Content {
		t.Error("content was checked with an identity that opens nothing")
	}
	one := c.verify(func(o *replay.VerifyOptions) {
		o.IDs = []policy.SessionID{e.ids["other"], "06h0000000000000000000000c"}
	})
	if len(one) != 2 || one["other"].Result != replay.Valid || one["06h0000000000000000000000c"].Result != replay.Missing {
		t.Errorf("two of them: %+v", one)
	}
	some := c.verify(func(o *replay.VerifyOptions) {
		o.From, o.To = e.ids["other"].Time(), e.ids["interrupted"].Time()
	})
	if len(some) != 2 || some["other"].Result != replay.Valid || some["expired"].Result != replay.Expired {
		t.Errorf("a time range: %+v", some)
	}
}

// T35: no change of an object passes. Every kind of byte of every object is
// flipped, and every object cut, lengthened, deleted and swapped.
func TestVerifyChangedObjects(t *testing.T) {
	e := newEvidence(t)
	id, other := string(e.ids["complete"]), string(e.ids["other"])
	names := []string{archive.KeyName(id), archive.ManifestName(id)}
	for n := uint32(0); ; n++ {
		if _, err := os.Stat(filepath.Join(e.ArchiveDir(), archive.SegmentName(id, n))); err != nil {
			break
		}
		names = append(names, archive.SegmentName(id, n))
	}
	if len(names) < 5 {
		t.Fatalf("%d objects make no test: there must be three segments", len(names))
	}
	c := e.copy(t)
	check := func(what string, want replay.Result, segment int) {
		t.Helper()
		for _, keys := range []bool{false, true} {
			var got map[string]replay.Verdict
			if keys {
				got = c.verify(c.withKeys, only(e, "complete", "other"))
			} else {
				got = c.verify(only(e, "complete", "other"))
			}
			if v := got["complete"]; v.Result != want || v.Segment != segment || got["other"].Result != replay.Valid {
				t.Errorf("%s, with keys %v: %+v, want %s of segment %d; the other is %s", what, keys, v, want, segment, got["other"].Result)
			}
		}
	}
	for i, name := range names {
		path := c.object(name)
		whole := c.read(path)
		segment := i - 2
		if i < 2 {
			segment = -1
		}
		for _, at := range positions(whole) {
			flipped := bytes.Clone(whole)
			flipped[at] ^= 1 << (at % 8)
			c.write(path, flipped)
			check(fmt.Sprintf("%s, byte %d flipped", name, at), replay.Altered, segment)
		}
		for what, b := range map[string][]byte{"empty": {}, "cut by one": whole[:len(whole)-1], "cut in half": whole[:len(whole)/2], "lengthened": append(bytes.Clone(whole), 0)} {
			c.write(path, b)
			check(name+" "+what, replay.Altered, segment)
		}
		c.write(path, c.read(c.object(strings.Replace(name, id, other, 1))))
		check(name+" is that of another recording", replay.Altered, segment)
		c.remove(path)
		check(name+" deleted", replay.Missing, segment)
		c.write(path, whole)
	}
	first, second := c.object(archive.SegmentName(id, 0)), c.object(archive.SegmentName(id, 1))
	a, b := c.read(first), c.read(second)
	c.write(first, b)
	c.write(second, a)
	check("two segments swapped", replay.Altered, 0)
	c.write(first, a)
	c.write(second, b)
	c.write(c.object("recordings/"+id+"/000099.seg"), a)
	check("a segment more", replay.Unsigned, -1)
	c.remove(c.object("recordings/" + id + "/000099.seg"))
	c.write(c.object("recordings/"+id+"/notes"), a)
	check("an object that is none", replay.Altered, -1)
	c.remove(c.object("recordings/" + id + "/notes"))
	check("", replay.Valid, -1)
	c.remove(c.object("recordings/" + id))
	check("all of it deleted", replay.Missing, -1)
}

// only chooses recordings.
func only(e *evidence, names ...string) func(*replay.VerifyOptions) {
	return func(o *replay.VerifyOptions) {
		for _, n := range names {
			o.IDs = append(o.IDs, e.ids[n])
		}
	}
}

// positions are offsets in every part of an object: some of each hundred bytes,
// and all of its beginning and end.
func positions(b []byte) (all []int) {
	for i := range b {
		if i < 8 || i >= len(b)-4 || i%97 == 13 {
			all = append(all, i)
		}
	}
	if len(all) > 60 { // of a large one, spread
		step := len(all) / 60
		for i := 0; i*step < len(all); i++ {
			all[i] = all[i*step]
		}
		all = all[:60]
	}
	return all
}

// T35: a whole recording that was put in place of another, or added.
func TestVerifySwappedRecordings(t *testing.T) {
	e := newEvidence(t)
	c := e.copy(t)
	a, b := c.object("recordings/"+string(e.ids["complete"])), c.object("recordings/"+string(e.ids["other"]))
	for _, move := range [][2]string{{a, a + "x"}, {b, a}, {a + "x", b}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "swapped", c.verify(c.withKeys), map[string]replay.Result{"complete": replay.Altered, "other": replay.Altered})
	c = e.copy(t)
	unknown := "06h0zzzzzzzzzzzzzzzzzzzzzw"
	if err := os.CopyFS(c.object("recordings/"+unknown), os.DirFS(c.object("recordings/"+string(e.ids["other"])))); err != nil {
		t.Fatal(err)
	}
	got := c.verify(c.withKeys)
	expect(t, "added", got, nil)
	if got[unknown].Result != replay.Unsigned {
		t.Errorf("a recording that the ledger does not know is %+v", got[unknown])
	}
	// Nor does deleting the key look like an expiry without the entry of it.
	c = e.copy(t)
	c.remove(c.object(archive.KeyName(string(e.ids["other"]))))
	expect(t, "shredded without an entry", c.verify(), map[string]replay.Result{"other": replay.Missing})
}

// T35: no change of the ledger passes.
func TestVerifyChangedLedger(t *testing.T) {
	e := newEvidence(t)
	all := func(r replay.Result) map[string]replay.Result {
		m := map[string]replay.Result{}
		for name := range good {
			m[name] = r
		}
		return m
	}
	c := e.copy(t)
	entries := filepath.Join(c.dir, "ledger", "entries.jsonl")
	whole := c.read(entries)
	lines := bytes.SplitAfter(whole, []byte{'\n'})
	for i, text := range map[string][]byte{
		"first byte": flip(whole, 0), "in the middle": flip(whole, len(whole)/2), "near the end": flip(whole, len(whole)-10),
		"an entry removed": bytes.Join(append(append([][]byte{}, lines[:3]...), lines[4:]...), nil),
		"the end removed":  bytes.Join(lines[:len(lines)-2], nil),
		"two swapped":      bytes.Join(append([][]byte{lines[1], lines[0]}, lines[2:]...), nil),
		"empty":            {},
	} {
		c.write(entries, text)
		expect(t, "entries: "+i, c.verify(), all(replay.Altered))
	}
	c.write(entries, whole)
	note := filepath.Join(c.dir, "ledger", "checkpoint")
	signed := c.read(note)
	c.write(note, flip(signed, bytes.IndexByte(signed, '\n')+1)) // its size
	expect(t, "checkpoint changed", c.verify(), all(replay.Altered))
	c.remove(note)
	expect(t, "checkpoint gone", c.verify(), all(replay.Unsigned))
	c.write(note, signed)
	expect(t, "as it was", c.verify(), nil)

	// Signed anew with another key.
	skey, _, err := ledger.GenerateKey("sallyport/test")
	if err != nil {
		t.Fatal(err)
	}
	c.remove(note)
	forge(t, filepath.Join(c.dir, "ledger"), skey)
	expect(t, "another key", c.verify(), all(replay.WrongKey))

	// Entries that nobody has signed.
	c = e.copy(t)
	last := lines[len(lines)-2]
	fake := bytes.ReplaceAll(last, []byte(e.ids["expired"]), []byte(e.ids["other"]))
	c.write(filepath.Join(c.dir, "ledger", "entries.jsonl"), append(bytes.Clone(whole), fake...))
	expect(t, "a shredding that nobody signed", c.verify(), map[string]replay.Result{"other": replay.Unsigned})
}

func flip(b []byte, at int) []byte {
	out := bytes.Clone(b)
	out[at] ^= 1
	return out
}

// T35: the whole record is an older copy of itself. By itself it is whole; with
// what somebody remembers it is not.
func TestVerifyRolledBack(t *testing.T) {
	e := newEvidence(t)
	old := e.copy(t)
	if err := e.Ledger.Append(context.Background(), policy.Entry{Kind: policy.EntryNodeStop}); err != nil {
		t.Fatal(err)
	}
	newer, err := e.Ledger.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "without a remembered checkpoint", old.verify(), nil)
	rolled := map[string]replay.Result{}
	for name := range good {
		rolled[name] = replay.RolledBack
	}
	expect(t, "with one", old.verify(func(o *replay.VerifyOptions) { o.Checkpoint = newer }), rolled)
}

// The catalog is nobody's evidence: verify never opens it.
func TestVerifyNeedsNoCatalog(t *testing.T) {
	e := newEvidence(t)
	err := filepath.WalkDir(e.copy(t).dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(path, "catalog") {
			t.Errorf("%s is part of the evidence", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
