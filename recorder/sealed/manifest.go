package sealed

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"
	"unicode"
)

const (
	manMagic   = "SALLYMAN"
	manHeader  = 80 // bytes before the clear part
	maxMissing = 1000
)

// The states of a recording that has a manifest.
const (
	StateComplete    = "complete"
	StateInterrupted = "interrupted"
)

// Manifest is the clear part of a manifest: what anybody may know, and what
// verifying needs.
type Manifest struct {
	ID             ID
	State          string    // StateComplete or StateInterrupted
	Started, Ended time.Time // wall clock, UTC, without a monotonic reading
	KeyObject      [32]byte  // SHA-256 of the key object
	Segments       []SegmentRef
	// Counts over all segments, as in Info.
	Events, Masks                        int64
	OutputBytes, StderrBytes, InputBytes int64
	// Missing says what the recording lacks, in words that anybody may read:
	// at most 1000 bytes, printable, one line.
	Missing string
}

// SegmentRef names one segment and its content.
type SegmentRef struct {
	Number   uint32
	Size     int64 // bytes of the object
	SHA256   [32]byte
	Events   int64
	From, To time.Duration // of the first and the last event, whole microseconds
}

// Ref returns what a manifest says of the segment.
func (i Info) Ref() SegmentRef {
	return SegmentRef{Number: i.Number, Size: i.Size, SHA256: i.SHA256, Events: i.Events, From: i.From, To: i.To}
}

// SealedManifest is the private part of a manifest.
type SealedManifest struct {
	id    ID
	viewC check
	head  []byte // all before the private part: its additional data
	plain int
	zstd  bool
	body  []byte
}

// jsonManifest is the clear part as it is stored. Keys stand in this order.
type jsonManifest struct {
	ID        string        `json:"id"`
	State     string        `json:"state"`
	Started   time.Time     `json:"started"`
	Ended     time.Time     `json:"ended"`
	KeyObject string        `json:"key_object"`
	Events    int64         `json:"events"`
	Masks     int64         `json:"masks"`
	Output    int64         `json:"output_bytes"`
	Stderr    int64         `json:"stderr_bytes"`
	Input     int64         `json:"input_bytes"`
	Missing   string        `json:"missing,omitempty"`
	Segments  []jsonSegment `json:"segments"`
}

