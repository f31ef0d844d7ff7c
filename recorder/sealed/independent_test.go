package sealed_test

// This file is a reader of recordings that was written from docs/RECORDING.md.
// It shares no code with Sallyport: TestIndependentSharesNoCode holds it to the
// standard library, zstd and age. What the document says is tested by it.

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// indEvent is an event of a recording, as this reader sees it.
type indEvent struct {
	TimeUS    int64    `json:"time_us"`
	Code      string   `json:"code"`
	Raw       []byte   `json:"raw,omitempty"`  // bytes of an o, e or i, where they are known
	View      []byte   `json:"view,omitempty"` // what the view shows, where that is not Raw
	Masks     []string `json:"masks,omitempty"`
	Undecided bool     `json:"undecided,omitempty"`
	Text      string   `json:"text,omitempty"`
}

// indSegment is a segment, read.
type indSegment struct {
	Number            uint32
	ID                []byte
	Prev              []byte
	FirstSeq, NextSeq uint64
	Counts            [5]uint64 // events, masks, bytes of output, stderr, input
	Context, Keyframe []byte
	Events            []indEvent
}

var indBE = binary.BigEndian

func indHKDF(key, salt []byte, info string, n int) []byte {
	out, err := hkdf.Key(sha256.New, key, salt, info, n)
	if err != nil {
		panic(err)
	}
	return out
}

func indGCM(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return gcm
}

func indCRC(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// indKeys opens a key object; raw is nil where the identity opens only the view.
func indKeys(b []byte, identity age.Identity) (view, raw []byte, err error) {
	if len(b) < 68 || string(b[:8]) != "SALLYKEY" || indBE.Uint16(b[8:]) != 1 {
		return nil, nil, errors.New("no key object of version 1")
	}
	id, v, r := b[12:28], int(indBE.Uint32(b[60:])), int(indBE.Uint32(b[64:]))
	if 68+v+r+4 != len(b) || indCRC(b[:68+v+r]) != indBE.Uint32(b[68+v+r:]) {
		return nil, nil, errors.New("a key object of another size, or damaged")
	}
	open := func(part []byte) []byte {
		in, err := age.Decrypt(bytes.NewReader(part), identity)
		if err != nil {
			return nil
		}
		secret, _ := io.ReadAll(in)
		return secret
	}
	if s := open(b[68+v : 68+v+r]); len(s) == 64 {
		raw, view = s[:32], s[32:]
	} else if s := open(b[68 : 68+v]); len(s) == 32 {
		view = s
	} else {
		return nil, nil, errors.New("the identity opens nothing")
	}
	if !bytes.Equal(indHKDF(view, id, "sallyport view key check v1", 16), b[28:44]) ||
		raw != nil && !bytes.Equal(indHKDF(raw, id, "sallyport raw key check v1", 16), b[44:60]) {
		return nil, nil, errors.New("the check values are others")
	}
	return view, raw, nil
}

// indUnpack undoes what a flag says was done to a plain text of n bytes.
func indUnpack(b []byte, packed bool, n uint32) ([]byte, error) {
	if packed {
		d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(16<<20))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		if b, err = d.DecodeAll(b, nil); err != nil {
			return nil, err
		}
	}
	if len(b) != int(n) {
		return nil, fmt.Errorf("%d bytes are not the %d announced", len(b), n)
	}
	return b, nil
}

// indFrames opens frames of one segment.
type indFrames struct {
	view, raw cipher.AEAD
	number    uint64
}

// next opens the frame at the start of b, which must be of a type, and returns
// its head, its plain text (nil without the key) and its size.
func (f *indFrames) next(b []byte, kind byte) (head, plain []byte, size int, err error) {
	if len(b) < 48 || b[0] != kind {
		return nil, nil, 0, fmt.Errorf("no frame of type %d", kind)
	}
	head, size = b[:32], 32+int(indBE.Uint32(b[4:]))
	if size < 48 || size > len(b) {
		return nil, nil, 0, errors.New("a frame goes on beyond the end")
	}
	nonce := indBE.AppendUint64(make([]byte, 4), f.number)
	f.number++
	key, body, extra := f.view, b[32:size], head
	switch kind {
	case 4:
		if key = f.raw; key == nil {
			return head, nil, size, nil
		}
	case 5:
		_, err = key.Open(nil, nonce, b[size-16:size], b[:size-16])
		return head, b[32 : size-16], size, err
	}
	if plain, err = key.Open(nil, nonce, body, extra); err != nil {
		return nil, nil, 0, fmt.Errorf("frame %d: %w", f.number-1, err)
	}
	plain, err = indUnpack(plain, head[1] == 1, indBE.Uint32(head[8:]))
	return head, plain, size, err
}

