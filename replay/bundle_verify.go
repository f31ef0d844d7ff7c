package replay

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/ledger"
	"sallyport/recorder/sealed"
)

// Limits of a bundle that is read.
const (
	maxBundleFiles = 50_000
	maxBundleText  = 64 << 20 // bytes of one file that is no object
	maxBundleCast  = 8 << 30  // bytes of the cast, which is only compared
)

// BundleReport says what a bundle proved.
type BundleReport struct {
	ID         policy.SessionID      `json:"id"`
	State      policy.RecordingState `json:"state"`
	View       string                `json:"view"`
	Segments   int                   `json:"segments"`
	Entries    int                   `json:"entries"`     // of the ledger
	LedgerSize int64                 `json:"ledger_size"` // entries that the checkpoint covers
}

// VerifyBundle checks a bundle with the ledger's public key and nothing else.
// The error says what is wrong: it wraps ledger.ErrWrongKey, ledger.ErrAltered
// or ErrBundle.
func VerifyBundle(ctx context.Context, r io.ReaderAt, size int64, v note.Verifier) (BundleReport, error) {
	b, err := openBundle(r, size)
	if err != nil {
		return BundleReport{}, err
	}
	rep, err := b.verify(ctx, v)
	if err != nil {
		return rep, fmt.Errorf("the bundle: %w", err)
	}
	return rep, nil
}

// ErrBundle says that a bundle is not what it claims.
var ErrBundle = errors.New("it was altered")

func altered(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBundle, fmt.Sprintf(format, args...))
}

// bundle is a zip that is read. It is a recorder.Archive of its objects.
type bundle struct{ files map[string]*zip.File }

func openBundle(r io.ReaderAt, size int64) (*bundle, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("it is no bundle: %w", err)
	}
	if len(z.File) > maxBundleFiles {
		return nil, fmt.Errorf("it is no bundle: it has %d files", len(z.File))
	}
	b := &bundle{map[string]*zip.File{}}
	for _, f := range z.File {
		if err := archive.CheckName(f.Name); err != nil {
			return nil, fmt.Errorf("it is no bundle: %w", err)
		}
		if b.files[f.Name] != nil {
			return nil, altered("two files are named %s", f.Name)
		}
		b.files[f.Name] = f
	}
	return b, nil
}

// read returns a whole file of at most limit bytes, whatever its header claims.
func (b *bundle) read(name string, limit int64) ([]byte, error) {
	f := b.files[name]
	if f == nil {
		return nil, altered("%s is missing", name)
	}
	if f.UncompressedSize64 > uint64(limit) {
		return nil, altered("%s is too large", name)
	}
	in, err := f.Open()
	if err != nil {
		return nil, altered("%s: %v", name, err)
	}
	defer in.Close()
	body, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, altered("%s: %v", name, err)
	}
	if int64(len(body)) > limit {
		return nil, altered("%s is too large", name)
	}
	return body, nil
}

type bundleObject struct{ *bytes.Reader }

func (bundleObject) Close() error { return nil }

// Open and List make a bundle a recorder.Archive.
func (b *bundle) Open(_ context.Context, name string) (archive.Object, error) {
	if b.files[objectsPrefix+name] == nil {
		return nil, fmt.Errorf("%s: %w", name, archive.ErrNotFound)
	}
	body, err := b.read(objectsPrefix+name, maxObject)
	if err != nil {
		return nil, err
	}
	return bundleObject{bytes.NewReader(body)}, nil
}

func (b *bundle) List(_ context.Context, prefix string) iter.Seq2[archive.Entry, error] {
	return func(yield func(archive.Entry, error) bool) {
		var names []string
		for name := range b.files {
			if strings.HasPrefix(name, objectsPrefix+prefix) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			if !yield(archive.Entry{Name: strings.TrimPrefix(name, objectsPrefix), Size: int64(b.files[name].UncompressedSize64)}, nil) {
				return
			}
		}
	}
}

func (b *bundle) Create(context.Context, string, []byte) error {
	return errors.New("a bundle is only read")
}

func (b *bundle) verify(ctx context.Context, v note.Verifier) (BundleReport, error) {
	var rep BundleReport
	text, err := b.read(bundleProof, maxBundleText)
	if err != nil {
		return rep, err
	}
	var proof ledger.Proof
	if err := json.Unmarshal(text, &proof); err != nil {
		return rep, altered("proof.json: %v", err)
	}
	leaves, err := ledger.CheckProof(proof, v)
	if err != nil {
		return rep, err
	}
	tree, err := ledger.OpenCheckpoint([]byte(proof.Checkpoint), v)
	if err != nil {
		return rep, err
	}
	keys, err := b.keys(&rep)
	if err != nil {
		return rep, err
	}
	rep.Entries, rep.LedgerSize = len(leaves), tree.N
	if err := b.objects(ctx, leaves, &rep); err != nil {
		return rep, err
	}
	return rep, b.content(ctx, keys, &rep)
}

