package replay_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder/ledger"
	"sallyport/replay"
)

// bundle makes the bundle of a recording.
func (w *world) bundle(id policy.SessionID, view replay.View) []byte {
	w.t.Helper()
	s, err := w.OpenExport(context.Background(), replay.Viewer{User: auditor}, id, view)
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	b := &replay.Bundler{Archive: w.store.Archive, Keys: w.keys(), PublicKey: "key",
		Log:  func(context.Context) (*ledger.Log, error) { return w.store.Log(), nil },
		Page: map[string][]byte{"bundle.js": []byte("x")}}
	var out bytes.Buffer
	if err := b.Write(context.Background(), &out, s); err != nil {
		w.t.Fatal(err)
	}
	return out.Bytes()
}

func (w *world) verifyBundle(zipped []byte) (replay.BundleReport, error) {
	return replay.VerifyBundle(context.Background(), bytes.NewReader(zipped), int64(len(zipped)), w.store.Verifier)
}

// rezip copies a bundle, with what edit makes of each file: nil leaves it out.
func rezip(t testing.TB, zipped []byte, edit func(name string, body []byte) []byte) []byte {
	t.Helper()
	in, err := zip.NewReader(bytes.NewReader(zipped), int64(len(zipped)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range in.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if body = edit(f.Name, body); body == nil {
			continue
		}
		w, err := z.Create(f.Name)
		if err == nil {
			_, err = w.Write(body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestBundle(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("hello\r\n"), []byte("password=hunter2hunter2\r\n"), []byte("</script>\r\n"))
	other := w.record([]byte("another\r\n"))
	for _, view := range []replay.View{replay.Masked, replay.Raw} {
		zipped := w.bundle(id, view)
		rep, err := w.verifyBundle(zipped)
		if err != nil || rep.ID != id || rep.View != view.String() || rep.Segments != 1 || rep.State != policy.RecordingComplete {
			t.Fatalf("%v: %+v %v", view, rep, err)
		}
		secret := view == replay.Masked
		rezip(t, zipped, func(name string, body []byte) []byte {
			if secret && (bytes.Contains(body, []byte("hunter2")) || bytes.Contains(body, []byte("typed-secret"))) {
				t.Errorf("%s of a masked bundle holds a secret", name)
			}
			if name == "cast.js" && bytes.Contains(body, []byte("</script")) {
				t.Error("cast.js can end its script")
			}
			return body
		})
		// Nothing of it can be changed.
		rezip(t, zipped, func(victim string, _ []byte) []byte {
			if victim == "README.txt" || victim == "bundle.js" || victim == "index.html" || victim == "cast.js" || victim == "ledger.pub" || victim == "checkpoint.txt" {
				return nil // not evidence, and says so
			}
			for what, change := range map[string]func([]byte) []byte{
				"flipped":  func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
				"cut":      func(b []byte) []byte { return b[:len(b)-2] },
				"appended": func(b []byte) []byte { return append(bytes.Clone(b), "[1, \"o\", \"x\"]\n"...) },
				"missing":  func([]byte) []byte { return nil },
			} {
				changed := rezip(t, zipped, func(name string, body []byte) []byte {
					if name == victim {
						return change(body)
					}
					return body
				})
				if rep, err := w.verifyBundle(changed); err == nil {
					t.Errorf("%v, %s, %s: passes as %+v", view, victim, what, rep)
				}
			}
			return nil
		})
	}
	// The parts of another recording do not pass for this one's.
	theirs := map[string][]byte{}
	rezip(t, w.bundle(other, replay.Masked), func(name string, body []byte) []byte { theirs[name] = body; return body })
	for _, swapped := range [][]string{{"recording.cast"}, {"proof.json"}, {"recording.key"}, {"proof.json", "recording.key"}} {
		changed := rezip(t, w.bundle(id, replay.Masked), func(name string, body []byte) []byte {
			for _, s := range swapped {
				if s == name {
					return theirs[name]
				}
			}
			return body
		})
		if _, err := w.verifyBundle(changed); err == nil {
			t.Errorf("with the %v of another recording it passes", swapped)
		}
	}
	_, v, err := ledger.GenerateKey("sallyport/test")
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/key"
	if err := os.WriteFile(file, []byte(v), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong, err := ledger.ReadVerifier(file)
	if err != nil {
		t.Fatal(err)
	}
	zipped := w.bundle(id, replay.Masked)
	if _, err := replay.VerifyBundle(context.Background(), bytes.NewReader(zipped), int64(len(zipped)), wrong); !errors.Is(err, ledger.ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
}

// Without the raw identity there is no raw bundle; a running session has none.
func TestBundlesThatCannotBe(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("hello\r\n"))
	s, err := w.OpenExport(context.Background(), replay.Viewer{User: auditor}, id, replay.Raw)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := &replay.Bundler{Archive: w.store.Archive, Keys: replay.Keys{View: []age.Identity{w.store.View}}, Log: func(context.Context) (*ledger.Log, error) { return w.store.Log(), nil }}
	if err := b.Write(context.Background(), io.Discard, s); !errors.Is(err, replay.ErrSealed) {
		t.Errorf("%v", err)
	}
	b.Log = func(context.Context) (*ledger.Log, error) { return nil, ledger.ErrAltered }
	if err := b.Write(context.Background(), io.Discard, s); !errors.Is(err, ledger.ErrAltered) {
		t.Errorf("%v", err)
	}
}

func FuzzVerifyBundle(f *testing.F) {
	w := newWorld(f)
	zipped := w.bundle(w.record([]byte("hello\r\n")), replay.Masked)
	f.Add(zipped)
	f.Add(zipped[:len(zipped)/2])
	f.Add(rezip(f, zipped, func(name string, body []byte) []byte {
		if strings.HasPrefix(name, "objects/") {
			return body
		}
		return nil
	}))
	empty, err := json.Marshal(map[string]any{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(empty)
	f.Fuzz(func(t *testing.T, data []byte) {
		if rep, err := w.verifyBundle(data); err == nil && !bytes.Equal(data, zipped) && rep.LedgerSize == 0 {
			t.Errorf("%+v", rep)
		}
	})
}
