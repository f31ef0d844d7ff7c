package replay_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/ledger"
	"sallyport/replay"
)

// objects are the names of what an archive has of a recording, the segments
// first.
func (c *copied) objects(name string) []string {
	c.t.Helper()
	id := string(c.e.ids[name])
	entries, err := os.ReadDir(c.object("recordings/" + id))
	if err != nil {
		c.t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, "recordings/"+id+"/"+e.Name())
	}
	return all
}

// but wants all other recordings to be as they were.
func but(name string, r replay.Result) map[string]replay.Result {
	return map[string]replay.Result{name: r}
}

func all(r replay.Result) map[string]replay.Result {
	m := map[string]replay.Result{}
	for name := range good {
		m[name] = r
	}
	return m
}

// T35: the objects of recordings in every state.
func TestVerifyChangedObjectsOfEveryState(t *testing.T) {
	e := newEvidence(t)
	c := e.copy(t)
	for name := range good {
		objects := c.objects(name)
		if len(objects) < 2 {
			t.Fatalf("%s has %q, which makes no test", name, objects)
		}
		for _, object := range objects {
			path := c.object(object)
			whole := c.read(path)
			gone := replay.Missing
			if name == "expired" && strings.HasSuffix(object, ".seg") {
				gone = replay.Expired // they go with the keys
			}
			check := func(what string, want replay.Result) {
				t.Helper()
				expect(t, fmt.Sprintf("%s of %s: %s", filepath.Base(object), name, what), c.verify(), but(name, want))
			}
			for _, at := range []int{0, 9, len(whole) / 3, len(whole) - 1} {
				c.write(path, flip(whole, at))
				check(fmt.Sprintf("byte %d flipped", at), replay.Altered)
			}
			c.write(path, whole[:len(whole)-1])
			check("cut", replay.Altered)
			c.write(path, append(bytes.Clone(whole), 0))
			check("lengthened", replay.Altered)
			c.remove(path)
			check("deleted", gone)
			c.write(path, whole)
		}
	}
	expect(t, "as it was", c.verify(c.withKeys), nil)
}

// What cannot be read costs no other recording its verdict.
func TestVerifyUnreadableObjects(t *testing.T) {
	e := newEvidence(t)
	c := e.copy(t)
	for _, object := range c.objects("complete") {
		path := c.object(object)
		whole := c.read(path)
		for what, put := range map[string]func() error{
			"a folder":        func() error { return os.Mkdir(path, 0o700) },
			"a pipe":          func() error { return syscall.Mkfifo(path, 0o600) },
			"a symbolic link": func() error { c.write(path+"x", whole); return os.Symlink(path+"x", path) },
		} {
			c.remove(path)
			if err := put(); err != nil {
				t.Fatal(err)
			}
			want := replay.Missing
			if strings.HasPrefix(what, "a symbolic") {
				want = replay.Altered // since its target is a stranger
			}
			expect(t, filepath.Base(object)+" is "+what, c.verify(), but("complete", want))
			c.remove(path)
			c.remove(path + "x")
		}
		c.write(path, whole)
	}
	expect(t, "as it was", c.verify(), nil)
}

// The archive may be one object ahead of the ledger, where a session goes on;
// what is there must follow what the ledger has.
func TestVerifyAheadOfTheLedger(t *testing.T) {
	e := newEvidence(t)
	c, id := e.copy(t), string(e.ids["running"])
	n := uint32(len(c.objects("running")) - 1) // and the key
	next := c.object(archive.SegmentName(id, n))
	manifest := c.object(archive.ManifestName(id))
	of := func(name func(string) string) []byte { return c.read(c.object(name(string(e.ids["other"])))) }
	for what, b := range map[string][]byte{
		"nonsense": []byte("segment"), "nothing": {},
		"that of another recording": of(func(id string) string { return archive.SegmentName(id, n) }),
		"the one before":            c.read(c.object(archive.SegmentName(id, n-1))),
	} {
		c.write(next, b)
		expect(t, "the next segment is "+what, c.verify(), but("running", replay.Unsigned))
	}
	c.remove(next)
	for what, b := range map[string][]byte{"nonsense": []byte("manifest"), "that of another recording": of(archive.ManifestName)} {
		c.write(manifest, b)
		expect(t, "the manifest is "+what, c.verify(), but("running", replay.Unsigned))
	}
	c.remove(manifest)
	expect(t, "as it was", c.verify(), nil)
	// The ledger as it was, and the archive as it is later.
	old := e.copy(t)
	ctx := context.Background()
	if err := e.Recorder.Flush(ctx, e.ids["running"]); err != nil {
		t.Fatal(err)
	}
	c = e.copy(t)
	ledgerOf(c, old)
	if now := len(c.objects("running")); now != int(n)+2 {
		t.Fatalf("%d objects are not one more than %d", now, n+1)
	}
	expect(t, "one segment ahead", c.verify(c.withKeys), nil)
	e.Stop()
	e.Start()
	if _, err := e.Recorder.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Ledger.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	c = e.copy(t)
	expect(t, "recovered", c.verify(c.withKeys), but("running", replay.Interrupted))
	ledgerOf(c, old)
	expect(t, "an old ledger beside a sealed recording", c.verify(), but("running", replay.Unsigned))
}

