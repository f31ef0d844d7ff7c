package ledger

import (
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Proof shows that leaves are in a ledger, to somebody who has neither the
// ledger nor anything but its public key: a signed checkpoint, and for each
// leaf its line and the hashes of its audit path (RFC 6962, section 2.1.1).
type Proof struct {
	Checkpoint string      `json:"checkpoint"`
	Leaves     []ProofLeaf `json:"leaves"`
}

// ProofLeaf is one leaf of a Proof.
type ProofLeaf struct {
	Index int64    `json:"index"`
	Leaf  string   `json:"leaf"`
	Path  []string `json:"path"` // base64
}

// maxProven limits the leaves of a proof.
const maxProven = 1_000_000

// Prove proves the leaves at indexes, which the checkpoint must cover.
func (g *Log) Prove(indexes ...int64) (Proof, error) {
	p := Proof{Checkpoint: string(g.checkpoint)}
	for _, i := range indexes {
		if i < 0 || i >= g.signed.N {
			return Proof{}, fmt.Errorf("%w that covers entry %d", ErrUnsigned, i)
		}
		line, err := g.line(i)
		if err != nil {
			return Proof{}, err
		}
		path, err := tlog.ProveRecord(g.signed.N, i, g.reader())
		if err != nil {
			return Proof{}, err
		}
		leaf := ProofLeaf{Index: i, Leaf: line}
		for _, h := range path {
			leaf.Path = append(leaf.Path, base64.StdEncoding.EncodeToString(h[:]))
		}
		p.Leaves = append(p.Leaves, leaf)
	}
	return p, nil
}

// CheckProof checks p and returns its leaves. The error wraps ErrWrongKey or
// ErrAltered.
func CheckProof(p Proof, v note.Verifier) ([]Leaf, error) {
	t, err := OpenCheckpoint([]byte(p.Checkpoint), v)
	if err != nil {
		return nil, err
	}
	if len(p.Leaves) > maxProven {
		return nil, errors.New("the proof has too many entries")
	}
	var leaves []Leaf
	for _, pl := range p.Leaves {
		var path tlog.RecordProof
		for _, s := range pl.Path {
			h, err := base64.StdEncoding.DecodeString(s)
			if err != nil || len(h) != tlog.HashSize || len(path) > 64 {
				return nil, fmt.Errorf("%w: the proof of entry %d is damaged", ErrAltered, pl.Index)
			}
			path = append(path, tlog.Hash(h))
		}
		if pl.Index < 0 || pl.Index >= t.N || tlog.CheckRecord(path, t.N, t.Hash, pl.Index, tlog.RecordHash([]byte(pl.Leaf))) != nil {
			return nil, fmt.Errorf("%w: entry %d is not in what the checkpoint covers", ErrAltered, pl.Index)
		}
		leaf, err := parseLeaf([]byte(pl.Leaf))
		if err != nil {
			return nil, fmt.Errorf("entry %d of the proof: %w", pl.Index, err)
		}
		leaf.Index = pl.Index
		leaves = append(leaves, leaf)
	}
	return leaves, nil
}
