package replay

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"sallyport/policy"
	"sallyport/recorder/ledger"
)

// facts are what the ledger says of one recording.
type facts struct {
	start, end bool
	first      int64 // index of its first entry
	unsigned   bool  // an entry is covered by no checkpoint
	shred      *tombstone
	key        string
	segments   []string // digests
	manifest   string
	state      string
	wrong      string // what two entries contradict each other in
}

// tombstone is the entry of a recording's keys' destruction.
type tombstone struct {
	index int64
	at    time.Time
}

func (t *tombstone) String() string {
	return fmt.Sprintf("its keys were destroyed, as entry %d of the ledger says, of %s", t.index, t.at.UTC().Format(time.DateTime))
}

// prepare reads the ledger once.
func (v *verifier) prepare() error {
	if v.Log == nil {
		v.verdict = ledgerVerdict(v.LogErr)
		if v.verdict == nil {
			return v.LogErr
		}
		return nil
	}
	if v.Checkpoint != nil {
		if err := v.Log.Consistent(v.Checkpoint); err != nil {
			// What is no checkpoint says nothing about the ledger.
			if v.verdict = sentinelVerdict(err); v.verdict == nil {
				return err
			}
		}
	}
	for leaf, err := range v.Log.Leaves() {
		switch {
		case err != nil && leaf.Index >= v.Log.SignedSize() && v.ctx.Err() == nil && !isReading(err):
			// A bastion writes whole entries only.
			if v.verdict == nil {
				v.verdict = &Verdict{Result: Altered, Segment: -1, Detail: err.Error()}
			}
			return nil
		case err != nil:
			return err
		case leaf.Kind == policy.EntryNodeStart && leaf.Index < v.Log.SignedSize():
			v.restarts = append(v.restarts, leaf.Index)
		case leaf.Session != "":
			v.note(leaf)
		}
	}
	return nil
}

// ledgerVerdict is the verdict on all recordings of a ledger that could not be
// loaded: nil where it could not be read at all. What can be read and is no
// ledger was one.
func ledgerVerdict(err error) *Verdict {
	if v := sentinelVerdict(err); v != nil {
		return v
	}
	if err == nil || isReading(err) {
		return nil
	}
	return &Verdict{Result: Altered, Segment: -1, Detail: err.Error()}
}

// isReading reports whether err is of the reading, and not of what was read.
func isReading(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}

func sentinelVerdict(err error) *Verdict {
	for _, c := range []struct {
		err    error
		result Result
	}{
		{ledger.ErrRolledBack, RolledBack}, {ledger.ErrAltered, Altered},
		{ledger.ErrWrongKey, WrongKey}, {ledger.ErrUnsigned, Unsigned},
	} {
		if errors.Is(err, c.err) {
			return &Verdict{Result: c.result, Segment: -1, Detail: err.Error()}
		}
	}
	return nil
}

// note takes in one entry.
func (v *verifier) note(leaf ledger.Leaf) {
	f := v.facts[leaf.Session]
	switch leaf.Kind {
	case policy.EntryRecordingStart, policy.EntryRecordingSegment, policy.EntryRecordingEnd, policy.EntryShred:
	case policy.EntryHold:
		if f == nil {
			return
		}
	default:
		return
	}
	if f == nil {
		f = &facts{first: leaf.Index}
		v.facts[leaf.Session] = f
	}
	if leaf.Index >= v.Log.SignedSize() {
		// It is not believed, whatever it says.
		f.unsigned = true
		return
	}
	switch leaf.Kind {
	case policy.EntryRecordingStart:
		f.same("start", &f.key, leaf.Ref["key"])
		f.start = true
	case policy.EntryRecordingSegment:
		f.segment(leaf)
	case policy.EntryRecordingEnd:
		f.same("end", &f.manifest, leaf.Ref["manifest"])
		f.end, f.state = true, leaf.Ref["state"]
		if leaf.Ref["segments"] != strconv.Itoa(len(f.segments)) {
			f.wrong = fmt.Sprintf("the ledger's entry of its end has %s segments, and there are entries of %d", leaf.Ref["segments"], len(f.segments))
		}
	case policy.EntryShred:
		f.shredded(leaf)
	case policy.EntryHold:
		// A recording can be held for as long as its keys are there: a
		// destruction that was entered before has not come to pass.
		f.shred = nil
	}
}

// shredded takes in the entry of the keys' destruction. It has no digest where
// a crash came between the destruction and its record, and it was entered again.
func (f *facts) shredded(leaf ledger.Leaf) {
	if key := leaf.Ref["key"]; key != "" && key != f.key {
		f.wrong = fmt.Sprintf("the key object that was destroyed, as entry %d of the ledger says, was not the one that it began with", leaf.Index)
	}
	if f.shred == nil {
		f.shred = &tombstone{leaf.Index, leaf.Time}
	}
}

// same keeps one value, and what another entry says otherwise.
func (f *facts) same(what string, have *string, value string) {
	if *have != "" && *have != value || value == "" {
		f.wrong = "two entries of the ledger about its " + what + " differ"
	}
	*have = value
}

// segment takes in the entry of a segment. One that was entered twice, since a
// crash came in between, says the same twice.
func (f *facts) segment(leaf ledger.Leaf) {
	digest, last := leaf.Ref["sha256"], len(f.segments)-1
	switch n := leaf.Ref["segment"]; {
	case n == strconv.Itoa(last+1):
		f.segments = append(f.segments, digest)
	case last >= 0 && n == strconv.Itoa(last) && f.segments[last] == digest:
	default:
		f.wrong = fmt.Sprintf("the ledger's entry of segment %s comes after that of %d", n, last)
	}
}
