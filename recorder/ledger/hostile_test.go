package ledger

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// Hostile directories end in one clear error, or in errors that name each
// entry, without much memory.
func TestHostileDirectories(t *testing.T) {
	w := newWorld(t)
	w.closed(2)
	whole := w.read(entriesName)
	sign := func(lines []byte) []byte {
		var tr tree
		for line := range bytes.Lines(lines) {
			tr.add(hashOf(line))
		}
		return w.signTree(tr)
	}
	for name, c := range map[string]struct {
		entries, checkpoint []byte
		says                string
	}{
		"a line without end":    {bytes.Repeat([]byte("x"), 40<<20), w.read(checkpointName), "entries.jsonl at byte 0 (entry 0)"},
		"later a huge line":     {append(bytes.Clone(whole), append(bytes.Repeat([]byte{0}, 3<<20), '\n')...), sign(append(bytes.Clone(whole), "\n\n"...)), fmt.Sprintf("entries.jsonl at byte %d (entry 2)", len(whole))},
		"a huge checkpoint":     {whole, bytes.Repeat([]byte("x"), 1<<20), "too large"},
		"an empty checkpoint":   {whole, nil, "no signed checkpoint"},
		"no note":               {whole, []byte("sallyport/test\n2\nAAAA\n"), "no signed checkpoint"},
		"a size beyond measure": {whole, w.signTree(tree{size: 1 << 62}), "covers 4611686018427387904 entries, and there are 2"},
	} {
		w.write(entriesName, c.entries)
		w.write(checkpointName, c.checkpoint)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Load(w.o.Dir, w.o.Verifier)
		_, openErr := Open(w.o)
		runtime.ReadMemStats(&after)
		for _, err := range []error{err, openErr} {
			if err == nil || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 500 || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 12<<20 {
			t.Errorf("%s: %d bytes", name, taken)
		}
	}
}

// What was signed although it is no entry comes as an error that names it.
func TestLeavesThatAreNone(t *testing.T) {
	w := newWorld(t)
	w.closed(1)
	lines := append(w.read(entriesName), "x\n\n[]\n{\"v\":0,\"kind\":\"x\"}\n{\"v\":1}\n{\"v\":1,\"time\":\"x\",\"kind\":\"x\"}\n"...)
	var tr tree
	for line := range bytes.Lines(lines) {
		tr.add(hashOf(line))
	}
	w.write(entriesName, lines)
	w.write(checkpointName, w.signTree(tr))
	good, bad := 0, 0
	for leaf, err := range w.load().Leaves() {
		if err == nil {
			good++
		} else if bad++; !strings.Contains(err.Error(), fmt.Sprintf("entry %d of the ledger", leaf.Index)) {
			t.Errorf("%v", err)
		}
	}
	if good != 1 || bad != 6 {
		t.Errorf("%d entries, %d errors", good, bad)
	}
	for range w.load().Entries(w.o.BodyKey) {
	}
}
