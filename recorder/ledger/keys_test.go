package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyFiles(t *testing.T) {
	skey, vkey, err := GenerateKey("sallyport/k")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if _, err := ReadSigner(write("s", skey+"\n", 0o600)); err != nil {
		t.Error(err)
	}
	if _, err := ReadVerifier(write("v", vkey+"\n", 0o644)); err != nil {
		t.Error(err)
	}
	for _, p := range []string{write("open", skey, 0o644), write("bad", "x", 0o600), write("long", strings.Repeat("x", 1<<20), 0o600), dir, dir + "/none"} {
		if _, err := ReadSigner(p); err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := ReadVerifier(write("s2", skey, 0o600)); err == nil || strings.Contains(err.Error(), skey) {
		t.Errorf("a signing key as a public one: %v", err)
	}
	for _, bad := range []string{"", "a b", "a+b", "a\nb"} {
		if _, _, err := GenerateKey(bad); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}
