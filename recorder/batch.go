package recorder

import (
	"encoding/json"
	"sync"
	"time"

	"sallyport/recorder/cast"
	"sallyport/recorder/redact"
	"sallyport/recorder/sealed"
)

const (
	blockBytes  = 256 << 10 // events that become one block, in bytes
	blockEvents = 16 << 10  // and at most so many
	// eventCost and maskCost are what an event or mask takes beside its bytes,
	// in a segment as in memory.
	eventCost = 28
	maskCost  = 64
	// mostMasks is how many masks one event has in a segment; an event with
	// more becomes several, which show the same.
	mostMasks = 200
)

// batch is events that wait to become a block: their bytes in one arena, and
// small descriptions of where they lie in it.
type batch struct {
	arena  []byte
	events []event
	masks  []redact.Mask
	cost   int // bytes that count towards the size of a block
}

// event lies in a batch.
type event struct {
	at        time.Duration
	off, n    uint32 // its bytes
	mask      uint32 // its first mask
	masks     uint16
	code      cast.Code
	undecided bool
}

// bigArenas lends memory to batches that have outgrown a few kilobytes.
var bigArenas = sync.Pool{New: func() any {
	b := make([]byte, 0, blockBytes+maxPiece)
	return &b
}}

const smallArena = 16 << 10

// add appends an event, of whose slices it keeps nothing.
func (b *batch) add(code cast.Code, at time.Duration, data []byte, masks []redact.Mask, undecided bool) {
	for len(masks) > mostMasks {
		cut := masks[mostMasks].Off
		b.one(code, at, data[:cut], masks[:mostMasks], undecided)
		data, masks = data[cut:], shift(masks[mostMasks:], cut)
	}
	b.one(code, at, data, masks, undecided)
}

func (b *batch) one(code cast.Code, at time.Duration, data []byte, masks []redact.Mask, undecided bool) {
	b.room(len(data))
	b.events = append(b.events, event{
		at: at, off: uint32(len(b.arena)), n: uint32(len(data)),
		mask: uint32(len(b.masks)), masks: uint16(len(masks)), code: code, undecided: undecided,
	})
	b.arena = append(b.arena, data...)
	b.masks = append(b.masks, masks...)
	b.cost += len(data) + eventCost + len(masks)*maskCost
}

// shift returns masks for what is left of an event without its first n bytes.
func shift(masks []redact.Mask, n int) []redact.Mask {
	out := make([]redact.Mask, 0, len(masks))
	for _, m := range masks {
		m.Off -= n
		if m.Off < 0 {
			m.Off, m.Len = 0, m.Len+m.Off
		}
		if m.Len > 0 {
			out = append(out, m)
		}
	}
	return out
}

// room makes space for n more bytes.
func (b *batch) room(n int) {
	if need := len(b.arena) + n; need <= cap(b.arena) || need <= smallArena || cap(b.arena) >= blockBytes {
		return // append does the rest
	}
	b.arena = append((*bigArenas.Get().(*[]byte))[:0], b.arena...)
}

func (b *batch) full() bool { return b.cost >= blockBytes || len(b.events) >= blockEvents }

// release takes the memory of a batch back.
func (b *batch) release() {
	if c := cap(b.arena); c >= blockBytes && c <= 2*(blockBytes+maxPiece) {
		arena := b.arena[:0]
		bigArenas.Put(&arena)
	}
	b.arena = nil
}

// sealed appends the events as sealed.Writer takes them. They share b's memory.
func (b *batch) sealed(dst []sealed.Event) ([]sealed.Event, error) {
	for _, e := range b.events {
		data := b.arena[e.off : e.off+e.n : e.off+e.n]
		out := sealed.Event{Time: e.at, Code: e.code, Undecided: e.undecided}
		switch e.code {
		case cast.CodeOutput, cast.CodeStderr, cast.CodeInput:
			out.Raw = data
		default:
			out.Text = string(data)
		}
		if e.masks > 0 {
			masks := b.masks[e.mask : e.mask+uint32(e.masks)]
			out.View = redact.View(data, masks)
			for _, m := range masks {
				text, err := json.Marshal(m)
				if err != nil {
					return dst, err
				}
				out.Masks = append(out.Masks, string(text))
			}
		}
		dst = append(dst, out)
	}
	return dst, nil
}
