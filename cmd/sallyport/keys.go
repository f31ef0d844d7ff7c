package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"golang.org/x/mod/sumdb/note"

	"sallyport/recorder/sealed"
	"sallyport/replay"
)

// keysDir names the files of the record's keys, below the data directory.
type keysDir string

func (d dataDir) keys() keysDir        { return keysDir(filepath.Join(string(d), "keys")) }
func (d keysDir) journal() string      { return filepath.Join(string(d), journalKeyName) }
func (d keysDir) view() string         { return filepath.Join(string(d), "view.agekey") }
func (d keysDir) raw() string          { return filepath.Join(string(d), "raw.agekey") }
func (d keysDir) ledger() string       { return filepath.Join(string(d), "ledger.key") }
func (d keysDir) ledgerPublic() string { return filepath.Join(string(d), "ledger.pub") }
func (d keysDir) body() string         { return filepath.Join(string(d), "body.key") }

// journalKeyName is the journal key's name in keys/, and the name of the
// credential that systemd hands in (LoadCredential=).
const journalKeyName = "journal.key"

// maxKeyFileSize bounds the key files, in bytes.
const maxKeyFileSize = 1 << 20

// recordKeys are the keys of one node's record.
type recordKeys struct {
	journal, body [32]byte
	view, raw     []age.Recipient // of new recordings
	viewIDs       []age.Identity  // what this server opens
	rawIDs        []age.Identity  // none in a hardened installation
	signer        note.Signer
	verifier      note.Verifier
	ledgerKey     string // the verifier's key, one line
}

// openRecordKeys loads the keys that cfg names, and makes those in keys/ that
// are missing. A key that is made is durable once this returns.
func openRecordKeys(cfg *Config) (*recordKeys, error) {
	dir := dataDir(cfg.Data).keys()
	if err := os.MkdirAll(string(dir), 0o700); err != nil {
		return nil, err
	}
	k := &recordKeys{}
	var err error
	if k.journal, err = journalKey(dir); err != nil {
		return nil, err
	}
	if k.body, err = symmetricKey(dir.body()); err != nil {
		return nil, err
	}
	if k.view, k.viewIDs, err = cfg.pair("recordings.view_recipients", cfg.Recordings.ViewRecipients, cfg.Recordings.ViewIdentity, dir.view()); err != nil {
		return nil, err
	}
	if k.raw, k.rawIDs, err = cfg.pair("recordings.raw_recipients", cfg.Recordings.RawRecipients, cfg.Recordings.RawIdentity, dir.raw()); err != nil {
		return nil, err
	}
	return k, k.openLedger(dir, cfg.Ledger.Node)
}

// pair returns whom new recordings are sealed for, and what opens them here.
// Without a list it is the file's own public keys; made, the default file, is
// made when it is missing and no list is given.
func (c *Config) pair(path string, list []string, file, made string) ([]age.Recipient, []age.Identity, error) {
	to, err := c.recipients(path, list)
	if err != nil {
		return nil, nil, err
	}
	if file == "" {
		return to, nil, nil
	}
	ids, err := readIdentities(file)
	if errors.Is(err, fs.ErrNotExist) && file == made {
		if len(list) > 0 {
			return to, nil, nil // others can open it, this server cannot
		}
		if err := makeIdentity(file); err != nil {
			return nil, nil, err
		}
		ids, err = readIdentities(file)
	}
	if err != nil || len(list) > 0 {
		return to, ids, err
	}
	if to, err = recipientsOf(ids); err != nil {
		return nil, nil, c.dec.at(path, "%s: %v; name its recipient here", file, err)
	}
	return to, ids, nil
}

// identities are what this server opens recordings with.
func (k *recordKeys) identities() replay.Keys {
	return replay.Keys{View: k.viewIDs, Raw: k.rawIDs}
}

// warnings are what somebody should know who has configured the keys so.
func (k *recordKeys) warnings(cfg *Config) []string {
	var out []string
	raw := dataDir(cfg.Data).keys().raw()
	if cfg.hardened() && isFile(raw) {
		out = append(out, raw+" is not used any more, and opens recordings of earlier days: move it to those who hold the raw identity")
	}
	var id sealed.ID
	object, err := sealed.WrapKeys(id, sealed.NewKeys(), k.view, k.raw)
	if err != nil {
		return out // the recorder says so
	}
	o, err := sealed.ParseKeyObject(object)
	if err != nil {
		return out
	}
	if _, err := o.Unwrap(k.viewIDs, nil); err != nil {
		out = append(out, "this server cannot open the recordings that it makes: recordings.view_identity is of none of recordings.view_recipients; nobody can replay them here")
	}
	if _, err := o.Unwrap(nil, k.rawIDs); err != nil && len(k.rawIDs) > 0 {
		out = append(out, "this server cannot open the raw part of the recordings that it makes: recordings.raw_identity is of none of recordings.raw_recipients")
	}
	return out
}

// askingIdentities is readIdentities for somebody at a terminal, whom a plugin
// may ask for a PIN or a touch.
func askingIdentities(file string) ([]age.Identity, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	say := func(format string, v ...any) { fmt.Fprintf(os.Stderr, format+"\n", v...) }
	return sealed.ParseIdentitiesAsking(f, file, plugin.NewTerminalUI(say, say))
}

