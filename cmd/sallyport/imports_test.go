package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is the import table of the design: which of our packages each
// package may import. "recorder/*" stands for everything below recorder, and
// "*" for everything.
var mayImport = map[string][]string{
	"policy":           {},
	"policy/grant":     {"policy"},
	"certs":            {"policy"},
	"certs/signin":     {"policy"},
	"certs/stale":      {"policy", "certs"},
	"recorder":         {"policy", "recorder/*"},
	"recorder/cast":    {},
	"recorder/journal": {},
	"recorder/sealed":  {"recorder/cast"},
	"recorder/screen":  {},
	"recorder/redact":  {"recorder/screen"},
	"recorder/ledger":  {"policy"}, // entries are vocabulary
	"recorder/archive": {},
	"recorder/catalog": {"policy", "recorder/ledger"},
	"recorder/castgen": {},
	"recorder/crashfs": {},                                   // for tests only
	"recorder/rectest": {"policy", "recorder", "recorder/*"}, // for tests only
	"bastion":          {"policy", "bastion/proxy"},
	"bastion/proxy":    {"policy"},
	"bastion/upstream": {"policy"},
	"bastion/sshtest":  {"policy", "certs"},
	"bastion/console":  {"policy", "recorder/catalog", "replay", "replay/term", "certs", "policy/grant", "certs/stale"},
	"replay":           {"policy", "recorder", "recorder/*"},
	"replay/term":      {"recorder/cast", "recorder/screen"},
	"replay/web":       {"replay", "policy", "recorder/cast", "recorder/catalog"}, // what List takes and Next returns
	"cmd/sallyport":    {"*"},
	"cmd/demo":         {},
}

// TestImportTable holds every package to its line of the table. Tests may
// import anything; bastion/sshtest, recorder/rectest and
// recorder/crashfs are for tests only.
func TestImportTable(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, "sallyport/")
		allowed, ok := mayImport[name]
		if !ok {
			t.Errorf("%s is not in the import table", name)
		}
		for _, imp := range p.Imports {
			ours, isOurs := strings.CutPrefix(imp, "sallyport/")
			if isOurs && !importAllowed(allowed, ours) {
				t.Errorf("%s may not import %s", name, ours)
			}
		}
	}
}

func importAllowed(allowed []string, name string) bool {
	if slices.Contains([]string{"bastion/sshtest", "recorder/rectest", "recorder/crashfs"}, name) {
		return false
	}
	return slices.ContainsFunc(allowed, func(a string) bool {
		prefix, wild := strings.CutSuffix(a, "*")
		return a == name || wild && strings.HasPrefix(name, prefix)
	})
}
