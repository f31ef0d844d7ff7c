package main

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestOneNodeADataDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lockData(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockData(path); err == nil || !strings.Contains(err.Error(), "another bastion runs") {
		t.Errorf("a second node: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockData(path)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Close()
}

func TestTargetLookup(t *testing.T) {
	c, err := ParseConfig("f.yaml", []byte(minimalConfig+"ssh: {name: b.example}\ntargets: [{name: Db1, address: 'h:22', logins: [root], host_keys: ['"+testHostKey+"']}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	set := newTargetSet(c, mustKey(t))
	longer := *c
	longer.Targets = append(longer.Targets, TargetYAML{Name: "db1.b.example", Address: "other:22"})
	if got, ok := newTargetSet(&longer, mustKey(t)).lookup("db1.b.example"); !ok || got.Name != "db1.b.example" {
		t.Errorf("a target whose name ends in the suffix is taken for %q", got.Name)
	}
	for name, want := range map[string]bool{"db1": true, "DB1": true, "db1.b.example": true, "db2": false, "127.0.0.1": false, "db1.b.example.": false, "": false} {
		if _, ok := set.lookup(name); ok != want {
			t.Errorf("lookup(%q) = %v", name, ok)
		}
	}
}

func mustKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(testHostKey))
	if err != nil {
		t.Fatal(err)
	}
	return key
}
