package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/journal"
)

// faulty is the disk of a journal whose operations fail from some moment on,
// having done a part of their work or all of it.
type faulty struct {
	writeErr, syncErr error
	part              int // bytes that a failing write writes nevertheless
	persist           bool
	on                atomic.Bool
}

func (d *faulty) options() journal.Options {
	return journal.Options{
		FileSize: 64 << 10, Reserve: 8 << 10,
		Write: func(f *os.File, p []byte) (int, error) {
			if d.writeErr == nil || !d.on.Load() {
				return f.Write(p)
			}
			n, err := f.Write(p[:min(d.part, len(p))])
			return n, errors.Join(d.writeErr, err)
		},
		Sync: func(f *os.File) error {
			if d.syncErr == nil || !d.on.Load() {
				return f.Sync()
			}
			if d.persist {
				f.Sync()
			}
			return d.syncErr
		},
	}
}

// faults has each storage fault twice: not persisted, and persisted though it
// said it failed.
func faults() map[string]*faulty {
	full := &os.PathError{Op: "write", Path: "/secret/path", Err: syscall.ENOSPC}
	return map[string]*faulty{
		"write, nothing written":   {writeErr: full},
		"write, a part written":    {writeErr: full, part: 9},
		"write, all written":       {writeErr: full, part: 1 << 20},
		"sync, nothing persisted":  {syncErr: syscall.EIO},
		"sync, persisted all same": {syncErr: syscall.EIO, persist: true},
	}
}

// TestFaultEndsTheRecording is invariant I4: after a fault of the journal nothing
// more is taken or given out, there is one plain reason, and what was given out
// before is sealed.
func TestFaultEndsTheRecording(t *testing.T) {
	for name, d := range faults() {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, Options{}, d.options())
			rec := open(t, g, shell())
			idle := open(t, g, shell())
			out, errs := take(rec, policy.StreamOutput), take(rec, policy.StreamStderr)
			check(t, rec.Output(policy.StreamOutput, []byte("before")))
			until(t, "what came before", func() bool { return string(out.bytes()) == "before" })
			if rec.Err() != nil {
				t.Fatal(rec.Err())
			}
			d.on.Store(true)
			start := time.Now()
			rec.Output(policy.StreamOutput, []byte("after"))
			await(t, rec.Failed(), "the failure")
			await(t, idle.Failed(), "the failure of an idle recording")
			got, err := out.end(t)
			if string(got) != "before" {
				t.Errorf("%q was given out", got)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("it took %v to fail", took)
			}
			want := errors.Join(d.writeErr, d.syncErr)
			checkReason(t, rec, want, err)
			_, err = errs.end(t)
			checkReason(t, rec, want, err)
			checkReason(t, rec, want, rec.Output(policy.StreamOutput, []byte("more")))
			checkReason(t, rec, want, rec.Output(policy.StreamStderr, []byte("more")))
			checkReason(t, rec, want, rec.Input([]byte("more")))
			checkReason(t, rec, want, rec.Resize(1, 1))
			checkReason(t, rec, want, rec.Marker("more"))
			if _, err := g.Open(context.Background(), shell()); err == nil {
				t.Error("a session began on a broken journal")
			}
			sum, err := rec.Close(status(0))
			checkReason(t, rec, want, err)
			if sum.ID != rec.session.ID || sum.State != policy.RecordingInterrupted || sum.End.Reason == "" || sum.SHA256 == "" {
				t.Errorf("summary %+v", sum)
			}
			checkFaultSealed(t, g, rec.session.ID)
			// The next run finds nothing left to do.
			d.on.Store(false)
			g.stop()
			g.start(t, Options{})
			if _, err := g.Recover(context.Background()); err != nil {
				t.Error(err)
			}
			checkFaultSealed(t, g, rec.session.ID)
		})
	}
}

// checkReason holds err to being the failure, as one plain line.
func checkReason(t *testing.T, rec *Recording, want, err error) {
	t.Helper()
	ok := false
	for _, e := range []error{syscall.ENOSPC, syscall.EIO} {
		ok = ok || errors.Is(want, e) && errors.Is(err, e)
	}
	if !ok || !errors.Is(err, rec.Err()) {
		t.Errorf("the error is %v, want %v", err, rec.Err())
		return
	}
	text := rec.Err().Error()
	if strings.Contains(text, "\n") || strings.Contains(text, "/") && !strings.Contains(text, "input/output") ||
		!strings.Contains(text, string(rec.session.ID)) {
		t.Errorf("the reason is %q", text)
	}
}