// ledgerOf gives c the ledger of from.
func ledgerOf(c, from *copied) {
	c.t.Helper()
	c.remove(filepath.Join(c.dir, "ledger"))
	if err := os.CopyFS(filepath.Join(c.dir, "ledger"), os.DirFS(filepath.Join(from.dir, "ledger"))); err != nil {
		c.t.Fatal(err)
	}
}

// T35: every byte of the checkpoint, and every cut of it.
func TestVerifyChangedCheckpoint(t *testing.T) {
	e := newEvidence(t)
	c := e.copy(t)
	path := filepath.Join(c.dir, "ledger", "checkpoint")
	whole := c.read(path)
	verdict := func() (found replay.Result) {
		t.Helper()
		for name, v := range c.verify(only(e, "complete", "expired")) {
			if found != "" && v.Result != found {
				t.Errorf("%s is %q, and another %q", name, v.Result, found)
			}
			found = v.Result
		}
		return found
	}
	// The name and the number of the key stand in the last line, before the signature.
	line := bytes.LastIndex(whole[:len(whole)-1], []byte("\n")) + 1
	for at := range whole {
		changed := flip(whole, at)
		if at > line && bytes.Equal(signature(changed[line:]), signature(whole[line:])) && bytes.Equal(changed[:len(changed)-8], whole[:len(whole)-8]) {
			continue // the last digit of the base64 has two spare bits: the signature is the same
		}
		c.write(path, changed)
		got := verdict()
		if got != replay.Altered && (got != replay.WrongKey || at < line) {
			t.Errorf("byte %d of the checkpoint flipped: %s", at, got)
		}
		c.write(path, whole[:at])
		if got := verdict(); got != replay.Altered {
			t.Errorf("the checkpoint cut at byte %d: %s", at, got)
		}
	}
	c.write(path, append(bytes.Clone(whole), "more\n"...))
	if got := verdict(); got != replay.Altered {
		t.Errorf("the checkpoint lengthened: %s", got)
	}
}

