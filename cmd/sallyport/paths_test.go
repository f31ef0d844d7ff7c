package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPathsMoveWithTheData(t *testing.T) {
	c := keysConfig(t, "recordings: {archive: d/archive, view_identity: view.key}\n")
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	if p, err := readPaths(dataDir(c.Data)); err != nil || p.RawIdentity != filepath.Join(c.Data, "keys/raw.agekey") {
		t.Errorf("before the first start: %+v %v", p, err)
	}
	if err := writePaths(c); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(c.Data, moved); err != nil {
		t.Fatal(err)
	}
	want := recordPaths{Archive: moved + "/archive", ViewIdentity: filepath.Join(filepath.Dir(c.Data), "view.key"), RawIdentity: moved + "/keys/raw.agekey"}
	if p, err := readPaths(dataDir(moved)); err != nil || p != want {
		t.Errorf("%+v %v, want %+v", p, err, want)
	}
	if err := os.WriteFile(dataDir(moved).paths(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readPaths(dataDir(moved)); err == nil || !strings.Contains(err.Error(), "paths.json does not say") {
		t.Errorf("a broken file: %v", err)
	}
}
