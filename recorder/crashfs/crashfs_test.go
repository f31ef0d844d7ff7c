package crashfs

import (
	"os"
	"path/filepath"
	"testing"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func syncPath(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	check(t, f.Sync())
	check(t, f.Close())
}

func TestWhatAPowerCutLeaves(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	check(t, os.WriteFile(filepath.Join(from, "old"), []byte("old"), 0o600))
	check(t, os.WriteFile(filepath.Join(from, "removed"), []byte("was there"), 0o600))
	check(t, os.WriteFile(filepath.Join(from, "moved"), []byte("moved"), 0o600))
	f := Mount(t, t.TempDir(), from)
	at := func(name string) string { return filepath.Join(f.dir, name) }
	put := func(name, text string, sync bool) {
		t.Helper()
		w, err := os.OpenFile(at(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		check(t, err)
		_, err = w.WriteString(text)
		check(t, err)
		if sync {
			check(t, w.Sync())
		}
		check(t, w.Close())
	}
	check(t, os.Mkdir(at("dir"), 0o700))
	put("dir/whole", "synced", true)
	put("dir/partly", "synced", true)
	put("dir/content", "never synced", false)
	syncPath(t, at("dir"))
	syncPath(t, f.dir)
	put("dir/partly", " and not", false)
	put("dir/name", "synced, but not its name", true)
	put("old", "er", false)
	check(t, os.Remove(at("removed")))
	check(t, os.Rename(at("moved"), at("elsewhere")))
	check(t, os.Link(at("dir/whole"), at("link")))
	check(t, os.Truncate(at("dir/whole"), 2))
	if b, err := os.ReadFile(at("old")); err != nil || string(b) != "older" {
		t.Errorf("before the cut: %q %v", b, err)
	}
	if f.Syncs() == 0 {
		t.Error("no fsync was seen")
	}
	check(t, f.Cut(to))
	for name, want := range map[string]string{"old": "old", "removed": "was there", "moved": "moved", "dir/whole": "synced", "dir/partly": "synced", "dir/content": ""} {
		if b, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, want %q, %v", name, b, want, err)
		}
	}
	for _, name := range []string{"elsewhere", "link", "dir/name"} {
		if _, err := os.Stat(filepath.Join(to, name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
}