// keys reads recording.key.
func (b *bundle) keys(rep *BundleReport) (sealed.Keys, error) {
	var k bundleKeys
	text, err := b.read(bundleKey, 4<<10)
	if err != nil {
		return sealed.Keys{}, err
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return sealed.Keys{}, altered("recording.key: %v", err)
	}
	if _, err := policy.ParseSessionID(string(k.ID)); err != nil {
		return sealed.Keys{}, altered("recording.key: %v", err)
	}
	var keys sealed.Keys
	rep.ID, rep.View = k.ID, Masked.String()
	view, err := hex.DecodeString(k.View)
	if err != nil || len(view) != len(keys.View) {
		return keys, altered("recording.key has no view key")
	}
	keys.View, keys.HasView = [32]byte(view), true
	if k.Raw != "" {
		raw, err := hex.DecodeString(k.Raw)
		if err != nil || len(raw) != len(keys.Raw) {
			return keys, altered("recording.key has no raw key")
		}
		keys.Raw, keys.HasRaw, rep.View = [32]byte(raw), true, Raw.String()
	}
	return keys, nil
}

// objects compares the objects with what the ledger says of them.
func (b *bundle) objects(ctx context.Context, leaves []ledger.Leaf, rep *BundleReport) error {
	id := string(rep.ID)
	want := map[string]string{} // digests by object
	for _, leaf := range leaves {
		if leaf.Session != rep.ID {
			return altered("proof.json is about recording %s", leaf.Session)
		}
		name, digest := "", ""
		switch leaf.Kind {
		case policy.EntryRecordingStart:
			name, digest = archive.KeyName(id), leaf.Ref["key"]
		case policy.EntryRecordingSegment:
			n, err := strconv.ParseUint(leaf.Ref["segment"], 10, 32)
			if err != nil {
				return altered("entry %d of the ledger names no segment", leaf.Index)
			}
			name, digest = archive.SegmentName(id, uint32(n)), leaf.Ref["sha256"]
			rep.Segments++
		case policy.EntryRecordingEnd:
			name, digest = archive.ManifestName(id), leaf.Ref["manifest"]
			if leaf.Ref["segments"] != strconv.Itoa(rep.Segments) {
				return altered("the ledger has %d segments of %s", rep.Segments, leaf.Ref["segments"])
			}
		default:
			continue
		}
		if want[name] != "" && want[name] != digest {
			return altered("the ledger names two different objects %s", name)
		}
		want[name] = digest
	}
	for _, name := range []string{archive.KeyName(id), archive.ManifestName(id)} {
		if want[name] == "" {
			return altered("the ledger's entry about %s is missing from proof.json", name)
		}
	}
	for e, err := range b.List(ctx, "") {
		if err != nil {
			return err
		}
		if want[e.Name] == "" {
			return altered("%s is in no entry of the ledger", e.Name)
		}
	}
	for name, digest := range want {
		body, err := b.read(objectsPrefix+name, maxObject)
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != digest {
			return altered("%s is not what the ledger says", name)
		}
	}
	return nil
}

// content exports the recording anew and compares.
func (b *bundle) content(ctx context.Context, keys sealed.Keys, rep *BundleReport) error {
	view := Masked
	if keys.HasRaw {
		view = Raw
	}
	s, err := newStream(view, func() (*recorder.Reader, error) {
		return recorder.OpenRecording(ctx, b, rep.ID, func(*sealed.KeyObject) (sealed.Keys, error) { return keys, nil })
	})
	if err != nil {
		return altered("%v", err)
	}
	defer s.Close()
	rep.State = s.recording.Summary.State
	f := b.files[bundleCast]
	if f == nil || f.UncompressedSize64 > maxBundleCast {
		return altered("recording.cast is missing or too large")
	}
	in, err := f.Open()
	if err != nil {
		return altered("recording.cast: %v", err)
	}
	defer in.Close()
	same := &comparer{want: in}
	if _, err := Export(same, s, FormatV3); err != nil {
		return altered("recording.cast: %v", err)
	}
	if n, err := io.CopyN(io.Discard, in, 1); n > 0 || err != io.EOF {
		return altered("recording.cast has more than the sealed recording")
	}
	return nil
}

// comparer is a writer that fails where what is written differs from want.
type comparer struct {
	want io.Reader
	at   int64
	buf  []byte
}

func (c *comparer) Write(p []byte) (int, error) {
	c.buf = slices.Grow(c.buf[:0], len(p))[:len(p)]
	n, err := io.ReadFull(c.want, c.buf)
	if err != nil || !bytes.Equal(p, c.buf) {
		same := 0
		for same < n && p[same] == c.buf[same] {
			same++
		}
		return 0, fmt.Errorf("byte %d is not that of the sealed recording", c.at+int64(same))
	}
	c.at += int64(n)
	return n, nil
}