// checkFaultSealed holds the archive to an interrupted recording with what was
// given out.
func checkFaultSealed(t *testing.T, g *rig, id policy.SessionID) {
	t.Helper()
	all, m := g.read(t, id, bothKeys)
	if raw, _ := joined(all, 'o'); string(raw) != "before" && string(raw) != "beforeafter" {
		t.Errorf("the record has %q", raw)
	}
	if m.Summary.State != policy.RecordingInterrupted {
		t.Errorf("the record is %s", m.Summary.State)
	}
	g.checkEntries(t, id, 1, true)
}

// TestFaultOnInput holds Input to failing before the caller can forward.
func TestFaultOnInput(t *testing.T) {
	for name, d := range faults() {
		if d.writeErr == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			rec := open(t, newRig(t, Options{}, d.options()), shell())
			d.on.Store(true)
			checkReason(t, rec, d.writeErr, rec.Input([]byte("rm -rf /\r")))
			await(t, rec.Failed(), "the failure")
		})
	}
}

// TestFaultEndsWhatBlocks holds a failure to waking Output that waits for
// space.
func TestFaultEndsWhatBlocks(t *testing.T) {
	d := faults()["sync, nothing persisted"]
	rec := open(t, newRig(t, Options{}, d.options()), shell())
	blocked := make(chan error, 1)
	var n atomic.Int64
	go func() {
		for {
			if err := rec.Output(policy.StreamOutput, make([]byte, 10_000)); err != nil {
				blocked <- err
				return
			}
			n.Add(1)
		}
	}()
	settle(t, &n)
	d.on.Store(true)
	check(t, rec.Input([]byte("x")))
	select {
	case err := <-blocked:
		checkReason(t, rec, syscall.EIO, err)
	case <-time.After(5 * time.Second):
		t.Fatal("output is still blocked")
	}
}

// TestFaultWhenOpening holds Open to one clear error that leaves no recording.
func TestFaultWhenOpening(t *testing.T) {
	for name, d := range faults() {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, Options{}, d.options())
			d.on.Store(true)
			_, err := g.Open(context.Background(), shell())
			if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) || strings.Contains(fmt.Sprint(err), "\n") {
				t.Fatalf("error %v", err)
			}
			if n := g.Stats().Open; n != 0 || len(g.book.entries) != 0 {
				t.Errorf("%d recordings and %v are left", n, g.book.entries)
			}
		})
	}
	for _, persist := range []bool{false, true} {
		g := newRecorder(t, Options{})
		broken := errors.New("the ledger is read-only")
		g.book.break_(broken, persist)
		s := shell()
		if _, err := g.Open(context.Background(), s); !errors.Is(err, broken) {
			t.Errorf("without a ledger: %v", err)
		}
		g.book.break_(nil, false)
		g.stop()
		g.start(t, Options{})
		found, err := g.Recover(context.Background())
		check(t, err)
		// What the ledger says began must end; of anything else nothing is left.
		if want := 0; persist {
			want = 1
			if len(found) != want || found[0].Session.ID != s.ID {
				t.Errorf("recovered %+v, want %d", found, want)
			}
			g.checkEntries(t, s.ID, 0, true)
		} else if len(found) != want || len(g.book.entries) != 0 {
			t.Errorf("recovered %+v, the ledger holds %v", found, g.book.entries)
		}
	}
}

// TestFaultWhenClosing holds Close to telling that the end is not complete.
func TestFaultWhenClosing(t *testing.T) {
	for name, d := range faults() {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, Options{}, d.options())
			rec := open(t, g, shell())
			k := take(rec, policy.StreamOutput)
			check(t, rec.Output(policy.StreamOutput, []byte("before")))
			until(t, "the output", func() bool { return len(k.bytes()) == 6 })
			d.on.Store(true)
			sum, err := rec.Close(status(0))
			if err == nil || sum.State != policy.RecordingInterrupted {
				t.Errorf("summary %+v, %v", sum, err)
			}
			checkFaultSealed(t, g, rec.session.ID)
		})
	}
	g := newRecorder(t, Options{})
	rec := open(t, g, shell())
	_, err := rec.Close(status(0))
	check(t, err)
	if _, err := rec.Next(policy.StreamOutput); err != io.EOF {
		t.Errorf("Next after Close: %v", err)
	}
}