// indRead reads a segment with the view key, and the raw key where it is not nil.
func indRead(b, view, raw []byte) (*indSegment, error) {
	if len(b) < 132 || string(b[:8]) != "SALLYSEG" || indBE.Uint16(b[8:]) != 1 || string(b[len(b)-8:]) != "SALLYEND" {
		return nil, errors.New("no whole segment of version 1")
	}
	if indCRC(b[:112]) != indBE.Uint32(b[112:]) {
		return nil, errors.New("the header is damaged")
	}
	s := &indSegment{Number: indBE.Uint32(b[12:]), ID: b[16:32], Prev: b[32:64]}
	if !bytes.Equal(indHKDF(view, s.ID, "sallyport view key check v1", 16), b[80:96]) {
		return nil, errors.New("another view key")
	}
	f := &indFrames{view: indGCM(indHKDF(view, b[:116], "sallyport segment view v1", 32))}
	if raw != nil {
		if !bytes.Equal(indHKDF(raw, s.ID, "sallyport raw key check v1", 16), b[96:112]) {
			return nil, errors.New("another raw key")
		}
		f.raw = indGCM(indHKDF(raw, b[:116], "sallyport segment raw v1", 32))
	}
	at := int(indBE.Uint64(b[len(b)-16:]))
	if at < 116 || at+32+64 > len(b)-16 {
		return nil, errors.New("the footer is nowhere")
	}
	foot := b[at+32 : len(b)-16-16]
	s.FirstSeq, s.NextSeq = indBE.Uint64(foot), indBE.Uint64(foot[8:])
	for i := range s.Counts {
		s.Counts[i] = indBE.Uint64(foot[16+8*i:])
	}
	if err := s.frames(b[:len(b)-16], foot, f); err != nil {
		return nil, err
	}
	return s, nil
}

// frames reads the frames of b from byte 116 to the footer's end.
func (s *indSegment) frames(b, foot []byte, f *indFrames) (err error) {
	at, size := 116, 0
	if n := int(indBE.Uint32(foot[56:])); n > 0 {
		if _, s.Context, size, err = f.next(b[at:], 1); err != nil || size != n {
			return fmt.Errorf("the context has %d bytes and not %d: %w", size, n, err)
		}
		at += n
	}
	if n := int(indBE.Uint32(foot[60:])); n > 0 {
		if _, s.Keyframe, size, err = f.next(b[at:], 2); err != nil || size != n {
			return fmt.Errorf("the keyframe has %d bytes and not %d: %w", size, n, err)
		}
		at += n
	}
	for e := foot[64:]; len(e) > 0; e = e[32:] {
		head, text, viewSize, err := f.next(b[at:], 3)
		if err != nil {
			return err
		}
		if int(indBE.Uint32(e)) != at || int(indBE.Uint32(e[4:])) != viewSize || !bytes.Equal(head[16:32], e[16:32]) {
			return errors.New("the index does not fit the view's frame")
		}
		events, err := indLines(text, head, false)
		if err != nil {
			return err
		}
		at += viewSize
		if n := int(indBE.Uint32(e[8:])); n > 0 {
			head, text, size, err := f.next(b[at:], 4)
			if err != nil || size != n {
				return fmt.Errorf("the raw track has %d bytes and not %d: %w", size, n, err)
			}
			at += n
			if f.raw != nil {
				hidden, err := indLines(text, head, true)
				if err != nil {
					return err
				}
				if events, err = indMerge(events, hidden); err != nil {
					return err
				}
			}
		}
		if f.raw != nil && len(events) != int(indBE.Uint32(e[12:])) {
			return errors.New("the index has another number of events")
		}
		for _, ev := range events {
			s.Events = append(s.Events, ev.indEvent)
		}
	}
	_, _, size, err = f.next(b[at:], 5)
	if err == nil && at+size != len(b) {
		err = errors.New("the footer does not end where the segment does")
	}
	return err
}

