package ledger

import (
	"encoding/json"
	"testing"
)

func FuzzCheckpointAndProof(f *testing.F) {
	w := newWorld(f)
	l := w.open()
	fill(f, l, 0, 3)
	cp, err := l.Checkpoint(ctx)
	if err != nil {
		f.Fatal(err)
	}
	p, err := w.load().Prove(1)
	if err != nil {
		f.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cp, text)
	f.Add([]byte("x\n-1\n\n\n— x y\n"), []byte(`{"leaves":[{"index":-1}]}`))
	f.Fuzz(func(t *testing.T, checkpoint, proof []byte) {
		tr, err := OpenCheckpoint(checkpoint, w.o.Verifier)
		if err == nil && tr.N != 3 && tr.N != 0 {
			t.Errorf("a forged checkpoint of %d entries", tr.N)
		}
		var q Proof
		if json.Unmarshal(proof, &q) == nil {
			if leaves, err := CheckProof(q, w.o.Verifier); err == nil {
				for i, leaf := range leaves {
					if q.Leaves[i].Leaf != p.Leaves[0].Leaf {
						t.Errorf("a forged leaf: %+v", leaf)
					}
				}
			}
		}
	})
}
