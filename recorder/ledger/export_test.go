package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestExportedChunksLoad(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	dir := t.TempDir()
	put := func(name string, data []byte) error { return os.WriteFile(filepath.Join(dir, name), data, 0o600) }
	var next int64
	var err error
	for i := range 4 {
		fill(t, l, i*5, i*5+5)
		if next, err = l.Export(ctx, next, put); err != nil || next != int64(i*5+5) {
			t.Fatalf("%d %v", next, err)
		}
	}
	if again, err := l.Export(ctx, next, put); err != nil || again != next {
		t.Errorf("%d %v", again, err)
	}
	g, err := Load(dir, w.o.Verifier)
	if err != nil || g.Size() != 20 || g.SignedSize() != 20 {
		t.Fatalf("%+v %v", g, err)
	}
	chunks, _ := filepath.Glob(filepath.Join(dir, chunkPrefix+"*"))
	if err := os.Remove(chunks[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, w.o.Verifier); !errors.Is(err, ErrAltered) {
		t.Errorf("a missing chunk: %v", err)
	}
}
