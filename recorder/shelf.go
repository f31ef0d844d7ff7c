package recorder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/sealed"
)

// shelf brings what is sealed of one recording into the archive and then into
// the ledger. It is used by one goroutine at a time. Each of its steps can be
// called again after an error, and does only what is left of it.
type shelf struct {
	r         *Recorder
	session   *policy.Session
	id        sealed.ID
	keys      sealed.Keys
	keyObject []byte // nil once it is in the archive
	keyDigest [32]byte
	manifest  sealed.Manifest // Segments and counts grow with every segment
	sealedAt  []byte          // the manifest as it is stored, once it is made
	created   bool            // the object of the current step is in the archive
	doubt     bool            // an entry may have been made though it failed
}

func newShelf(r *Recorder, s *policy.Session, id sealed.ID, keys sealed.Keys, keyObject []byte) *shelf {
	sh := &shelf{r: r, session: s, id: id, keys: keys, keyObject: keyObject, keyDigest: sha256.Sum256(keyObject)}
	sh.manifest.ID, sh.manifest.KeyObject, sh.manifest.Started = id, sh.keyDigest, s.Start
	return sh
}

// key stores the key object, without which nobody could read what follows.
func (sh *shelf) key(ctx context.Context) error {
	if sh.keyObject == nil {
		return nil
	}
	if err := sh.create(ctx, archive.KeyName(sh.id.String()), sh.keyObject); err != nil {
		return err
	}
	sh.keyObject = nil
	return nil
}

// segment stores a segment and enters it.
func (sh *shelf) segment(ctx context.Context, seg *segment) error {
	if err := sh.key(ctx); err != nil {
		return err
	}
	if !sh.created {
		if err := sh.create(ctx, seg.name, seg.data); err != nil {
			return err
		}
		sh.created = true
	}
	number := int(seg.info.Number)
	entered := func(e Entered) bool { return e.Segments > number }
	if err := sh.enter(ctx, entered, segmentEntry(sh.session.ID, seg.info)); err != nil {
		return err
	}
	sh.count(seg.info)
	sh.created = false
	sh.r.stored(seg.info)
	return nil
}

// count adds a segment to what the manifest will say.
func (sh *shelf) count(i sealed.Info) {
	m := &sh.manifest
	m.Segments = append(m.Segments, sealed.SegmentRef{
		Number: i.Number, Size: i.Size, SHA256: i.SHA256, Events: i.Events, From: i.From, To: i.To,
	})
	m.Events += i.Events
	m.Masks += i.Masks
	m.OutputBytes += i.OutputBytes
	m.StderrBytes += i.StderrBytes
	m.InputBytes += i.InputBytes
}

// finish stores the manifest and enters the end of the recording.
func (sh *shelf) finish(ctx context.Context, e ending) (policy.Summary, error) {
	sum := sh.summary(e)
	if err := sh.key(ctx); err != nil {
		return sum, err
	}
	if sh.sealedAt == nil {
		data, err := sh.seal(e, sum)
		if err != nil {
			return sum, err
		}
		sh.sealedAt = data
	}
	sum.SHA256 = digest(sh.sealedAt)
	if !sh.created {
		if err := sh.create(ctx, archive.ManifestName(sh.id.String()), sh.sealedAt); err != nil {
			return sum, err
		}
		sh.created = true
	}
	return sum, sh.enter(ctx, func(e Entered) bool { return e.End }, endEntry(sum))
}

// seal makes the manifest.
func (sh *shelf) seal(e ending, sum policy.Summary) ([]byte, error) {
	m := &sh.manifest
	m.State, m.Ended, m.Missing = string(sum.State), sum.Ended, printable(e.Missing)
	private, err := json.Marshal(policy.Recording{Session: *sh.session, Summary: sum})
	if err != nil {
		return nil, err
	}
	return sealed.SealManifest(*m, private, sh.keys)
}

// summary describes the recording, apart from the digest of its manifest.
func (sh *shelf) summary(e ending) policy.Summary {
	m := &sh.manifest
	sum := policy.Summary{
		ID: sh.session.ID, State: e.State, End: e.End, Ended: e.Ended, Duration: e.Duration,
		OutputBytes: m.OutputBytes, StderrBytes: m.StderrBytes, InputBytes: m.InputBytes,
		Events: m.Events, Masks: m.Masks, Segments: len(m.Segments),
	}
	for _, s := range m.Segments {
		sum.Size += s.Size
	}
	return sum
}

// create stores an object. An error is remembered: while there is one, no
// session begins.
func (sh *shelf) create(ctx context.Context, name string, data []byte) error {
	if err := sh.r.o.Archive.Create(ctx, name, data); err != nil {
		return fmt.Errorf("the archive does not take %s: %w", name, err)
	}
	return nil
}

// enter makes an entry unless the ledger holds it already, which it is asked
// where an attempt before failed and nobody knows how far that came.
func (sh *shelf) enter(ctx context.Context, holds func(Entered) bool, e policy.Entry) error {
	if sh.doubt && sh.r.o.Entered != nil {
		known, err := sh.r.o.Entered(ctx, []policy.SessionID{e.Session})
		if err != nil {
			return fmt.Errorf("the ledger does not say what it holds: %w", err)
		}
		if holds(known[e.Session]) {
			sh.doubt = false
			return nil
		}
	}
	if err := sh.r.o.Entry(ctx, e); err != nil {
		sh.doubt = true
		return fmt.Errorf("the ledger does not take the entry %s: %w", e.Kind, err)
	}
	sh.doubt = false
	return nil
}

func startEntry(s policy.Session, key [32]byte) policy.Entry {
	user := s.User
	return policy.Entry{
		Kind: policy.EntryRecordingStart, User: &user, Session: s.ID, Target: s.Target, Login: s.Login, Source: s.Source,
		Ref: map[string]string{"key": hex.EncodeToString(key[:])},
	}
}

func segmentEntry(id policy.SessionID, i sealed.Info) policy.Entry {
	return policy.Entry{Kind: policy.EntryRecordingSegment, Session: id, Ref: map[string]string{
		"segment": strconv.FormatUint(uint64(i.Number), 10),
		"sha256":  hex.EncodeToString(i.SHA256[:]),
		"size":    strconv.FormatInt(i.Size, 10),
	}}
}

func endEntry(sum policy.Summary) policy.Entry {
	return policy.Entry{Kind: policy.EntryRecordingEnd, Session: sum.ID, Ref: map[string]string{
		"manifest": sum.SHA256, "segments": strconv.Itoa(sum.Segments), "state": string(sum.State),
	}}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
