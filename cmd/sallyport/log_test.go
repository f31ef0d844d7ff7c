package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogFileIsOpenedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, file, err := newLogger(LogConfig{Format: "json", Level: "info", File: path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	log.Info("two")
	if err := file.reopen(); err != nil {
		t.Fatal(err)
	}
	log.Info("three")
	if err := os.Mkdir(path+".d", 0o700); err != nil {
		t.Fatal(err)
	}
	file.path = path + ".d" // cannot be opened: the old one goes on
	if err := file.reopen(); err == nil {
		t.Error("a folder was opened as the log")
	}
	log.Info("four")
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path + ".1": "one two", path: "three four"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.Fields(want) {
			if !strings.Contains(string(b), `"msg":"`+word+`"`) {
				t.Errorf("%s has no %q:\n%s", name, word, b)
			}
		}
		if n := strings.Count(string(b), "\n"); n != 2 {
			t.Errorf("%s has %d lines", name, n)
		}
	}
}
