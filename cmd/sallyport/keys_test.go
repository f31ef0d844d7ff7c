package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"
)

func keysConfig(t *testing.T, more string) *Config {
	t.Helper()
	dir := t.TempDir()
	c, err := ParseConfig(filepath.Join(dir, "f.yaml"), []byte(minimalConfig+"data: d\n"+more))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKeysAreMadeOnceAndPrivate(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	c := keysConfig(t, "")
	k, err := openRecordKeys(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(k.view) != 1 || len(k.viewIDs) != 1 || len(k.raw) != 1 || len(k.rawIDs) != 1 || k.journal == k.body || k.journal == [32]byte{} {
		t.Errorf("%+v", k)
	}
	dir := dataDir(c.Data).keys()
	for _, f := range []string{dir.journal(), dir.body(), dir.view(), dir.raw(), dir.ledger()} {
		st, err := os.Stat(f)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, st.Mode(), err)
		}
	}
	again, err := openRecordKeys(c)
	if err != nil {
		t.Fatal(err)
	}
	if again.journal != k.journal || again.body != k.body || again.ledgerKey != k.ledgerKey {
		t.Error("the second start has other keys")
	}
	signed, err := note.Sign(&note.Note{Text: "x\n"}, again.signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(signed, note.VerifierList(k.verifier)); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(string(dir), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("staged files stay: %v %v", left, err)
	}
	if err := os.Remove(dir.ledgerPublic()); err != nil {
		t.Fatal(err)
	}
	if _, err := openRecordKeys(c); err != nil {
		t.Errorf("the public half is made again: %v", err)
	}
	if _, line, err := readLedgerKey(dir.ledgerPublic()); err != nil || line != k.ledgerKey {
		t.Errorf("%q %v", line, err)
	}
}

// A key that is no key is not replaced: what it sealed would be lost.
func TestBrokenKeysAreNamed(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	for name, want := range map[string]string{
		"journal.key": "want 64 hexadecimal digits or 32 bytes, found 4 bytes",
		"body.key":    "want 64 hexadecimal digits",
		"view.agekey": "line 1: this is no age identity",
		"raw.agekey":  "line 1: this is no age identity",
		"ledger.key":  "no secret key of a ledger",
	} {
		c := keysConfig(t, "")
		if _, err := openRecordKeys(c); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(string(dataDir(c.Data).keys()), name)
		if err := os.WriteFile(file, []byte("junk"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openRecordKeys(c)
		if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if b, _ := os.ReadFile(file); string(b) != "junk" {
			t.Errorf("%s was replaced", name)
		}
	}
	c := keysConfig(t, "ledger: {node: one}\n")
	if _, err := openRecordKeys(c); err != nil {
		t.Fatal(err)
	}
	c.Ledger.Node = "two"
	if _, err := openRecordKeys(c); err == nil || !strings.Contains(err.Error(), `the key is that of node "one", and ledger.node is "two"`) {
		t.Errorf("another node's name: %v", err)
	}
}

func TestJournalKeyFromSystemd(t *testing.T) {
	creds := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", creds)
	key := bytes.Repeat([]byte{7}, 32)
	if err := os.WriteFile(filepath.Join(creds, "journal.key"), key, 0o400); err != nil {
		t.Fatal(err)
	}
	c := keysConfig(t, "")
	k, err := openRecordKeys(c)
	if err != nil || !bytes.Equal(k.journal[:], key) {
		t.Errorf("%x %v", k.journal, err)
	}
	if _, err := os.Stat(dataDir(c.Data).keys().journal()); !os.IsNotExist(err) {
		t.Errorf("a journal key lies on the disk too: %v", err)
	}
}

// With recipients and no identity of its own for the raw key, a server cannot
// open raw, also where a default key of earlier days is left.
func TestHardenedHasNoRawIdentity(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	auditor, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	c := keysConfig(t, "recordings: {raw_recipients: ["+auditor.Recipient().String()+"]}\n")
	if err := os.MkdirAll(string(dataDir(c.Data).keys()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := makeIdentity(dataDir(c.Data).keys().raw()); err != nil {
		t.Fatal(err)
	}
	k, err := openRecordKeys(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(k.raw) != 1 || len(k.rawIDs) != 0 || len(k.viewIDs) != 1 {
		t.Errorf("raw: %d recipients, %d identities; view: %d identities", len(k.raw), len(k.rawIDs), len(k.viewIDs))
	}
	if w := k.warnings(c); len(w) != 1 || !strings.Contains(w[0], "raw.agekey is not used any more") {
		t.Errorf("warnings: %q", w)
	}
}

// Identities that do not fit the recipients are found at the start, not when
// somebody wants to replay.
func TestKeysThatDoNotFitAreNamed(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	for config, want := range map[string][]string{
		"": nil,
		"recordings: {view_recipients: [" + testRecipient(t, true) + "]}\n":                                   {"nobody can replay them here"},
		"recordings: {raw_recipients: [" + testRecipient(t, false) + "], raw_identity: d/keys/view.agekey}\n": {"cannot open the raw part"},
	} {
		c := keysConfig(t, config)
		if err := os.MkdirAll(string(dataDir(c.Data).keys()), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := makeIdentity(dataDir(c.Data).keys().view()); err != nil {
			t.Fatal(err)
		}
		k, err := openRecordKeys(c)
		if err != nil {
			t.Fatal(err)
		}
		got := k.warnings(c)
		if len(got) != len(want) {
			t.Errorf("%s: %q", config, got)
			continue
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("%s: %q, want %q", config, got[i], want[i])
			}
		}
	}
}
