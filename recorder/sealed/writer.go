package sealed

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"sallyport/recorder/cast"
)

// Writer makes one segment. It is used by one goroutine at a time, and keeps
// nothing of what it is given.
//
// Every Writer salts its keys afresh: two segments of the same events are
// different bytes, and share no key.
type Writer struct {
	head      segHeader
	view, raw cipher.AEAD
	out       []byte
	frames    uint32
	context   []byte
	keyframe  []byte
	foot      footer
	at        time.Duration // of the last event
	err       error         // the first one; Finish returns it
}

// NewWriter begins segment number of recording id. prev is the SHA-256 of the
// segment before, zeros for number 0. k must hold both keys.
func NewWriter(id ID, number uint32, prev [32]byte, k Keys) *Writer {
	w := &Writer{head: segHeader{id: id, number: number, prev: prev}}
	if w.err = k.whole(); w.err != nil {
		return w
	}
	rand.Read(w.head.salt[:])
	w.head.viewC, w.head.rawC = k.viewCheck(id), k.rawCheck(id)
	w.out = w.head.append(nil)
	w.view, w.raw = newGCM(k.View, w.out, infoView), newGCM(k.Raw, w.out, infoRaw)
	return w
}

// Context gives what describes the session, under the view key. It comes before
// the first Block.
func (w *Writer) Context(json []byte) { w.early(&w.context, json, "context") }

// Keyframe gives what brings a terminal to the state that the first event of
// the segment finds, as the view shows it. It comes before the first Block.
func (w *Writer) Keyframe(b []byte) { w.early(&w.keyframe, b, "keyframe") }

func (w *Writer) early(dst *[]byte, b []byte, what string) {
	switch {
	case w.err != nil:
	case len(w.foot.index) > 0:
		w.err = fmt.Errorf("the %s of a segment comes before its first block", what)
	case len(b) > MaxPlain:
		w.err = fmt.Errorf("a %s of %d bytes is larger than the %d allowed", what, len(b), MaxPlain)
	default:
		*dst = append([]byte{}, b...)
	}
}

// start writes what stands before the first block.
func (w *Writer) start() {
	if w.context != nil {
		w.foot.contextSize = w.frame(w.view, frameHeader{kind: frameContext}, w.context)
	}
	if w.keyframe != nil {
		w.foot.keyframeSize = w.frame(w.view, frameHeader{kind: frameKeyframe}, w.keyframe)
	}
	w.context, w.keyframe = nil, nil
}

// frame appends one frame and returns its size.
func (w *Writer) frame(a cipher.AEAD, h frameHeader, plain []byte) uint32 {
	at := len(w.out)
	w.out = appendFrame(w.out, a, w.frames, h, plain)
	w.frames++
	return uint32(len(w.out) - at)
}

// Block seals events, in the order in which they happened, as one block, or as
// several where they are many. A time before that of the event before is stored
// as that. The error names the event that cannot be stored, and then nothing of
// events is; it is also what Finish returns.
func (w *Writer) Block(events []Event) error {
	if w.err != nil {
		return w.err
	}
	for i := range events {
		if err := events[i].valid(); err != nil {
			w.err = fmt.Errorf("event %d of a block cannot be stored: %w", i, err)
			return w.err
		}
	}
	if len(events) == 0 {
		return nil
	}
	w.start()
	t := tracksPool.Get().(*tracks)
	defer t.release()
	t.reset(w.clamp(events[0].Time))
	for i := range events {
		at := w.clamp(events[i].Time)
		if t.full() {
			w.seal(t)
			t.reset(at)
		}
		t.add(&events[i], at)
	}
	w.seal(t)
	if len(w.out) > MaxSegment-MaxPlain || len(w.foot.index) > MaxBlocks {
		w.err = errors.New("the segment has become too large: it should have been cut earlier")
	}
	return w.err
}

// clamp returns a time in whole microseconds that does not go back.
func (w *Writer) clamp(at time.Duration) time.Duration {
	at = (min(max(at, 0), cast.MaxTime) + time.Microsecond/2).Truncate(time.Microsecond)
	w.at = max(w.at, at)
	return w.at
}

// seal writes a block.
func (w *Writer) seal(t *tracks) {
	if max(len(t.view), len(t.raw)) > MaxPlain {
		w.err = errors.New("a block has become too large")
		return
	}
	e := block{
		at: uint32(len(w.out)), events: uint32(t.n),
		from: uint64(t.from / time.Microsecond), to: uint64(t.to / time.Microsecond),
	}
	h := frameHeader{kind: frameView, events: uint32(t.viewN), from: e.from, to: e.to}
	e.view = w.frame(w.view, h, t.view)
	if t.rawN > 0 {
		h.kind, h.events = frameRaw, uint32(t.rawN)
		e.raw = w.frame(w.raw, h, t.raw)
	}
	f := &w.foot
	f.index = append(f.index, e)
	f.events += uint64(t.n)
	f.masks += uint64(t.masks)
	f.output += uint64(t.output)
	f.stderr += uint64(t.err)
	f.input += uint64(t.input)
}

// Size returns how many bytes of the segment there are so far.
func (w *Writer) Size() int { return len(w.out) }

// Finish ends the segment and returns it. It covers the journal's sequence
// numbers from firstSeq up to nextSeq, which is not in it. The Writer is of no
// use afterwards.
func (w *Writer) Finish(firstSeq, nextSeq uint64) ([]byte, Info, error) {
	if w.err == nil && nextSeq < firstSeq {
		w.err = fmt.Errorf("a segment cannot cover sequence numbers %d to %d", firstSeq, nextSeq)
	}
	if w.err != nil {
		return nil, Info{}, w.err
	}
	w.start()
	f := &w.foot
	f.firstSeq, f.nextSeq = firstSeq, nextSeq
	at := len(w.out)
	body := f.append(nil)
	w.out = f.head(len(body)).append(w.out)
	w.out = append(w.out, body...)
	w.out = w.view.Seal(w.out, nonce(w.frames), nil, w.out[at:])
	w.out = binary.BigEndian.AppendUint64(w.out, uint64(at))
	w.out = append(w.out, trailerMagic...)
	info := f.info(&w.head, int64(len(w.out)))
	info.SHA256 = sha256.Sum256(w.out)
	w.err = errors.New("the segment is finished")
	return w.out, info, nil
}

// head is the frame header of a footer of size bytes.
func (f *footer) head(size int) frameHeader {
	h := frameHeader{kind: frameFooter, body: uint32(size + tagSize), plain: uint32(size), events: uint32(len(f.index))}
	if n := len(f.index); n > 0 {
		h.from, h.to = f.index[0].from, f.index[n-1].to
	}
	return h
}

// info puts together what is known of a segment of size bytes.
func (f *footer) info(h *segHeader, size int64) Info {
	head := f.head(0)
	return Info{
		Header: Header{
			ID: h.id, Number: h.number, Prev: h.prev, FirstSeq: f.firstSeq, NextSeq: f.nextSeq,
			From: micros(head.from), To: micros(head.to),
		},
		Size: size, Events: int64(f.events), Masks: int64(f.masks),
		OutputBytes: int64(f.output), StderrBytes: int64(f.stderr), InputBytes: int64(f.input),
	}
}
