package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/cast"
	"sallyport/recorder/redact"
	"sallyport/recorder/sealed"
)

// problem is what keeps a recording from being whole.
type problem struct {
	result  Result
	segment int
	text    string
}

func (p *problem) Error() string { return p.text }

func bad(r Result, segment int, format string, args ...any) error {
	return &problem{r, segment, fmt.Sprintf(format, args...)}
}

// judge gives the verdict on one recording. The error is that the archive
// cannot be read.
func (v *verifier) judge(id policy.SessionID, objects map[string]int64) (Verdict, error) {
	if v.verdict != nil {
		out := *v.verdict
		out.ID = id
		return out, nil
	}
	c := &checker{v: v, id: id, f: v.facts[id], objects: objects}
	result, detail, err := c.check()
	var p *problem
	if errors.As(err, &p) {
		return Verdict{ID: id, Result: p.result, Detail: p.text, Segment: p.segment}, nil
	}
	return Verdict{ID: id, Result: result, Detail: detail, Segment: -1, Content: c.content}, err
}

// checker checks one recording.
type checker struct {
	v       *verifier
	id      policy.SessionID
	f       *facts
	objects map[string]int64

	keys     sealed.Keys // none: only the outside is checked
	content  bool
	segments []sealed.Info
	counted  counts
}

// counts are what the events of a recording come to.
type counts struct{ events, masks, output, stderr, input int64 }

func (c *checker) check() (Result, string, error) {
	f := c.f
	if f == nil || !f.start {
		return "", "", bad(Unsigned, -1, "the ledger has no entry of its start")
	}
	if f.wrong != "" {
		return "", "", bad(Altered, -1, "%s", f.wrong)
	}
	if f.unsigned {
		return "", "", bad(Unsigned, -1, "its newest entries are covered by no checkpoint (a bastion that runs signs within a second)")
	}
	if err := c.strangers(); err != nil {
		return "", "", err
	}
	if _, there := c.objects[archive.KeyName(string(c.id))]; f.shred && !there {
		return Expired, "its keys were destroyed", c.rest()
	}
	if err := c.key(); err != nil {
		return "", "", err
	}
	for n := range f.segments {
		if err := c.segment(n); err != nil {
			return "", "", err
		}
	}
	if !f.end {
		return c.open()
	}
	return c.ended()
}

