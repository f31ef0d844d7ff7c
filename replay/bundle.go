package replay

import (
	"archive/zip"
	"bytes"
	"context"
	_ "embed" // for the page
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/ledger"
	"sallyport/recorder/sealed"
)

// Names in a bundle. Objects of the archive are below objectsPrefix, by their
// own names.
const (
	bundleCast    = "recording.cast"
	bundleKey     = "recording.key"
	bundleProof   = "proof.json"
	bundlePublic  = "ledger.pub"
	bundleNote    = "checkpoint.txt"
	bundleData    = "cast.js"
	bundlePage    = "index.html"
	bundleReadme  = "README.txt"
	objectsPrefix = "objects/"
)

// ErrNotEnded says that a session still runs.
var ErrNotEnded = errors.New("the session still runs; a bundle is made of a recording that has ended")

// Bundler makes bundles: one zip with all that somebody without an account
// needs to play a recording and to verify it.
type Bundler struct {
	Archive recorder.Archive
	Keys    Keys
	// Log loads the ledger as it is now, signed.
	Log func(context.Context) (*ledger.Log, error)
	// PublicKey is the ledger's, in the encoding of note keys.
	PublicKey string
	// Page are the files that play cast.js from index.html: bundle.js and
	// bundle.css, and the licence of what is in them. Without them, there is
	// no index.html.
	Page map[string][]byte
}

// bundleKeys is the file recording.key: the keys of one recording, in
// hexadecimal.
type bundleKeys struct {
	ID   policy.SessionID `json:"id"`
	View string           `json:"view"`
	Raw  string           `json:"raw,omitempty"`
}

// Write writes the bundle of the recording that s reads, in the view of s. It
// holds the keys of that view of that recording, and no others.
func (b *Bundler) Write(ctx context.Context, w io.Writer, s *Stream) error {
	id := s.recording.Session.ID
	if s.recording.Summary.State != policy.RecordingComplete && s.recording.Summary.State != policy.RecordingInterrupted {
		return ErrNotEnded
	}
	proof, err := b.prove(ctx, id)
	if err != nil {
		return err
	}
	z := zip.NewWriter(w)
	var exported bytes.Buffer
	if _, err := Export(&exported, s, FormatV3); err != nil {
		return err
	}
	key, err := b.writeObjects(ctx, z, id, s.view)
	if err != nil {
		return fmt.Errorf("the bundle: %w", err)
	}
	proofText, err := json.MarshalIndent(proof, "", " ")
	if err != nil {
		return err
	}
	files := map[string][]byte{
		bundleCast: exported.Bytes(), bundleKey: key, bundleProof: append(proofText, '\n'), bundleNote: []byte(proof.Checkpoint),
		bundlePublic: []byte(b.PublicKey + "\n"), bundleData: castScript(exported.Bytes()),
		bundleReadme: []byte(bundleText(s)),
	}
	if len(b.Page) > 0 {
		files[bundlePage] = []byte(bundleHTML)
	}
	for name, body := range b.Page {
		files[name] = body
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := addFile(z, name, files[name], zip.Deflate); err != nil {
			return err
		}
	}
	return z.Close()
}

// prove proves the recorder's entries about a recording.
func (b *Bundler) prove(ctx context.Context, id policy.SessionID) (ledger.Proof, error) {
	log, err := b.Log(ctx)
	if err != nil {
		return ledger.Proof{}, err
	}
	var indexes []int64
	for leaf, err := range log.Leaves() {
		if err != nil {
			return ledger.Proof{}, err
		}
		if leaf.Session != id {
			continue
		}
		switch leaf.Kind {
		case policy.EntryRecordingStart, policy.EntryRecordingSegment, policy.EntryRecordingEnd:
			indexes = append(indexes, leaf.Index)
		}
	}
	return log.Prove(indexes...)
}

// writeObjects adds what the archive holds of the recording, and returns the
// keys that open view.
func (b *Bundler) writeObjects(ctx context.Context, z *zip.Writer, id policy.SessionID, view View) ([]byte, error) {
	var keys *sealed.Keys
	for e, err := range b.Archive.List(ctx, archive.RecordingPrefix(string(id))) {
		if err != nil {
			return nil, err
		}
		body, err := readObject(ctx, b.Archive, e.Name)
		if err == nil {
			err = addFile(z, objectsPrefix+e.Name, body, zip.Store)
		}
		if err == nil && e.Name == archive.KeyName(string(id)) {
			keys, err = b.unwrap(body, view)
		}
		if err != nil {
			return nil, err
		}
	}
	if keys == nil {
		return nil, ErrExpired
	}
	k := bundleKeys{ID: id, View: hex.EncodeToString(keys.View[:])}
	if view == Raw {
		k.Raw = hex.EncodeToString(keys.Raw[:])
	}
	return json.Marshal(k)
}

func (b *Bundler) unwrap(body []byte, view View) (*sealed.Keys, error) {
	object, err := sealed.ParseKeyObject(body)
	if err != nil {
		return nil, err
	}
	k, err := b.Keys.unwrap(view)(object)
	return &k, err
}

// maxObject limits an object of the archive in memory, in bytes.
const maxObject = 80 << 20

func readObject(ctx context.Context, a recorder.Archive, name string) ([]byte, error) {
	o, err := a.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if o.Size() > maxObject {
		return nil, fmt.Errorf("%s: %w", name, archive.ErrTooLarge)
	}
	body := make([]byte, o.Size())
	if n, err := o.ReadAt(body, 0); n < len(body) {
		return nil, fmt.Errorf("%s at byte %d: %w", name, n, err)
	}
	return body, nil
}

// addFile adds a file. Two bundles of one recording differ in nothing but the
// checkpoint, so they have no times.
func addFile(z *zip.Writer, name string, body []byte, method uint16) error {
	w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
	if err == nil {
		_, err = w.Write(body)
	}
	return err
}

// castScript is a cast as a script: a page that was opened from a file may load
// scripts beside it, and nothing else.
func castScript(cast []byte) []byte {
	text, err := json.Marshal(string(cast)) // with < > & escaped
	if err != nil {
		text = []byte(`""`) // a string always has JSON
	}
	return slices.Concat([]byte("window.sallyportCast = "), EscapeJSON(text), []byte(";\n"))
}

// bundleHTML is the page of a bundle.
//
//go:embed bundle.html
var bundleHTML string

// bundleText is the README of a bundle. It names nobody: those who may read the
// recording find all that in it.
func bundleText(s *Stream) string {
	kind := "masked: what redaction hid, and everything that was typed, is not in it"
	if s.view == Raw {
		kind = "RAW: it shows secrets that redaction hid, and everything that was typed"
	}
	r := s.recording
	return fmt.Sprintf(`Sallyport recording %s
Session started %s, %s.
This copy is %s.

To play it: open index.html in a browser, or run
    sallyport play recording.cast

To verify it, with a ledger key that you got from somebody you trust, not from
this file (ledger.pub is here to compare with):
    sallyport verify --ledger-key LEDGER.PUB BUNDLE.zip

That checks, offline and with nothing but the released binary,
  - that the ledger, as its signed checkpoint covers it, has the start, every
    segment and the end of this recording (proof.json, checkpoint.txt);
  - that the sealed objects are those that the ledger names (objects/);
  - that recording.cast is what they hold (recording.key opens this one
    recording, in this view, and no other).
It does not say whether the ledger has been rolled back since: compare
checkpoint.txt with one that was kept elsewhere, or ask for a newer one.
`, r.Session.ID, r.Session.Start.UTC().Format(time.RFC3339), r.Summary.State, kind)
}
