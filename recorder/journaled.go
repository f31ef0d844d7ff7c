package recorder

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sallyport/policy"
	"sallyport/recorder/cast"
	"sallyport/recorder/redact"
	"sallyport/recorder/sealed"
)

// Kinds of journal records. Those of events are the codes of their events; an
// output's or standard error's data is an account (see appendAccount), that of
// any other is the event's.
const (
	kindOpen       = 'O' // the recording began: a state
	kindCheckpoint = 'C' // what came before is in the archive and the ledger: a state
	kindEnd        = 'E' // nothing more will come: an ending
	kindClosed     = 'X' // all of the recording is in the archive and the ledger
	kindDropped    = 'D' // the recording never began
)

// Limits of what is read from a journal. Its records are authenticated, so that
// these only keep a defect from becoming a crash.
const (
	maxMasks    = 100_000   // of one event
	maxRuleName = 1 << 10   // bytes
	maxSession  = 512 << 10 // bytes of a session as JSON
)

// state is all that is needed to go on with a recording after a crash, apart
// from the records from Next on.
type state struct {
	Version   int             `json:"version"`
	View      []byte          `json:"view"`
	Raw       []byte          `json:"raw"`
	KeyObject []byte          `json:"key_object,omitempty"` // until it is in the archive
	KeyDigest []byte          `json:"key_digest"`           // its SHA-256
	Session   json.RawMessage `json:"session"`

	Segment uint32        `json:"segment"` // the number of the next segment
	Prev    []byte        `json:"prev"`    // SHA-256 of the one before
	Next    uint64        `json:"next"`    // sequence of the first record that is in none
	Time    time.Duration `json:"time"`    // of the last event before
	// What came before Next of output and of standard error, and was not
	// decided by then.
	HeldOut []byte `json:"held_out,omitempty"`
	HeldErr []byte `json:"held_err,omitempty"`
}

const stateVersion = 1

// keys returns the keys of the recording.
func (s *state) keys() (sealed.Keys, error) {
	if len(s.View) != 32 || len(s.Raw) != 32 {
		return sealed.Keys{}, errors.New("the keys in the journal do not have 32 bytes")
	}
	return sealed.Keys{View: [32]byte(s.View), Raw: [32]byte(s.Raw), HasView: true, HasRaw: true}, nil
}

func parseState(data []byte) (*state, error) {
	s := new(state)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("the state of a recording in the journal is damaged: %w", err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("the state of a recording in the journal has version %d; this program reads %d", s.Version, stateVersion)
	}
	if len(s.Prev) != 32 || len(s.KeyDigest) != 32 {
		return nil, errors.New("the state of a recording in the journal lacks a hash")
	}
	return s, nil
}

// ending is how a recording ended.
type ending struct {
	State    policy.RecordingState `json:"state"`
	End      policy.End            `json:"end"`
	Ended    time.Time             `json:"ended"`
	Duration time.Duration         `json:"duration"`
	Missing  string                `json:"missing,omitempty"`
}

// decision is what was decided about the oldest undecided bytes of a stream:
// that n of them can be shown, and what of them is hidden.
type decision struct {
	n     int
	masks []redact.Mask
}

// appendAccount appends the data of a record of output: how many bytes were
// undecided before, what is decided now, and the bytes that came. Numbers are
// unsigned varints (encoding/binary):
//
//	held | n | n × (bytes | masks | masks × (len | rule | off | len | cells)) | raw
func appendAccount(dst []byte, held int, chunks []redact.Chunk, raw []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(held))
	dst = binary.AppendUvarint(dst, uint64(len(chunks)))
	for _, c := range chunks {
		dst = binary.AppendUvarint(dst, uint64(len(c.Raw)))
		dst = binary.AppendUvarint(dst, uint64(len(c.Masks)))
		for _, m := range c.Masks {
			dst = binary.AppendUvarint(dst, uint64(len(m.Rule)))
			dst = append(dst, m.Rule...)
			dst = binary.AppendUvarint(dst, uint64(m.Off))
			dst = binary.AppendUvarint(dst, uint64(m.Len))
			dst = binary.AppendUvarint(dst, uint64(m.Cells))
		}
	}
	return append(dst, raw...)
}

// account is a record of output.
type account struct {
	held      int
	decisions []decision
	raw       []byte
}

// parseAccount reads what appendAccount wrote; raw is part of data.
func parseAccount(data []byte) (account, error) {
	p := fields{rest: data}
	a := account{held: p.number()}
	n := p.number()
	for range n {
		d := decision{n: p.number()}
		masks := p.number()
		if p.err != nil || masks > maxMasks {
			break
		}
		for range masks {
			d.masks = append(d.masks, redact.Mask{Rule: p.text(), Off: p.number(), Len: p.number(), Cells: p.number()})
			if p.err != nil {
				break
			}
		}
		a.decisions = append(a.decisions, d)
	}
	if p.err == nil && len(a.decisions) != n {
		p.err = fmt.Errorf("more than %d masks belong to one event", maxMasks)
	}
	if p.err != nil {
		return account{}, fmt.Errorf("an account of output in the journal is damaged: %w", p.err)
	}
	a.raw = p.rest
	return a, nil
}

// fields reads the numbers and texts of a record.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) number() int {
	v, n := binary.Uvarint(f.rest)
	if f.err == nil && (n <= 0 || v > 1<<31) {
		f.err = errors.New("a number is cut off or too large")
	}
	if f.err != nil {
		return 0
	}
	f.rest = f.rest[n:]
	return int(v)
}

func (f *fields) text() string {
	n := f.number()
	if f.err == nil && (n > len(f.rest) || n > maxRuleName) {
		f.err = errors.New("the name of a rule is cut off or too long")
	}
	if f.err != nil {
		return ""
	}
	s := string(f.rest[:n])
	f.rest = f.rest[n:]
	return s
}

// isEvent reports whether records of a kind hold events.
func isEvent(kind byte) bool {
	switch cast.Code(kind) {
	case cast.CodeOutput, cast.CodeStderr, cast.CodeInput, cast.CodeResize, cast.CodeMarker, cast.CodeExit:
		return true
	}
	return false
}