// read returns an object whose digest the ledger has.
func (c *checker) read(name, digest string, segment int, limit int64) ([]byte, error) {
	body, err := archive.ReadAll(c.v.ctx, c.v.Archive, name, limit)
	switch {
	case errors.Is(err, archive.ErrNotFound):
		return nil, bad(Missing, segment, "%s is missing", name)
	case errors.Is(err, archive.ErrTooLarge):
		return nil, bad(Altered, segment, "%s is larger than any such object", name)
	case err != nil:
		return nil, err
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != digest {
		return nil, bad(Altered, segment, "%s is not what the ledger has", name)
	}
	return body, nil
}

// strangers finds objects that no recording has, or that the ledger knows
// nothing of.
func (c *checker) strangers() error {
	id := string(c.id)
	known := map[string]bool{archive.KeyName(id): true, archive.ManifestName(id): true}
	// A segment is in the archive just before its entry is in the ledger.
	n := len(c.f.segments)
	if !c.f.end {
		n++
	}
	for i := range n {
		known[archive.SegmentName(id, uint32(i))] = true
	}
	for name := range c.objects {
		if known[name] {
			continue
		}
		if strings.HasSuffix(name, ".seg") {
			return bad(Unsigned, -1, "%s is in no entry of the ledger", name)
		}
		return bad(Altered, -1, "%s belongs to no recording", name)
	}
	return nil
}

// rest checks what is left of a recording whose keys are destroyed.
func (c *checker) rest() error {
	id := string(c.id)
	for n, digest := range c.f.segments {
		if name := archive.SegmentName(id, uint32(n)); c.has(name) {
			if _, err := c.read(name, digest, n, maxObject); err != nil {
				return err
			}
		}
	}
	if name := archive.ManifestName(id); c.has(name) && c.f.end {
		_, err := c.read(name, c.f.manifest, -1, sealed.MaxManifest)
		return err
	}
	return nil
}

func (c *checker) has(name string) bool { _, ok := c.objects[name]; return ok }

// key checks the key object and opens it, where there is an identity for it.
func (c *checker) key() error {
	name := archive.KeyName(string(c.id))
	if !c.has(name) && len(c.f.segments) == 0 && !c.f.end {
		return nil // nothing of it is sealed yet
	}
	body, err := c.read(name, c.f.key, -1, sealed.MaxKeyObject)
	if err != nil {
		return err
	}
	object, err := sealed.ParseKeyObject(body)
	if err != nil {
		return bad(Altered, -1, "%s: %v", name, err)
	}
	if object.ID().String() != string(c.id) {
		return bad(Altered, -1, "%s is that of recording %s", name, object.ID())
	}
	if len(c.v.View)+len(c.v.Raw) == 0 {
		return nil
	}
	c.keys, err = object.Unwrap(c.v.View, c.v.Raw)
	c.content = err == nil // one that is sealed for others is checked from outside
	return nil
}

// segment checks segment n, and its content where there is a key.
func (c *checker) segment(n int) error {
	name := archive.SegmentName(string(c.id), uint32(n))
	body, err := c.read(name, c.f.segments[n], n, maxObject)
	if err != nil {
		return err
	}
	seg, err := sealed.Open(bytes.NewReader(body), int64(len(body)))
	if err == nil {
		err = seg.Check()
	}
	if err != nil {
		return bad(Altered, n, "%s: %v", name, err)
	}
	info := seg.Info()
	info.SHA256 = sha256.Sum256(body)
	var prev [32]byte
	if n > 0 {
		prev = c.segments[n-1].SHA256
	}
	if info.ID.String() != string(c.id) || info.Number != uint32(n) || info.Prev != prev {
		return bad(Altered, n, "%s is another segment than its name says, or does not follow the one before", name)
	}
	c.segments = append(c.segments, info)
	if !c.content {
		return nil
	}
	return c.blocks(n, name, seg)
}

// blocks opens every block and makes the view anew.
func (c *checker) blocks(n int, name string, seg *sealed.Segment) error {
	if n == 0 {
		text, err := seg.Context(c.keys)
		var s policy.Session
		if err == nil {
			err = json.Unmarshal(text, &s)
		}
		if err != nil || s.ID != c.id {
			return bad(Altered, n, "%s: its session is not that of the recording (%v)", name, err)
		}
	}
	var got counts
	for b := range seg.Blocks() {
		events, err := seg.Events(b, c.keys)
		if err != nil {
			return bad(Altered, n, "%s: %v", name, err)
		}
		for i := range events {
			if err := got.add(&events[i]); err != nil {
				return bad(Altered, n, "%s: at %s: %v", name, events[i].Time, err)
			}
		}
	}
	info := c.segments[n]
	if c.keys.HasRaw && got != (counts{info.Events, info.Masks, info.OutputBytes, info.StderrBytes, info.InputBytes}) {
		return bad(Altered, n, "%s: its events are not those that it counts", name)
	}
	c.counted.events += got.events
	return nil
}

// add counts one event, and compares its view with what its bytes and masks
// make it.
func (t *counts) add(e *sealed.Event) error {
	t.events++
	t.masks += int64(len(e.Masks))
	switch e.Code {
	case cast.CodeOutput:
		t.output += int64(len(e.Raw))
	case cast.CodeStderr:
		t.stderr += int64(len(e.Raw))
	case cast.CodeInput:
		t.input += int64(len(e.Raw))
	}
	if len(e.Masks) == 0 || e.Raw == nil {
		return nil
	}
	masks := make([]redact.Mask, len(e.Masks))
	end := 0
	for i, text := range e.Masks {
		m := &masks[i]
		if err := json.Unmarshal([]byte(text), m); err != nil || m.Off < end || m.Len < 0 || m.Len > len(e.Raw)-m.Off {
			return errors.New("a mask does not fit what it hides")
		}
		end = m.Off + m.Len
	}
	if !bytes.Equal(redact.View(e.Raw, masks), e.View) {
		return errors.New("the view shows something else than was recorded")
	}
	return nil
}

// open is the result for a recording without an end.
func (c *checker) open() (Result, string, error) {
	for _, at := range c.v.restarts {
		if at > c.f.first {
			return Interrupted, "its end was not seen, and what the journal has of it is not sealed yet", nil
		}
	}
	return Running, fmt.Sprintf("%d segments so far", len(c.f.segments)), nil
}

// ended checks the manifest.
func (c *checker) ended() (Result, string, error) {
	name := archive.ManifestName(string(c.id))
	body, err := c.read(name, c.f.manifest, -1, sealed.MaxManifest)
	if err != nil {
		return "", "", err
	}
	m, private, err := sealed.ParseManifest(body)
	if err != nil {
		return "", "", bad(Altered, -1, "%s: %v", name, err)
	}
	if err := c.manifest(name, m); err != nil {
		return "", "", err
	}
	if c.content {
		if err := c.private(name, m, private); err != nil {
			return "", "", err
		}
	}
	if m.State == sealed.StateInterrupted {
		return Interrupted, m.Missing, nil
	}
	return Valid, m.Missing, nil
}

// manifest compares the clear part with the segments and the ledger.
func (c *checker) manifest(name string, m sealed.Manifest) error {
	var sum counts
	same := m.ID.String() == string(c.id) && m.State == c.f.state && hex.EncodeToString(m.KeyObject[:]) == c.f.key && len(m.Segments) == len(c.segments)
	for i, info := range c.segments {
		sum.events += info.Events
		sum.masks += info.Masks
		sum.output += info.OutputBytes
		sum.stderr += info.StderrBytes
		sum.input += info.InputBytes
		same = same && m.Segments[i] == info.Ref()
	}
	if !same || sum != (counts{m.Events, m.Masks, m.OutputBytes, m.StderrBytes, m.InputBytes}) {
		return bad(Altered, -1, "%s does not describe the segments that there are", name)
	}
	return nil
}

// private compares the sealed part of the manifest with the clear one.
func (c *checker) private(name string, m sealed.Manifest, private *sealed.SealedManifest) error {
	text, err := private.Private(c.keys)
	if err != nil {
		return bad(Altered, -1, "%s: %v", name, err)
	}
	var r policy.Recording
	if err := json.Unmarshal(text, &r); err != nil {
		return bad(Altered, -1, "%s: its sealed part is damaged: %v", name, err)
	}
	s := r.Summary
	if r.Session.ID != c.id || s.ID != c.id || string(s.State) != m.State || s.Segments != len(m.Segments) ||
		s.Events != m.Events || s.Masks != m.Masks || s.OutputBytes != m.OutputBytes || s.StderrBytes != m.StderrBytes || s.InputBytes != m.InputBytes {
		return bad(Altered, -1, "%s: its sealed part is not that of this recording", name)
	}
	return nil
}
