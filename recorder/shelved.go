package recorder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/sealed"
)

// errShredded says that the key object of a recording was destroyed while its
// session went on.
var errShredded = errors.New("its keys were destroyed")

// look finds out what the archive has of the recording, so that the journal is
// read from there on, and enters what an earlier run could not.
func (b *rebuild) look(ctx context.Context) error {
	names, err := b.r.list(ctx, b.f.id)
	if err != nil {
		return err
	}
	id := b.f.id.String()
	if b.f.state.KeyObject == nil && !names[archive.KeyName(id)] {
		return errShredded
	}
	if !b.known.Start {
		if err := b.r.o.Entry(ctx, startEntry(*b.shelf.session, b.shelf.keyDigest)); err != nil {
			return fmt.Errorf("the ledger does not take its start: %w", err)
		}
	}
	if names[archive.ManifestName(id)] {
		return b.sealedAlready(ctx)
	}
	for n := uint32(0); n < b.f.state.Segment || names[archive.SegmentName(id, n)]; n++ {
		if err := b.lookAt(ctx, n, names[archive.SegmentName(id, n)]); err != nil {
			return err
		}
	}
	b.segs.first = b.covered
	return nil
}

// list returns the names of all objects of a recording.
func (r *Recorder) list(ctx context.Context, id sealed.ID) (map[string]bool, error) {
	names := map[string]bool{}
	for e, err := range r.o.Archive.List(ctx, archive.RecordingPrefix(id.String())) {
		if err != nil {
			return nil, fmt.Errorf("the archive does not say what it has of it: %w", err)
		}
		names[e.Name] = true
	}
	return names, nil
}

// sealedAlready takes the manifest that is in the archive for what it says.
func (b *rebuild) sealedAlready(ctx context.Context) error {
	data, err := readObject(ctx, b.r.o.Archive, archive.ManifestName(b.f.id.String()), sealed.MaxManifest)
	if err != nil {
		return err
	}
	m, err := readManifest(data, b.segs.keys, b.f.id)
	if err != nil {
		return err
	}
	b.done = m
	return nil
}

// readManifest returns what a manifest says to who has the view key.
func readManifest(data []byte, k sealed.Keys, id sealed.ID) (*policy.Recording, error) {
	public, private, err := sealed.ParseManifest(data)
	if err != nil {
		return nil, err
	}
	if public.ID != id {
		return nil, fmt.Errorf("the manifest of recording %s is that of %s", id, public.ID)
	}
	text, err := private.Private(k)
	if err != nil {
		return nil, err
	}
	m := new(policy.Recording)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("the private part of the manifest of recording %s is damaged: %w", id, err)
	}
	if string(m.Session.ID) != id.String() || m.Summary.ID != m.Session.ID {
		return nil, fmt.Errorf("the private part of the manifest of recording %s is that of another", id)
	}
	m.Summary.SHA256 = digest(data)
	return m, nil
}

// lookAt counts segment n, of which the journal or the archive knows.
func (b *rebuild) lookAt(ctx context.Context, n uint32, exists bool) error {
	b.segs.number = n + 1
	b.segs.context = nil
	if !exists {
		b.missing = append(b.missing, fmt.Sprintf("segment %d: the archive has lost it", n))
		ref := sealed.SegmentRef{Number: n}
		if n+1 == b.f.state.Segment {
			ref.SHA256 = [32]byte(b.f.state.Prev)
		}
		b.shelf.manifest.Segments = append(b.shelf.manifest.Segments, ref)
		b.segs.prev = ref.SHA256
		return nil
	}
	data, err := readObject(ctx, b.r.o.Archive, archive.SegmentName(b.f.id.String(), n), sealed.MaxSegment)
	if err != nil {
		return err
	}
	b.segs.prev = sha256.Sum256(data)
	info, err := b.check(n, data)
	if err != nil {
		b.r.o.Log.Error("a segment in the archive is not what was stored", "session", b.f.id, "segment", n, "error", err)
		b.missing = append(b.missing, fmt.Sprintf("segment %d: the archive has damaged it", n))
		b.shelf.manifest.Segments = append(b.shelf.manifest.Segments,
			sealed.SegmentRef{Number: n, Size: int64(len(data)), SHA256: b.segs.prev})
		return nil
	}
	if b.known.Segments <= int(n) {
		if err := b.r.o.Entry(ctx, segmentEntry(b.shelf.session.ID, info)); err != nil {
			return fmt.Errorf("the ledger does not take its segment %d: %w", n, err)
		}
	}
	b.shelf.count(info)
	b.covered = max(b.covered, info.NextSeq)
	b.at = max(b.at, info.To)
	return nil
}

// check opens a segment with the recording's keys, so that nobody else can have
// made it.
func (b *rebuild) check(n uint32, data []byte) (sealed.Info, error) {
	seg, err := sealed.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return sealed.Info{}, err
	}
	info := seg.Info()
	if info.ID != b.f.id || info.Number != n {
		return info, fmt.Errorf("it is segment %d of recording %s", info.Number, info.ID)
	}
	if _, err := seg.Keyframe(b.segs.keys); err != nil {
		return info, err
	}
	info.SHA256 = b.segs.prev
	return info, nil
}

// readObject returns all of an object of at most limit bytes.
func readObject(ctx context.Context, a Archive, name string, limit int64) ([]byte, error) {
	o, err := a.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if o.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes are more than the %d allowed", name, o.Size(), limit)
	}
	data := make([]byte, o.Size())
	if n, err := o.ReadAt(data, 0); n < len(data) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%s at byte %d: it cannot be read: %w", name, n, err)
	}
	return data, nil
}
