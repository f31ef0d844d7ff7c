package ledger

import (
	"golang.org/x/mod/sumdb/tlog"
)

// tree is a Merkle tree that only grows (RFC 6962, section 2.1): the roots of
// its perfect subtrees, from the left, which is all that adding a leaf needs.
type tree struct {
	size  int64
	peaks []peak
}

type peak struct {
	level int
	hash  tlog.Hash
}

// add adds a leaf, of which h is the hash.
func (t *tree) add(h tlog.Hash) {
	t.size++
	p := peak{0, h}
	for n := len(t.peaks); n > 0 && t.peaks[n-1].level == p.level; n = len(t.peaks) {
		p = peak{p.level + 1, tlog.NodeHash(t.peaks[n-1].hash, p.hash)}
		t.peaks = t.peaks[:n-1]
	}
	t.peaks = append(t.peaks, p)
}

// root returns the tree's hash.
func (t *tree) root() tlog.Hash {
	n := len(t.peaks)
	if n == 0 {
		h, _ := tlog.TreeHash(0, nil) // of no leaf: it needs no reader and has no error
		return h
	}
	h := t.peaks[n-1].hash
	for i := n - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.peaks[i].hash, h)
	}
	return h
}
