package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"filippo.io/age"

	"sallyport/bastion/console"
	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/catalog"
	"sallyport/recorder/ledger"
	"sallyport/replay"
	"sallyport/replay/web"
)

// open fills what the verbs of env read from, and returns what closes it.
func (s *source) open(ctx context.Context, env console.Env) (func() error, error) {
	keys, err := s.keys()
	if err != nil {
		return nil, err
	}
	if s.dir == "" {
		return s.openCopy(env, keys)
	}
	d := dataDir(s.dir)
	if err := mustExist(d.catalog()); err != nil {
		return nil, err
	}
	cat, err := catalog.Open(ctx, d.catalog())
	if err != nil {
		return nil, err
	}
	store, err := s.store()
	if err != nil {
		return nil, errors.Join(err, cat.Close())
	}
	book := &localLedger{dir: d}
	*env.Library = replay.Library{Archive: store, Keys: keys, Catalog: cat, Audit: func(ctx context.Context, e policy.Entry) error { return book.append(ctx, e) }}
	s.bundler = replay.Bundler{Archive: store, Keys: keys, PublicKey: book.publicKey(), Page: web.BundlePage(), Log: book.load}
	*env.Keeping = localKeeping(newKeeper(store, cat, book.append), cat, env.Viewer)
	return func() error { return errors.Join(book.Close(), cat.Close()) }, nil
}

// openCopy reads a copy of an archive on a machine without a bastion: there is
// no index, and no ledger that the look could be entered in.
func (s *source) openCopy(env console.Env, keys replay.Keys) (func() error, error) {
	if len(s.identities) == 0 {
		return nil, &usageError{"--archive takes --identity FILE, which opens the recordings, or --dir DATA"}
	}
	store, err := s.store()
	if err != nil {
		return nil, err
	}
	*env.Library = replay.Library{Archive: store, Keys: keys, Catalog: &replay.ArchiveCatalog{Archive: store, Keys: keys},
		Audit: func(context.Context, policy.Entry) error { return nil }}
	return func() error { return nil }, nil
}

// store opens the archive that s names, which must be there.
func (s *source) store() (archive.Store, error) {
	dir := s.archive
	if dir == "" {
		p, err := readPaths(dataDir(s.dir))
		if err != nil {
			return nil, err
		}
		dir = p.Archive
	}
	if !isDir(dir) {
		return nil, fmt.Errorf("%s is no folder; where are the recordings? --archive says so", dir)
	}
	return archive.OpenDir(dir, archive.DirOptions{})
}

// keys are the identities that s names, and those of the data directory.
func (s *source) keys() (replay.Keys, error) {
	var k replay.Keys
	for _, file := range s.identities {
		ids, err := askingIdentities(file)
		if err != nil {
			return k, err
		}
		// An identity does not say what it is for.
		k.View, k.Raw = append(k.View, ids...), append(k.Raw, ids...)
	}
	if s.dir == "" {
		return k, nil
	}
	own, err := ownIdentities(dataDir(s.dir))
	k.View, k.Raw = append(k.View, own.View...), append(k.Raw, own.Raw...)
	return k, err
}

// ownIdentities are those that the bastion of d opens recordings with. What is
// not there, or not for this account to read, is left out.
func ownIdentities(d dataDir) (replay.Keys, error) {
	var k replay.Keys
	p, err := readPaths(d)
	if err != nil {
		return k, err
	}
	for _, f := range []struct {
		file string
		to   *[]age.Identity
	}{{p.ViewIdentity, &k.View}, {p.RawIdentity, &k.Raw}} {
		if f.file == "" {
			continue
		}
		ids, err := readIdentities(f.file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return k, err
		}
		*f.to = ids
	}
	return k, nil
}

// localLedger is the ledger of a data directory, beside the bastion that may be
// running on it. It is opened for the first entry: most verbs make none, and
// opening it means to read it.
type localLedger struct {
	dir dataDir

	mu   sync.Mutex
	book *ledger.Ledger // guarded by mu
}

// append adds entries; they are durable when it returns.
func (l *localLedger) append(ctx context.Context, entries ...policy.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.book == nil {
		book, err := l.open()
		if err != nil {
			return err
		}
		l.book = book
	}
	return l.book.Append(ctx, entries...)
}

func (l *localLedger) open() (*ledger.Ledger, error) {
	keys := l.dir.keys()
	signer, err := ledger.ReadSigner(keys.ledger())
	if err != nil {
		return nil, err
	}
	verifier, err := ledger.ReadVerifier(keys.ledgerPublic())
	if err != nil {
		return nil, err
	}
	body, err := readSymmetricKey(keys.body())
	if err != nil {
		return nil, err
	}
	return ledger.Open(ledger.Options{Dir: l.dir.ledger(), Signer: signer, Verifier: verifier, BodyKey: body})
}

// publicKey is the ledger's, or nothing where it cannot be read: load says why.
func (l *localLedger) publicKey() string {
	text, err := os.ReadFile(l.dir.keys().ledgerPublic())
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// load signs the ledger as it is and reads it.
func (l *localLedger) load(ctx context.Context) (*ledger.Log, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	verifier, err := ledger.ReadVerifier(l.dir.keys().ledgerPublic())
	if err != nil {
		return nil, err
	}
	if l.book == nil {
		if l.book, err = l.open(); err != nil {
			return nil, err
		}
	}
	if _, err := l.book.Checkpoint(ctx); err != nil {
		return nil, err
	}
	return ledger.Load(l.dir.ledger(), verifier)
}

// Close signs and closes the ledger, if it was opened.
func (l *localLedger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.book == nil {
		return nil
	}
	return l.book.Close()
}
