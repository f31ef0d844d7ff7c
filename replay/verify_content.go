package replay

import (
	"bytes"
	"encoding/json"
	"errors"

	"sallyport/policy"
	"sallyport/recorder/cast"
	"sallyport/recorder/redact"
	"sallyport/recorder/sealed"
)

// counts are what the events of a recording come to.
type counts struct{ events, masks, output, stderr, input int64 }

// blocks opens every block and makes the view anew.
func (c *checker) blocks(n int, name string, seg *sealed.Segment) error {
	if n == 0 {
		text, err := seg.Context(c.keys)
		if err == nil {
			err = json.Unmarshal(text, &c.session)
		}
		if err != nil || c.session.ID != c.id {
			return bad(Altered, n, "%s: its session is not that of the recording (%v)", name, err)
		}
	}
	if _, err := seg.Keyframe(c.keys); err != nil {
		return bad(Altered, n, "%s: %v", name, err)
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
	return compare(e)
}

// compare compares the view of an event with what its bytes and masks make it.
// Without its bytes, only the masks are looked at.
func compare(e *sealed.Event) error {
	if len(e.Masks) == 0 {
		return nil
	}
	masks := make([]redact.Mask, len(e.Masks))
	end := 0
	for i, text := range e.Masks {
		m := &masks[i]
		room := sealed.MaxEvent
		if e.Raw != nil {
			room = len(e.Raw)
		}
		if err := json.Unmarshal([]byte(text), m); err != nil || m.Off < end || m.Len < 0 || m.Off > room || m.Len > room-m.Off {
			return errors.New("a mask does not fit what it hides")
		}
		end = m.Off + m.Len
	}
	if e.Raw != nil && !bytes.Equal(redact.View(e.Raw, masks), e.View) {
		return errors.New("the view shows something else than was recorded")
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
	if !r.Session.Start.Equal(m.Started) || !s.Ended.Equal(m.Ended) || len(c.segments) > 0 && !sameSession(r.Session, c.session) {
		return bad(Altered, -1, "%s: its sealed part has another session than the first segment, or other times", name)
	}
	return nil
}

// sameSession reports whether a and b are the same in what never changes after
// the start.
func sameSession(a, b policy.Session) bool {
	return a.ID == b.ID && a.User.Principal() == b.User.Principal() && a.Target == b.Target && a.Login == b.Login &&
		a.Source == b.Source && a.Action == b.Action && a.Command == b.Command && a.Start.Equal(b.Start)
}
