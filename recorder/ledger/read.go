package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"sallyport/policy"
)

// ErrTorn says that a line was cut off by a crash or a full disk, which is not
// the same as a line that was altered.
var ErrTorn = errors.New("the line is cut off")

// Read returns the entries of a ledger in order. A line that is no entry comes
// as an error that names it, and reading goes on after it; the error wraps
// ErrTorn where the line was cut off while it was written. An error of r ends
// the reading. Lines longer than MaxEntry are errors; memory is bounded.
func Read(r io.Reader) iter.Seq2[policy.Entry, error] {
	return func(yield func(policy.Entry, error) bool) {
		in := bufio.NewReaderSize(r, 32<<10)
		var bad error // of the line before, until it is known whether it is torn
		for n := 1; ; n++ {
			line, whole, err := readLine(in)
			if err != nil && len(line) == 0 {
				if bad != nil && !yield(policy.Entry{}, bad) {
					return
				}
				if err != io.EOF {
					yield(policy.Entry{}, fmt.Errorf("ledger line %d: %w", n, err))
				}
				return
			}
			e, problem := parse(line)
			if bad != nil {
				if problem == nil && e.Kind == EntryTorn {
					bad = fmt.Errorf("%w (%w)", bad, ErrTorn)
				}
				if !yield(policy.Entry{}, bad) {
					return
				}
				bad = nil
			}
			switch {
			case problem == nil:
				if !yield(e, nil) {
					return
				}
			case !whole:
				bad = fmt.Errorf("ledger line %d: %w", n, ErrTorn)
			default:
				bad = fmt.Errorf("ledger line %d: %w", n, problem)
			}
		}
	}
}

var errLong = fmt.Errorf("the line is longer than %d bytes", MaxEntry)

func parse(line []byte) (policy.Entry, error) {
	var e policy.Entry
	if len(line) > MaxEntry {
		return e, errLong
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return policy.Entry{}, err
	}
	if e.Kind == "" {
		return policy.Entry{}, errors.New("the entry has no kind")
	}
	return e, nil
}

// readLine returns the next line, of a longer one than MaxEntry the beginning,
// and whether it has an end.
func readLine(in *bufio.Reader) (line []byte, whole bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if len(line) <= MaxEntry {
			line = append(line, part...)
		}
		if err == nil {
			return bytes.TrimSuffix(line, []byte{'\n'}), true, nil
		}
		if err != bufio.ErrBufferFull {
			return line, false, err
		}
	}
}
