package replay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport/policy"
	"sallyport/recorder/archive"
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
	session  policy.Session // as segment 0 has it, with a key
	segments []sealed.Info
}

func (c *checker) check() (Result, string, error) {
	f := c.f
	switch {
	case f == nil && len(c.objects) == 0:
		return "", "", bad(Missing, -1, "neither the ledger nor the archive knows of it")
	case f == nil:
		return "", "", bad(Unsigned, -1, "the ledger has no entry of it")
	case f.unsigned:
		return "", "", bad(Unsigned, -1, "its newest entries are covered by no checkpoint (a bastion that runs signs within a second)")
	case !f.start:
		return "", "", bad(Unsigned, -1, "the ledger has no entry of its start")
	case f.wrong != "":
		return "", "", bad(Altered, -1, "%s", f.wrong)
	}
	if err := c.strangers(); err != nil {
		return "", "", err
	}
	if f.shred != nil {
		detail, err := c.rest()
		return Expired, detail, err
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
	body, err := c.get(name, segment, limit)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != digest {
		return nil, bad(Altered, segment, "%s is not what the ledger has", name)
	}
	return body, nil
}

// get returns an object. One that cannot be read is as good as missing; the
// others are not the worse for it.
func (c *checker) get(name string, segment int, limit int64) ([]byte, error) {
	body, err := archive.ReadAll(c.v.ctx, c.v.Archive, name, limit)
	switch {
	case err == nil:
		return body, nil
	case c.v.ctx.Err() != nil:
		return nil, context.Cause(c.v.ctx)
	case errors.Is(err, archive.ErrNotFound):
		return nil, bad(Missing, segment, "%s is missing", name)
	case errors.Is(err, archive.ErrTooLarge):
		return nil, bad(Altered, segment, "%s is larger than any such object", name)
	}
	return nil, bad(Missing, segment, "%s cannot be had: %v", name, err)
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
	for _, name := range slices.Sorted(maps.Keys(c.objects)) {
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

// rest checks what is left of a recording whose keys are destroyed. Its segments
// go too, one after the other; its manifest stays.
func (c *checker) rest() (string, error) {
	id := string(c.id)
	detail := c.f.shred.String()
	if name := archive.KeyName(id); c.has(name) {
		if _, err := c.read(name, c.f.key, -1, sealed.MaxKeyObject); err != nil {
			return "", err
		}
		detail += "; but they are in the archive, still or again: delete " + name
	}
	for n, digest := range c.f.segments {
		if name := archive.SegmentName(id, uint32(n)); c.has(name) {
			if _, err := c.read(name, digest, n, maxObject); err != nil {
				return "", err
			}
		}
	}
	if c.f.end {
		if _, err := c.read(archive.ManifestName(id), c.f.manifest, -1, sealed.MaxManifest); err != nil {
			return "", err
		}
	}
	return detail, nil
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
	if errors.Is(err, sealed.ErrDamaged) {
		return bad(Altered, -1, "%s: %v", name, err)
	}
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
	seg, err := c.follows(n, name, body)
	if err != nil {
		return bad(Altered, n, "%v", err)
	}
	info := seg.Info()
	info.SHA256 = sha256.Sum256(body)
	c.segments = append(c.segments, info)
	if !c.content {
		return nil
	}
	return c.blocks(n, name, seg)
}

// follows opens a segment from outside, and says what keeps it from being
// segment n of this recording.
func (c *checker) follows(n int, name string, body []byte) (*sealed.Segment, error) {
	seg, err := sealed.Open(bytes.NewReader(body), int64(len(body)))
	if err == nil {
		err = seg.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var prev [32]byte
	if n > 0 {
		prev = c.segments[n-1].SHA256
	}
	if info := seg.Info(); info.ID.String() != string(c.id) || info.Number != uint32(n) || info.Prev != prev {
		return nil, fmt.Errorf("%s is another segment than its name says, or does not follow the one before", name)
	}
	return seg, nil
}

// open is the result for a recording without an end.
func (c *checker) open() (Result, string, error) {
	if err := c.ahead(); err != nil {
		return "", "", err
	}
	for _, at := range c.v.restarts {
		if at > c.f.first {
			return Interrupted, "its end was not seen, and what the journal has of it is not sealed yet", nil
		}
	}
	noun := "segments"
	if len(c.f.segments) == 1 {
		noun = "segment"
	}
	return Running, fmt.Sprintf("%d %s so far", len(c.f.segments), noun), nil
}

// ahead checks the one object that the archive may have before the ledger: what
// comes next of a recording that goes on.
func (c *checker) ahead() error {
	id, n := string(c.id), len(c.f.segments)
	if name := archive.SegmentName(id, uint32(n)); c.has(name) {
		body, err := c.get(name, n, maxObject)
		if err != nil {
			return err
		}
		if _, err := c.follows(n, name, body); err != nil {
			return bad(Unsigned, n, "the ledger does not have what is stored: %v", err)
		}
	}
	name := archive.ManifestName(id)
	if !c.has(name) {
		return nil
	}
	body, err := c.get(name, -1, sealed.MaxManifest)
	if err != nil {
		return err
	}
	m, _, err := sealed.ParseManifest(body)
	if err == nil {
		err = c.manifest(name, m, m.State)
	}
	if err != nil {
		return bad(Unsigned, -1, "the ledger does not have what is stored: %v", err)
	}
	return nil
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
	if err := c.manifest(name, m, c.f.state); err != nil {
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

// manifest compares the clear part with the segments and the ledger, which has
// state.
func (c *checker) manifest(name string, m sealed.Manifest, state string) error {
	var sum counts
	same := m.ID.String() == string(c.id) && m.State == state && hex.EncodeToString(m.KeyObject[:]) == c.f.key && len(m.Segments) == len(c.segments)
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