type jsonSegment struct {
	Number uint32 `json:"number"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Events int64  `json:"events"`
	From   int64  `json:"from_us"`
	To     int64  `json:"to_us"`
}

// check reports what no manifest says.
func (m *Manifest) check() error {
	if m.State != StateComplete && m.State != StateInterrupted {
		return fmt.Errorf("state %.40q is neither %s nor %s", m.State, StateComplete, StateInterrupted)
	}
	if len(m.Missing) > maxMissing {
		return fmt.Errorf("what is missing takes more than %d bytes to say", maxMissing)
	}
	for _, r := range m.Missing {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return fmt.Errorf("what is missing is not said in printable characters")
		}
	}
	for _, t := range []time.Time{m.Started, m.Ended} {
		if y := t.Year(); y < 1 || y > 9999 {
			return fmt.Errorf("year %d is not one of four digits", y)
		}
	}
	if min(m.Events, m.Masks, m.OutputBytes, m.StderrBytes, m.InputBytes) < 0 {
		return fmt.Errorf("a count is less than nothing")
	}
	for i, s := range m.Segments {
		if uint64(s.Number) != uint64(i) {
			return fmt.Errorf("segment %d is in the place of segment %d", s.Number, i)
		}
		if s.Size < 0 || s.Size > MaxSegment || s.Events < 0 || s.From < 0 || s.To < s.From || uint64(s.To/time.Microsecond) > maxMicros {
			return fmt.Errorf("segment %d has a size, count or time that no segment has", i)
		}
	}
	return nil
}

// appendClear serializes the clear part: one line of JSON.
func (m *Manifest) appendClear(b []byte) ([]byte, error) {
	j := jsonManifest{
		ID: m.ID.String(), State: m.State, Started: m.Started.UTC(), Ended: m.Ended.UTC(),
		KeyObject: hex.EncodeToString(m.KeyObject[:]), Events: m.Events, Masks: m.Masks,
		Output: m.OutputBytes, Stderr: m.StderrBytes, Input: m.InputBytes,
		Missing: m.Missing, Segments: make([]jsonSegment, len(m.Segments)),
	}
	for i, s := range m.Segments {
		j.Segments[i] = jsonSegment{s.Number, s.Size, hex.EncodeToString(s.SHA256[:]), s.Events,
			s.From.Microseconds(), s.To.Microseconds()}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(j); err != nil {
		return nil, err
	}
	return append(b, out.Bytes()...), nil
}

// parseClear reads a clear part, which must be what appendClear makes of it:
// there is one way only to write a manifest, so no two readers can disagree.
func parseClear(b []byte) (Manifest, error) {
	var j jsonManifest
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		return Manifest{}, err
	}
	m := Manifest{
		State: j.State, Started: j.Started, Ended: j.Ended, Events: j.Events, Masks: j.Masks,
		OutputBytes: j.Output, StderrBytes: j.Stderr, InputBytes: j.Input,
		Missing: j.Missing, Segments: make([]SegmentRef, len(j.Segments)),
	}
	var err error
	if m.ID, err = ParseID(j.ID); err != nil {
		return Manifest{}, err
	}
	if m.KeyObject, err = parseDigest(j.KeyObject); err != nil {
		return Manifest{}, err
	}
	for i, s := range j.Segments {
		if s.From < 0 || s.To < 0 || uint64(max(s.From, s.To)) > maxMicros {
			return Manifest{}, fmt.Errorf("segment %d has times that no segment has", i)
		}
		r := SegmentRef{Number: s.Number, Size: s.Size, Events: s.Events, From: micros(uint64(s.From)), To: micros(uint64(s.To))}
		if r.SHA256, err = parseDigest(s.SHA256); err != nil {
			return Manifest{}, err
		}
		m.Segments[i] = r
	}
	if err := m.check(); err != nil {
		return Manifest{}, err
	}
	if again, err := m.appendClear(nil); err != nil || !bytes.Equal(again, b) {
		return Manifest{}, fmt.Errorf("it is not written in the one way that manifests are")
	}
	return m, nil
}

func parseDigest(s string) (d [32]byte, err error) {
	if b, err := hex.DecodeString(s); err == nil && len(b) == len(d) {
		return [32]byte(b), nil
	}
	return d, fmt.Errorf("%.80q is no SHA-256 in hex", s)
}

// SealManifest makes a manifest of its clear part and of private, which the
// view key opens. Times of segments are stored in whole microseconds.
func SealManifest(m Manifest, private []byte, k Keys) ([]byte, error) {
	if err := k.whole(); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("the manifest of recording %s: %w", m.ID, err)
	}
	if len(private) > MaxPrivate {
		return nil, fmt.Errorf("the private part of a manifest of %d bytes is larger than the %d allowed", len(private), MaxPrivate)
	}
	clear, err := m.appendClear(nil)
	if err != nil {
		return nil, err
	}
	body, flags := private, uint16(0)
	if packed := compress(nil, private); len(packed) < len(private) {
		body, flags = packed, flagZstd
	}
	c := k.viewCheck(m.ID)
	b := append([]byte{}, manMagic...)
	b = binary.BigEndian.AppendUint16(b, Version)
	b = append(b, 0, 0)
	b = append(b, m.ID[:]...)
	b = append(b, c[:]...)
	var salt [16]byte
	rand.Read(salt[:])
	b = append(b, salt[:]...)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(clear)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)+tagSize))
	b = binary.BigEndian.AppendUint32(b, uint32(len(private)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	b = append(b, clear...)
	if len(b)+len(body)+tagSize > MaxManifest {
		return nil, fmt.Errorf("the manifest of recording %s is larger than the %d bytes allowed", m.ID, MaxManifest)
	}
	return newGCM(k.View, b[:manHeader], infoManifest).Seal(b, nonce(0), body, b), nil
}

// ParseManifest reads a manifest. It needs no key, and keeps parts of b.
func ParseManifest(b []byte) (Manifest, *SealedManifest, error) {
	const what = "manifest"
	if len(b) > MaxManifest {
		return Manifest{}, nil, fault(what, MaxManifest, ErrDamaged, "%d bytes are more than the %d allowed", len(b), MaxManifest)
	}
	if err := preamble(what, manMagic, b, manHeader); err != nil {
		return Manifest{}, nil, err
	}
	be := binary.BigEndian
	flags, clear, body, plain := be.Uint16(b[60:]), int64(be.Uint32(b[64:])), int64(be.Uint32(b[68:])), int64(be.Uint32(b[72:]))
	whole := manHeader + clear + body
	switch {
	case crc32.Checksum(b[:manHeader-4], castagnoli) != be.Uint32(b[manHeader-4:]):
		return Manifest{}, nil, fault(what, 0, ErrDamaged, "the header's checksum is wrong")
	case flags&^flagZstd != 0 || b[62] != 0 || b[63] != 0:
		return Manifest{}, nil, fault(what, 60, ErrDamaged, "reserved bits are not zero")
	case whole > MaxManifest:
		return Manifest{}, nil, fault(what, 64, ErrDamaged, "%d bytes are more than the %d allowed", whole, MaxManifest)
	case plain > MaxPrivate || body < tagSize || flags == 0 && body != plain+tagSize || flags != 0 && body >= plain+tagSize:
		return Manifest{}, nil, fault(what, 68, ErrDamaged, "a private part of %d bytes cannot hold %d", body, plain)
	case int64(len(b)) < whole:
		return Manifest{}, nil, fault(what, int64(len(b)), ErrTruncated, "%d bytes were written", whole)
	case int64(len(b)) > whole:
		return Manifest{}, nil, fault(what, whole, ErrDamaged, "%d bytes follow the end", int64(len(b))-whole)
	}
	m, err := parseClear(b[manHeader : manHeader+clear])
	if err != nil {
		return Manifest{}, nil, fault(what, manHeader, ErrDamaged, "%v", err)
	}
	if m.ID != ID(b[12:28]) {
		return Manifest{}, nil, fault(what, 12, ErrDamaged, "it names two recordings")
	}
	return m, &SealedManifest{
		id: m.ID, viewC: check(b[28:44]), head: b[:manHeader+clear],
		plain: int(plain), zstd: flags != 0, body: b[manHeader+clear:],
	}, nil
}

// Private returns the private part. The error wraps ErrNoKey, ErrWrongKey or
// ErrDamaged.
func (sm *SealedManifest) Private(k Keys) ([]byte, error) {
	if !k.HasView {
		return nil, fmt.Errorf("the manifest of recording %s: the view key is needed: %w", sm.id, ErrNoKey)
	}
	if !equal(k.viewCheck(sm.id), sm.viewC) {
		return nil, fmt.Errorf("the view key is not that of the manifest of recording %s: %w", sm.id, ErrWrongKey)
	}
	body, err := newGCM(k.View, sm.head[:manHeader], infoManifest).Open(nil, nonce(0), sm.body, sm.head)
	if err != nil {
		return nil, fault("manifest", int64(len(sm.head)), ErrDamaged, "the private part does not decrypt")
	}
	if !sm.zstd {
		return body, nil
	}
	plain, err := decompress(nil, body, sm.plain)
	if err != nil {
		return nil, fault("manifest", int64(len(sm.head)), ErrDamaged, "%v", err)
	}
	return plain, nil
}
