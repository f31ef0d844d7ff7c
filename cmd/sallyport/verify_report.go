package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"sallyport/bastion/console"
	"sallyport/policy"
	"sallyport/recorder/ledger"
	"sallyport/replay"
)

// verifyReport prints verdicts as they come: a line each, or all of them as
// JSON at the end.
type verifyReport struct {
	out, errOut io.Writer
	asJSON      bool
	checkpoint  bool // roll-back was checked
	content     bool // blocks of some recording were opened

	verdicts []replay.Verdict
	trouble  error // with the ledger itself
	counts   map[replay.Result]int
	total    int
	bad      bool

	screen   bool // out is a terminal
	progress bool // errOut is one
	begun    time.Time
	shown    time.Time // when progress was last shown; zero for never
}

func newVerifyReport(out, errOut io.Writer, asJSON bool) *verifyReport {
	r := &verifyReport{out: out, errOut: errOut, asJSON: asJSON, counts: map[replay.Result]int{}, begun: time.Now()}
	r.screen, r.progress = isTerminal(out), isTerminal(errOut)
	return r
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// ledger notes what is wrong with the ledger itself, which counts also where it
// knows of no recording.
func (r *verifyReport) ledger(v replay.VerifyOptions) {
	r.trouble = v.LogErr
	if r.trouble == nil && v.Checkpoint != nil {
		r.trouble = v.Log.Consistent(v.Checkpoint)
	}
	r.bad = r.trouble != nil
}

// run adds the verdicts of v. With later, it leaves out those that are bad and
// returns their ids.
func (r *verifyReport) run(ctx context.Context, v replay.VerifyOptions, later bool) (bad []policy.SessionID, err error) {
	for verdict, err := range replay.Verify(ctx, v) {
		switch {
		case err != nil:
			return nil, err
		case later && verdict.Bad():
			bad = append(bad, verdict.ID)
		default:
			if err := r.add(verdict); err != nil {
				return nil, err
			}
		}
	}
	return bad, nil
}

func (r *verifyReport) add(v replay.Verdict) error {
	r.total++
	r.counts[v.Result]++
	r.content = r.content || v.Content
	r.bad = r.bad || v.Bad()
	if r.asJSON {
		r.verdicts = append(r.verdicts, v)
		r.tick(time.Now())
		return nil
	}
	r.clear()
	head := fmt.Sprintf("%-26s  %-11s  ", v.ID, v.Result)
	if _, err := fmt.Fprintln(r.out, verdictLine(head, console.Printable(v.Detail), r.screen)); err != nil {
		return err
	}
	r.tick(time.Now())
	return nil
}

// verdictLine is one line or, on a screen, lines of at most 80 columns of which
// the others are indented.
func verdictLine(head, detail string, screen bool) string {
	line := strings.TrimRight(head+detail, " ")
	if !screen || ansi.StringWidth(line) <= 80 {
		return line
	}
	const indent = "    "
	text := ansi.Wrap(detail, 80-len(indent), "")
	return strings.TrimRight(head, " ") + "\n" + indent + strings.ReplaceAll(text, "\n", "\n"+indent)
}

// Progress is shown when something takes longer than progressAfter, and again
// every progressEvery.
const (
	progressAfter = 2 * time.Second
	progressEvery = 200 * time.Millisecond
)

func (r *verifyReport) tick(now time.Time) {
	if !r.progress || now.Sub(r.begun) < progressAfter || now.Sub(r.shown) < progressEvery {
		return
	}
	r.shown = now
	fmt.Fprintf(r.errOut, "\rverified %d recordings in %s…\x1b[K", r.total, now.Sub(r.begun).Round(time.Second))
}

// clear takes the progress off the terminal.
func (r *verifyReport) clear() {
	if !r.shown.IsZero() {
		fmt.Fprint(r.errOut, "\r\x1b[K")
	}
}

// verifyJSON is what verify --json prints.
type verifyJSON struct {
	Recordings []replay.Verdict      `json:"recordings"`
	Counts     map[replay.Result]int `json:"counts"`
	Ledger     struct {
		Entries int64  `json:"entries"`
		Signed  int64  `json:"signed"`
		Trouble string `json:"trouble,omitempty"`
	} `json:"ledger"`
	RollbackChecked bool `json:"rollback_checked"`
	ContentChecked  bool `json:"content_checked"`
	OK              bool `json:"ok"`
}

// finish prints the summary. The error is errAnswerIsNo where anything is bad.
func (r *verifyReport) finish(log *ledger.Log) error {
	r.clear()
	var err error
	if r.asJSON {
		j := verifyJSON{Recordings: append([]replay.Verdict{}, r.verdicts...), Counts: r.counts, RollbackChecked: r.checkpoint, ContentChecked: r.content, OK: !r.bad}
		if log != nil {
			j.Ledger.Entries, j.Ledger.Signed = log.Size(), log.SignedSize()
		}
		if r.trouble != nil {
			j.Ledger.Trouble = r.trouble.Error()
		}
		err = writeJSON(r.out, j)
	} else {
		err = r.summary(log)
	}
	if err == nil && r.bad {
		return errAnswerIsNo
	}
	return err
}

func (r *verifyReport) summary(log *ledger.Log) error {
	var parts []string
	for _, result := range replay.Results {
		if n := r.counts[result]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, result))
		}
	}
	noun := "recordings"
	if r.total == 1 {
		noun = "recording"
	}
	lines := []string{fmt.Sprintf("%d %s: %s", r.total, noun, cmp.Or(strings.Join(parts, ", "), "none"))}
	switch {
	case r.trouble != nil:
		lines = append(lines, console.Printable(r.trouble.Error()))
	default:
		lines = append(lines, fmt.Sprintf("the ledger has %d entries, %d of them signed", log.Size(), log.SignedSize()))
	}
	switch {
	case !r.checkpoint:
		lines = append(lines, "roll-back not checked: give --checkpoint with one that was kept elsewhere")
	case r.trouble == nil:
		lines = append(lines, "roll-back checked: the ledger holds all that the checkpoint covers")
	}
	if !r.content {
		lines = append(lines, "content not checked: give --identity or --raw-identity to open it")
	}
	_, err := fmt.Fprintln(r.out, strings.Join(lines, "\n"))
	return err
}

// writeJSON prints v; whatever it holds, a terminal may show it.
func writeJSON(out io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = out.Write(append(replay.EscapeJSON(text), '\n'))
	}
	return err
}
