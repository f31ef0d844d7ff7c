package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHostileFiles(t *testing.T) {
	w := newWorld(t)
	w.open().Close()
	path := filepath.Join(w.o.Dir, entriesName)
	for name, text := range map[string]string{
		"a line of 3 MiB": strings.Repeat("x", 3<<20) + "\n",
		"newer":           `{"v":2,"kind":"x"}` + "\n",
		"no JSON":         "x\n\x00\n\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := Load(w.o.Dir, w.o.Verifier)
		if err == nil {
			for _, leafErr := range g.Leaves() {
				if leafErr == nil || !strings.Contains(leafErr.Error(), "entry ") {
					t.Errorf("%s: %v", name, leafErr)
				}
			}
		} else if !strings.Contains(err.Error(), "byte 0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
