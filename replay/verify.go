package replay

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/ledger"
)

// Result is what Verify finds out about one recording.
type Result string

// The results. The last five are bad.
const (
	Valid       Result = "valid"
	Running     Result = "running"
	Interrupted Result = "interrupted"
	Expired     Result = "expired"
	Altered     Result = "altered"
	Missing     Result = "missing"
	Unsigned    Result = "unsigned"
	WrongKey    Result = "wrong key"
	RolledBack  Result = "rolled back"
)

// Results are all results, the good ones first.
var Results = []Result{Valid, Running, Interrupted, Expired, Altered, Missing, Unsigned, WrongKey, RolledBack}

// Verdict is the result for one recording.
type Verdict struct {
	ID     policy.SessionID `json:"id"`
	Result Result           `json:"result"`
	// Detail says what is wrong, what is not there, or since when; it may be
	// empty.
	Detail string `json:"detail,omitempty"`
	// Segment is the first bad segment, or -1.
	Segment int `json:"segment"`
	// Content says that the recording was opened and its view made anew.
	Content bool `json:"content"`
}

// Bad reports whether v means that the record is not what it should be.
func (v Verdict) Bad() bool {
	switch v.Result {
	case Valid, Running, Interrupted, Expired:
		return false
	}
	return true
}

// VerifyOptions say what is verified, and against what.
type VerifyOptions struct {
	Archive archive.Store
	// Log is the ledger, loaded; where it could not be loaded, LogErr says
	// why and is the verdict on every recording.
	Log    *ledger.Log
	LogErr error
	// Checkpoint is one that was kept elsewhere; without it nothing is said
	// about roll-back.
	Checkpoint []byte
	// View and Raw open recordings, so that their content is checked too.
	View, Raw []age.Identity
	// From and To choose by the start of the session; zero is no limit. IDs
	// chooses some recordings; none means all.
	From, To time.Time
	IDs      []policy.SessionID
}

// Verify yields a verdict for every recording that the ledger or the archive
// knows of, in the order of their ids. It needs no server and trusts no index.
// An object that cannot be read is missing, and keeps no other recording from
// its verdict. An error is that the archive cannot be listed or the ledger not be
// read, that Checkpoint is none, or that of ctx, and ends it.
func Verify(ctx context.Context, o VerifyOptions) iter.Seq2[Verdict, error] {
	return func(yield func(Verdict, error) bool) {
		v := &verifier{VerifyOptions: o, ctx: ctx, facts: map[policy.SessionID]*facts{}}
		if err := v.prepare(); err != nil {
			yield(Verdict{}, err)
			return
		}
		v.run(yield)
	}
}

// verifier is one run of Verify.
type verifier struct {
	VerifyOptions
	ctx      context.Context
	facts    map[policy.SessionID]*facts
	restarts []int64 // where in the ledger the node started
	verdict  *Verdict
}

// run yields the verdicts: the archive comes in the order of ids, and so do the
// recordings of the ledger that are not in it.
func (v *verifier) run(yield func(Verdict, error) bool) {
	known := slices.SortedFunc(maps.Keys(v.facts), byPrefix)
	wanted := map[policy.SessionID]bool{}
	for _, id := range v.IDs {
		wanted[id] = true
	}
	chosen := func(id policy.SessionID) bool {
		at := id.Time()
		return (len(wanted) == 0 || wanted[id]) && (v.From.IsZero() || !at.Before(v.From)) && (v.To.IsZero() || at.Before(v.To))
	}
	give := func(id policy.SessionID, objects map[string]int64) bool {
		if !chosen(id) {
			return true
		}
		delete(wanted, id)
		if len(wanted) == 0 && len(v.IDs) > 0 {
			wanted[""] = true // that was the last one
		}
		verdict, err := v.judge(id, objects)
		return yield(verdict, err) && err == nil
	}
	for r, err := range v.archived() {
		if err != nil {
			yield(Verdict{}, err)
			return
		}
		for len(known) > 0 && byPrefix(known[0], r.id) < 0 {
			if !give(known[0], nil) {
				return
			}
			known = known[1:]
		}
		if len(known) > 0 && known[0] == r.id {
			known = known[1:]
		}
		if !give(r.id, r.objects) {
			return
		}
	}
	for _, id := range known {
		if !give(id, nil) {
			return
		}
	}
	delete(wanted, "")
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		if verdict, err := v.judge(id, nil); !yield(verdict, err) || err != nil {
			return
		}
	}
}

// byPrefix is the order in which an archive lists recordings: that of the names
// of their objects, which begin with the id and a slash.
func byPrefix(a, b policy.SessionID) int { return cmp.Compare(a+"/", b+"/") }

// stored is what an archive has of one recording: sizes by name.
type stored struct {
	id      policy.SessionID
	objects map[string]int64
}

// archived yields what the archive has, in the order of ids.
func (v *verifier) archived() iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		prefixes := []string{"recordings/"}
		if len(v.IDs) > 0 {
			prefixes = nil
			for _, id := range slices.Sorted(slices.Values(v.IDs)) {
				prefixes = append(prefixes, archive.RecordingPrefix(string(id)))
			}
		}
		var now stored
		for _, prefix := range prefixes {
			for e, err := range v.Archive.List(v.ctx, prefix) {
				if err != nil {
					yield(stored{}, err)
					return
				}
				name, _, _ := strings.Cut(strings.TrimPrefix(e.Name, "recordings/"), "/")
				id := policy.SessionID(name)
				if id != now.id {
					if now.id != "" && !yield(now, nil) {
						return
					}
					now = stored{id, map[string]int64{}}
				}
				now.objects[e.Name] = e.Size
			}
		}
		if now.id != "" {
			yield(now, nil)
		}
	}
}
