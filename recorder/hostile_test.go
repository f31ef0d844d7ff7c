package recorder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/recorder/cast"
	"sallyport/recorder/sealed"
)

// TestHostileArchive changes what is in the archive: one clear error that names
// the object, and other recordings are not affected.
func TestHostileArchive(t *testing.T) {
	g := newRecorder(t, Options{})
	ctx := context.Background()
	var ids []policy.SessionID
	for range 2 {
		rec := open(t, g, shell())
		check(t, rec.Output(policy.StreamOutput, []byte("shown")))
		check(t, g.Flush(ctx, rec.session.ID))
		check(t, rec.Output(policy.StreamOutput, []byte("more")))
		_, err := rec.Close(status(0))
		check(t, err)
		ids = append(ids, rec.session.ID)
	}
	none := func(*sealed.KeyObject) (sealed.Keys, error) { return sealed.NewKeys(), nil }
	if _, err := OpenRecording(ctx, g.o.Archive, ids[0], none); !errors.Is(err, sealed.ErrWrongKey) {
		t.Errorf("other keys: %v", err)
	}
	for _, id := range []policy.SessionID{"", "../../etc/passwd", shell().ID} {
		if _, err := OpenRecording(ctx, g.o.Archive, id, bothKeys); err == nil {
			t.Errorf("%q opens", id)
		}
	}
	path := func(name string) string { return filepath.Join(g.dir, "archive", filepath.FromSlash(name)) }
	for _, name := range []string{"key", "000000.seg", "000001.seg", "manifest"} {
		file := path("recordings/" + string(ids[0]) + "/" + name)
		whole, err := os.ReadFile(file)
		check(t, err)
		swapped, err := os.ReadFile(path("recordings/" + string(ids[1]) + "/" + name))
		check(t, err)
		flipped := bytes.Clone(whole)
		flipped[len(flipped)*4/5] ^= 1 // behind what only a running recording needs
		for what, data := range map[string][]byte{"cut": whole[:len(whole)/2], "swapped": swapped, "flipped": flipped, "empty": nil, "gone": {1}} {
			check(t, os.Remove(file))
			if what != "gone" {
				check(t, os.WriteFile(file, data, 0o600))
			}
			all, err := g.tryRead(ids[0])
			if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), string(ids[0])) {
				// A manifest that is gone leaves a recording that looks as if it ran.
				if name != "manifest" || what != "gone" || err != nil {
					t.Errorf("%s %s: %d events, %v", name, what, len(all), err)
				}
			}
			if len(g.frames(t, ids[1])) != 3 {
				t.Error("the other one is affected")
			}
			check(t, os.WriteFile(file, whole, 0o600))
		}
	}
}

func (g *rig) tryRead(id policy.SessionID) ([]Frame, error) {
	r, err := OpenRecording(context.Background(), g.o.Archive, id, bothKeys)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readAll(r)
}

// TestTinyFrames records a million events of one byte, and reads them in bounded
// memory.
func TestTinyFrames(t *testing.T) {
	const n = 1_000_000
	g := newRecorder(t, Options{})
	rec := open(t, g, shell())
	k := take(rec, policy.StreamOutput)
	for i := range n {
		check(t, rec.Output(policy.StreamOutput, []byte{byte('a' + i%26)}))
	}
	sum, err := rec.Close(status(0))
	check(t, err)
	if got, _ := k.end(t); len(got) != n || sum.Events != n+1 {
		t.Fatalf("%d bytes were given out, summary %+v", len(got), sum)
	}
	k.got = nil
	r, err := OpenRecording(context.Background(), g.o.Archive, rec.session.ID, viewKey)
	check(t, err)
	defer r.Close()
	before, most, read := heap(), int64(0), 0
	for {
		f, err := r.Next()
		if err == io.EOF {
			break
		}
		check(t, err)
		if f.Code == cast.CodeOutput && f.Raw[0] != byte('a'+read%26) {
			t.Fatalf("event %d is %q", read, f.Raw)
		}
		if read++; read%250_000 == 0 {
			most = max(most, heap()-before)
		}
	}
	if read != n+1 || most > 32<<20 {
		t.Errorf("%d events, %d bytes of memory", read, most)
	}
	t.Logf("%d bytes stored, %d of memory to read", sum.Size, most)
}
