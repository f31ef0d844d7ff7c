package replay_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"sallyport/policy"
	"sallyport/recorder/ledger"
)

// forge opens the ledger in dir with another key, adds entries and signs it.
func forge(t testing.TB, dir, skey string, entries ...policy.Entry) {
	t.Helper()
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Options{Dir: dir, Signer: signer, Verifier: onlyName{signer}, Accept: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > 0 {
		if err := l.Append(context.Background(), entries...); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// onlyName is the name of a key whose public half is not at hand.
type onlyName struct{ note.Signer }

func (onlyName) Verify([]byte, []byte) bool { return true }

func verifier(t testing.TB, vkey string) note.Verifier {
	t.Helper()
	v, err := note.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sum(b []byte) [32]byte { return sha256.Sum256(b) }

func hexSum(b []byte) string { s := sum(b); return hex.EncodeToString(s[:]) }
