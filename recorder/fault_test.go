package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/policy"
)

// faulty is a disk whose operations fail from some moment on, having done a
// part of their work or all of it.
type faulty struct {
	writeErr, syncErr error
	part              int // bytes that a failing write writes nevertheless
	persist           bool
	on                atomic.Bool
}

func (d *faulty) options(dir string) Options {
	return Options{
		Dir: dir,
		Write: func(f *os.File, p []byte) (int, error) {
			if d.writeErr == nil || !d.on.Load() {
				return f.Write(p)
			}
			n, err := f.Write(p[:min(d.part, len(p))])
			return n, errors.Join(d.writeErr, err)
		},
		Sync: func(f *os.File) error {
			if d.syncErr == nil || !d.on.Load() {
				return datasync(f)
			}
			if d.persist {
				datasync(f)
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

// TestFaultEndsTheRecording is invariant I4: after a storage fault nothing more
// is taken or given out, there is one plain reason, and what was given out
// before is found by Recover.
func TestFaultEndsTheRecording(t *testing.T) {
	for name, d := range faults() {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t, d.options(""))
			rec := open(t, r, shell())
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
			sum, err := rec.Close(status(0))
			checkReason(t, rec, want, err)
			if sum.ID != rec.session.ID || sum.State != policy.RecordingInterrupted || sum.End.Reason == "" {
				t.Errorf("summary %+v", sum)
			}
			if _, err := ReadManifest(r.o.Dir, rec.session.ID); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("manifest while the disk is at fault: %v", err)
			}
			checkAfterFault(t, r.o.Dir, rec.session.ID)
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

// checkAfterFault recovers on a healthy disk.
func checkAfterFault(t *testing.T, dir string, id policy.SessionID) {
	t.Helper()
	r := newRecorder(t, Options{Dir: dir})
	found, err := r.Recover(context.Background())
	if err != nil || len(found) != 1 || found[0].Session.ID != id || found[0].Summary.State != policy.RecordingInterrupted {
		t.Fatalf("recovered %+v, %v", found, err)
	}
	data, err := os.ReadFile(Path(dir, string(id)))
	check(t, err)
	all, err := readFrames(data)
	if err != nil && !isTruncated(err) {
		t.Fatal(err)
	}
	if raw, _ := joined(all, 'o'); string(raw) != "before" && string(raw) != "beforeafter" {
		t.Errorf("the record has %q", raw)
	}
}

// TestFaultOnInput holds Input to failing before the caller can forward.
func TestFaultOnInput(t *testing.T) {
	for name, d := range faults() {
		if d.writeErr == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			rec := open(t, newRecorder(t, d.options("")), shell())
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
	rec := open(t, newRecorder(t, d.options("")), shell())
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

// TestFaultWhenOpening holds Open to one clear error that leaves nothing.
func TestFaultWhenOpening(t *testing.T) {
	for name, d := range faults() {
		t.Run(name, func(t *testing.T) {
			d.on.Store(true)
			r := newRecorder(t, d.options(""))
			s := shell()
			_, err := r.Open(context.Background(), s)
			if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) || strings.Contains(fmt.Sprint(err), "\n") {
				t.Fatalf("error %v", err)
			}
			names, err := os.ReadDir(r.o.Dir)
			if err != nil || len(names) > 0 {
				t.Errorf("%v, %v are left", names, err)
			}
			d.on.Store(false)
			rec := open(t, r, s)
			_, err = rec.Close(policy.End{})
			check(t, err)
		})
	}
}

// TestFaultWhenClosing holds Close to telling that the end is not sealed.
func TestFaultWhenClosing(t *testing.T) {
	for name, d := range faults() {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t, d.options(""))
			rec := open(t, r, shell())
			k := take(rec, policy.StreamOutput)
			check(t, rec.Output(policy.StreamOutput, []byte("before")))
			until(t, "the output", func() bool { return len(k.bytes()) == 6 })
			d.on.Store(true)
			sum, err := rec.Close(status(0))
			if err == nil || sum.State != policy.RecordingInterrupted {
				t.Errorf("summary %+v, %v", sum, err)
			}
			checkAfterFault(t, r.o.Dir, rec.session.ID)
		})
	}
	r := newRecorder(t, Options{})
	rec := open(t, r, shell())
	check(t, os.RemoveAll(r.o.Dir))
	sum, err := rec.Close(status(0))
	if err == nil || sum.State != policy.RecordingInterrupted {
		t.Errorf("without a directory: %+v, %v", sum, err)
	}
	if _, err := rec.Next(policy.StreamOutput); err != io.EOF {
		t.Errorf("Next after Close: %v", err)
	}
}
