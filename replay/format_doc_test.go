package replay_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The command that docs/RECORDING.md gives checks a recording, and finds a
// changed byte.
func TestDocumentedCheck(t *testing.T) {
	doc, err := os.ReadFile("../docs/RECORDING.md")
	if err != nil {
		t.Fatal(err)
	}
	var command string
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "    sed ") {
			command = strings.TrimSpace(line)
		}
	}
	if command == "" {
		t.Fatal("docs/RECORDING.md gives no command")
	}
	w := newWorld(t)
	id := w.record([]byte("x \"sha256\":\"00\"\r\n"))
	check := func() (string, error) {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir, cmd.Env = w.Dir, append(os.Environ(), "LC_ALL=C", "ID="+string(id))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := check(); err != nil || out != string(id)+".cast: OK\n" {
		t.Errorf("%v: %q", err, out)
	}
	name := w.Dir + "/" + string(id) + ".cast"
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file[len(file)/2] ^= 1
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := check(); err == nil || !strings.Contains(out, "FAILED") {
		t.Errorf("a changed byte: %v: %q", err, out)
	}
}