// recipientsOf returns the public halves of native identities.
func recipientsOf(ids []age.Identity) ([]age.Recipient, error) {
	var text []string
	for _, id := range ids {
		switch id := id.(type) {
		case *age.X25519Identity:
			text = append(text, id.Recipient().String())
		case *age.HybridIdentity:
			text = append(text, id.Recipient().String())
		default:
			return nil, errors.New("a plugin's identity does not say whom to seal for")
		}
	}
	return sealed.ParseRecipients(strings.NewReader(strings.Join(text, "\n")), "the identities")
}

// readIdentities reads a file of age identities. An error names the file.
func readIdentities(file string) ([]age.Identity, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return sealed.ParseIdentities(f, file)
}

func makeIdentity(file string) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	return createFile(file, fmt.Appendf(nil, "# created: %s\n# public key: %s\n%s\n", time.Now().UTC().Format(time.RFC3339), id.Recipient(), id))
}

// journalKey takes the key that systemd hands in, or the node's own file.
func journalKey(dir keysDir) ([32]byte, error) {
	if creds := os.Getenv("CREDENTIALS_DIRECTORY"); creds != "" {
		file := filepath.Join(creds, journalKeyName)
		key, err := readSymmetricKey(file)
		if !errors.Is(err, fs.ErrNotExist) {
			return key, err
		}
	}
	return symmetricKey(dir.journal())
}

// symmetricKey reads a key of 32 bytes, which it makes when there is none.
func symmetricKey(file string) ([32]byte, error) {
	key, err := readSymmetricKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	rand.Read(key[:])
	return key, createFile(file, append(hex.AppendEncode(nil, key[:]), '\n'))
}

// readSymmetricKey takes 64 hexadecimal digits, or the 32 bytes themselves.
func readSymmetricKey(file string) (key [32]byte, err error) {
	b, err := readSecretFile(file)
	if err != nil {
		return key, err
	}
	if len(b) == len(key) {
		return [32]byte(b), nil
	}
	raw, err := hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(raw) != len(key) {
		return key, fmt.Errorf("%s: want 64 hexadecimal digits or 32 bytes, found %d bytes of something else; put the right key there, since what it sealed cannot be read without it", file, len(b))
	}
	return [32]byte(raw), nil
}

func readSecretFile(file string) ([]byte, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxKeyFileSize {
		return nil, fmt.Errorf("%s: want a file of at most %d bytes", file, maxKeyFileSize)
	}
	return os.ReadFile(file)
}

// openLedger loads the key that signs checkpoints, or makes it for node. Its
// public half lies beside it, for those who verify.
func (k *recordKeys) openLedger(dir keysDir, node string) error {
	b, err := readSecretFile(dir.ledger())
	if errors.Is(err, fs.ErrNotExist) {
		secret, _, err := note.GenerateKey(rand.Reader, node)
		if err != nil {
			return err
		}
		if err := createFile(dir.ledger(), []byte(secret+"\n")); err != nil {
			return err
		}
		b = []byte(secret)
	} else if err != nil {
		return err
	}
	secret := strings.TrimSpace(string(b))
	if k.signer, err = note.NewSigner(secret); err != nil {
		return fmt.Errorf("%s: no secret key of a ledger: %w", dir.ledger(), err)
	}
	if k.signer.Name() != node {
		return fmt.Errorf("%s: the key is that of node %q, and ledger.node is %q (by default ssh.name): a ledger keeps its name, so set ledger.node: %[2]s", dir.ledger(), k.signer.Name(), node)
	}
	if k.ledgerKey, err = publicLedgerKey(secret); err != nil {
		return fmt.Errorf("%s: %w", dir.ledger(), err)
	}
	if k.verifier, err = note.NewVerifier(k.ledgerKey); err != nil {
		return fmt.Errorf("%s: %w", dir.ledger(), err)
	}
	line := []byte(k.ledgerKey + "\n")
	if old, err := os.ReadFile(dir.ledgerPublic()); err == nil && bytes.Equal(old, line) {
		return nil
	}
	return writeFileAtomic(dir.ledgerPublic(), line, 0o644)
}

// publicLedgerKey returns the verifier key of a note signer's Ed25519 key,
// "PRIVATE+KEY+NAME+HASH+BASE64" with an algorithm byte and the seed inside.
func publicLedgerKey(secret string) (string, error) {
	fields := strings.SplitN(secret, "+", 5)
	data, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if len(fields) != 5 || err != nil || len(data) != 1+ed25519.SeedSize {
		return "", errors.New("no Ed25519 key of a ledger")
	}
	return note.NewEd25519VerifierKey(fields[2], ed25519.NewKeyFromSeed(data[1:]).Public().(ed25519.PublicKey))
}

// readLedgerKey reads a ledger's public key, one line as ledger.pub has it.
func readLedgerKey(file string) (note.Verifier, string, error) {
	b, err := readSecretFile(file)
	if err != nil {
		return nil, "", err
	}
	line := strings.TrimSpace(string(b))
	v, err := note.NewVerifier(line)
	if err != nil {
		return nil, "", fmt.Errorf("%s: no public key of a ledger (NODE+HASH+KEY): %w", file, err)
	}
	return v, line, nil
}

// createFile writes a new secret file (0600) that is whole and durable once it
// returns: staged, synced, linked to its name and the folder synced. A file
// that is there already stays as it is, and is an error.
func createFile(file string, data []byte) error {
	dir := filepath.Dir(file)
	tmp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Chmod(0o600), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), file); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