// signature is what a signature's line encodes: nil where that is nothing.
func signature(line []byte) []byte {
	fields := bytes.Fields(line)
	if len(fields) == 0 || !bytes.HasSuffix(line, []byte("\n")) {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(string(fields[len(fields)-1]))
	if err != nil {
		return nil
	}
	return b
}

// T35: every entry, flipped, left out, doubled and moved.
func TestVerifyChangedEntries(t *testing.T) {
	e := newEvidence(t)
	c := e.copy(t)
	path := filepath.Join(c.dir, "ledger", "entries.jsonl")
	whole := c.read(path)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	lines = lines[:len(lines)-1]
	if len(lines) < 15 {
		t.Fatalf("%d entries make no test", len(lines))
	}
	check := func(what string, with [][]byte) {
		t.Helper()
		c.write(path, bytes.Join(with, nil))
		expect(t, what, c.verify(), all(replay.Altered))
	}
	for i, line := range lines {
		for _, at := range []int{0, len(line) / 3, len(line) - 2, len(line) - 1} {
			changed := slices.Clone(lines)
			changed[i] = flip(line, at)
			check(fmt.Sprintf("byte %d of entry %d flipped", at, i), changed)
		}
		check(fmt.Sprintf("entry %d left out", i), slices.Delete(slices.Clone(lines), i, i+1))
		check(fmt.Sprintf("all from entry %d on left out", i), lines[:i])
		if i > 0 && !bytes.Equal(line, lines[i-1]) {
			moved := slices.Clone(lines)
			moved[i], moved[i-1] = moved[i-1], moved[i]
			check(fmt.Sprintf("entry %d moved", i), moved)
			check(fmt.Sprintf("entry %d doubled", i-1), slices.Insert(slices.Clone(lines), i, lines[i-1]))
		}
	}
	c.write(path, whole)
	expect(t, "as it was", c.verify(), nil)
}

// What nobody has signed says nothing: not that the node started again, and not
// that an ended recording has another end.
func TestVerifyUnsignedEntries(t *testing.T) {
	e := newEvidence(t)
	c := e.copy(t)
	path := filepath.Join(c.dir, "ledger", "entries.jsonl")
	whole := c.read(path)
	id := func(name string) string { return string(e.ids[name]) }
	for text, want := range map[string]map[string]replay.Result{
		`{"v":1,"time":"2026-03-02T00:00:00Z","kind":"node.start"}`:                                                          nil,
		`{"v":1,"time":"2026-03-02T00:00:00Z","kind":"recording.end","session":"` + id("complete") + `","ref":{}}`:           but("complete", replay.Unsigned),
		`{"v":1,"time":"2026-03-02T00:00:00Z","kind":"recording.shred","session":"` + id("running") + `","ref":{"key":"x"}}`: but("running", replay.Unsigned),
		`{"v":1,"time":"2026-03-02T00:00:00Z","kind":"hold","session":"` + id("expired") + `"}`:                              but("expired", replay.Unsigned),
	} {
		c.write(path, append(bytes.Clone(whole), text+"\n"...))
		expect(t, text, c.verify(), want)
	}
}

// A ledger that is an older one says so also of a recording that it never had.
func TestVerifyAskedForWhatWasRolledBack(t *testing.T) {
	e := newEvidence(t)
	old := e.copy(t)
	s := session(e.ids["running"].Time().AddDate(0, 0, 1))
	if err := e.Ledger.Append(context.Background(), policy.Entry{Kind: policy.EntryRecordingStart, Session: s.ID, Ref: map[string]string{"key": "x"}}); err != nil {
		t.Fatal(err)
	}
	newer, err := e.Ledger.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(checkpoint []byte) replay.Result {
		got := old.verify(func(o *replay.VerifyOptions) { o.IDs, o.Checkpoint = []policy.SessionID{s.ID}, checkpoint })
		if len(got) != 1 {
			t.Errorf("%v", got)
		}
		return got[string(s.ID)].Result
	}
	if got := ask(newer); got != replay.RolledBack {
		t.Errorf("with a newer checkpoint, it is %s", got)
	}
	if got := ask(e.remembered); got != replay.Missing {
		t.Errorf("with one of then, it is %s", got)
	}
	// What is no checkpoint is the question's fault, and not the ledger's.
	store, err := archive.OpenDir(filepath.Join(old.dir, "archive"), archive.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Load(filepath.Join(old.dir, "ledger"), e.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	for v, err := range replay.Verify(context.Background(), replay.VerifyOptions{Archive: store, Log: log, Checkpoint: []byte("hello")}) {
		if err == nil {
			t.Errorf("no checkpoint is taken for one: %+v", v)
		}
	}
}

// A stranger whose name sorts before a recording's objects confuses nothing.
func TestVerifyStrangeNames(t *testing.T) {
	e := newEvidence(t)
	c := e.copy(t)
	strange := string(e.ids["other"]) + "-1"
	c.write(c.object("recordings/"+strange+"/key"), []byte("key"))
	var order []policy.SessionID
	store, err := archive.OpenDir(filepath.Join(c.dir, "archive"), archive.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Load(filepath.Join(c.dir, "ledger"), e.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	for v, err := range replay.Verify(context.Background(), replay.VerifyOptions{Archive: store, Log: log}) {
		if err != nil {
			t.Fatal(err)
		}
		if (v.Result == replay.Unsigned) != (string(v.ID) == strange) {
			t.Errorf("%+v", v)
		}
		order = append(order, v.ID)
	}
	if len(order) != len(e.ids)+1 {
		t.Errorf("%d verdicts: %v", len(order), order)
	}
}