// indCounted is an event with the number behind it, 0 in the view.
type indCounted struct {
	indEvent
	count int
}

// indLines reads the lines of a track.
func indLines(text, head []byte, raw bool) (out []indCounted, err error) {
	at := int64(indBE.Uint64(head[16:]))
	var masks []string
	var exact []byte
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte{'\n'})
		var m []any
		if err := json.Unmarshal(line, &m); err != nil || !whole {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		text = rest
		at += int64(math.Round(m[0].(float64) * 1e6))
		code, data := m[1].(string), m[2].(string)
		e := indCounted{indEvent: indEvent{TimeUS: at, Code: code}}
		if raw {
			e.count = int(m[3].(float64))
		} else if len(m) != 3 {
			return nil, fmt.Errorf("line %q has %d members", line, len(m))
		}
		switch code {
		case "k":
			masks = append(masks, data)
			continue
		case "b":
			if exact, err = base64.StdEncoding.DecodeString(data); err != nil {
				return nil, err
			}
			continue
		case "o", "e", "i":
			bytesOf := []byte(data)
			if exact != nil {
				if strings.ToValidUTF8(data, "") != data || indText(exact) != data {
					return nil, fmt.Errorf("line %q is not the text of its bytes", line)
				}
				bytesOf = exact
			}
			if e.Raw = bytesOf; masks != nil {
				e.Raw, e.View, e.Masks = nil, bytesOf, masks
			}
		default:
			e.Text = data
		}
		masks, exact = nil, nil
		out = append(out, e)
	}
	if n := indBE.Uint32(head[12:]); int(n) != len(out) {
		return nil, fmt.Errorf("%d events are not the %d announced", len(out), n)
	}
	return out, nil
}

// indText is the text that stands for bytes that are not UTF-8.
func indText(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		s.WriteRune(r)
		b = b[n:]
	}
	return s.String()
}

// indMerge puts the two tracks of a block together.
func indMerge(view, raw []indCounted) (out []indCounted, err error) {
	for _, r := range raw {
		if r.count > len(view) {
			return nil, errors.New("the view has too few events")
		}
		out, view = append(out, view[:r.count]...), view[r.count:]
		if r.Code != "i" {
			if len(view) == 0 || view[0].TimeUS != r.TimeUS {
				return nil, errors.New("the view has no event in this place")
			}
			v := view[0]
			view = view[1:]
			if r.Undecided = v.Code == "g"; !r.Undecided {
				if v.Code != r.Code || v.Masks == nil {
					return nil, errors.New("the view has another event in this place")
				}
				r.View, r.Masks = v.View, v.Masks
			}
		}
		out = append(out, r)
	}
	if out = append(out, view...); len(out) == 0 {
		return nil, errors.New("an empty block")
	}
	for _, e := range out {
		if e.Masks != nil && e.Raw == nil {
			return nil, errors.New("the bytes under a mask are missing")
		}
	}
	return out, nil
}

// indManifest reads a manifest: its clear part, and its private one where the
// view key is not nil.
func indManifest(b, view []byte) (clear map[string]any, private []byte, err error) {
	if len(b) < 80 || string(b[:8]) != "SALLYMAN" || indBE.Uint16(b[8:]) != 1 || indCRC(b[:76]) != indBE.Uint32(b[76:]) {
		return nil, nil, errors.New("no manifest of version 1")
	}
	c, p := int(indBE.Uint32(b[64:])), int(indBE.Uint32(b[68:]))
	if 80+c+p != len(b) {
		return nil, nil, errors.New("a manifest of another size")
	}
	if err := json.Unmarshal(b[80:80+c], &clear); err != nil || view == nil {
		return clear, nil, err
	}
	if !bytes.Equal(indHKDF(view, b[12:28], "sallyport view key check v1", 16), b[28:44]) {
		return nil, nil, errors.New("another view key")
	}
	gcm := indGCM(indHKDF(view, b[:80], "sallyport manifest v1", 32))
	if private, err = gcm.Open(nil, make([]byte, 12), b[80+c:], b[:80+c]); err != nil {
		return nil, nil, err
	}
	private, err = indUnpack(private, indBE.Uint16(b[60:]) == 1, indBE.Uint32(b[72:]))
	return clear, private, err
}
