package bastion

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// Bounds of the context probe beside Limits.Probe: what of its output is read,
// in bytes, and how long a session that needs its place waits.
const (
	probeOutput = 64 << 10
	probeLeaves = 500 * time.Millisecond
)

// probe asks a target what it is (policy's @context): once a connection, in a
// channel of its own beside the sessions. None waits for it, but for a moment
// before its recording is closed (proxy.Options.Await).
type probe struct {
	done  chan struct{} // closed when host is set
	gone  chan struct{} // closed when there is no channel of it (any more)
	host  policy.HostContext
	leave context.CancelCauseFunc
}

var (
	errProbeTime     = errors.New("the target did not answer in time")
	errProbeGaveWay  = errors.New("it gave its place to a session")
	errProbeEnded    = errors.New("the connection ended before the target had answered")
	errProbeRefused  = errors.New("the target refused to run the probe")
	errProbeChannel  = errors.New("the target opened no channel for the probe")
	errProbeTooLarge = fmt.Errorf("the target's answer is longer than %d KiB", probeOutput>>10)
)

// ask starts the probe of the upstream, if there was none yet. It ends with
// c at the latest.
func (sh *shared) ask(c *connection) *probe {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.probe == nil {
		p := &probe{done: make(chan struct{}), gone: make(chan struct{})}
		ctx, leave := context.WithCancelCause(c.ctx)
		p.leave = leave
		sh.probe = p
		c.wg.Go(func() {
			defer leave(nil)
			ctx, cancel := context.WithTimeoutCause(ctx, c.s.limits.Probe, errProbeTime)
			defer cancel()
			p.run(ctx, sh)
			if e := p.host.Error; e != "" {
				c.log.Info("the context of a target is not known, or not all of it", "reason", e)
			}
		})
	}
	return sh.probe
}

// probeGivesWay ends a probe that still has a channel, and reports whether it
// had one.
func (sh *shared) probeGivesWay(ctx context.Context) bool {
	sh.mu.Lock()
	p := sh.probe
	sh.mu.Unlock()
	if p == nil || isDone(p.gone) {
		return false
	}
	p.leave(errProbeGaveWay)
	t := time.NewTimer(probeLeaves)
	defer t.Stop()
	select {
	case <-p.gone:
	case <-t.C:
	case <-ctx.Done():
	}
	return true
}

// result is what is known now; nil when nobody asked.
func (p *probe) result() *policy.HostContext {
	if p == nil {
		return nil
	}
	if !isDone(p.done) {
		return &policy.HostContext{Error: "the session ended before the target had answered"}
	}
	host := p.host
	return &host
}

// run asks, and sets what came of it.
func (p *probe) run(ctx context.Context, sh *shared) {
	defer close(p.done)
	at, err := sh.open(ctx, seenProbe)
	if err != nil {
		close(p.gone)
		p.host.Error = probeError(ctx, errProbeChannel)
		return
	}
	a := &answer{done: make(chan struct{})}
	go func() { // these end with the channel, or its connection
		ssh.DiscardRequests(at.reqs)
		close(p.gone)
	}()
	go a.readOutput(at.ch)
	go a.readStderr(at.ch.Stderr())
	refused := make(chan error, 1)
	go startProbe(at.ch, refused)

	err = nil
	select {
	case <-a.done:
		err = a.err
	case err = <-refused:
	case <-ctx.Done():
		err = errProbeEnded
	}
	go endProbe(at.ch, err != nil) // a target that takes nothing more holds up nobody
	p.host = parseProbe(a.text())
	if err != nil {
		p.host.Error = probeError(ctx, err)
	}
}

// startProbe runs the script, and tells when the target does not.
func startProbe(ch ssh.Channel, refused chan<- error) {
	ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{probeCommand}))
	if err != nil || !ok {
		refused <- errProbeRefused
		return
	}
	ch.CloseWrite()
}

// endProbe closes the probe's channel. What still runs there is told to end.
func endProbe(ch ssh.Channel, early bool) {
	if early {
		ch.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"KILL"}))
	}
	ch.Close()
}

// probeError is why the probe failed: err, unless ctx ended for a reason of its
// own.
func probeError(ctx context.Context, err error) string {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errProbeTime), errors.Is(cause, errProbeGaveWay):
		return cause.Error()
	case cause != nil:
		return errProbeEnded.Error()
	}
	return err.Error()
}

// answer is what the probe printed, as far as it is kept. Each stream has one
// reader, to its end: once the channel is closed from here the target has no
// more room for it than the window had.
type answer struct {
	mu   sync.Mutex
	out  []byte // guarded by mu
	size int    // bytes of both streams; guarded by mu
	done chan struct{}
	once sync.Once
	err  error // set before done is closed
}

// readOutput keeps what comes until the bound. The answer is whole once its
// last line has come, whatever the target does then.
func (a *answer) readOutput(r io.Reader) {
	a.read(r, func(p []byte) {
		a.out = append(a.out, p...)
		if bytes.Contains(a.out, []byte("\n"+probeEnd+"\n")) {
			a.end(nil)
		}
	})
	a.end(nil)
}

// readStderr keeps nothing: only the login's own start-up files print there.
func (a *answer) readStderr(r io.Reader) { a.read(r, func([]byte) {}) }

func (a *answer) read(r io.Reader, keep func([]byte)) {
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		a.mu.Lock()
		if a.size += n; a.size <= probeOutput {
			keep(buf[:n])
		}
		flood := a.size > probeOutput
		a.mu.Unlock()
		if flood {
			a.end(errProbeTooLarge)
		}
		if err != nil {
			return
		}
	}
}

// end says that nothing more is wanted. Only the first counts.
func (a *answer) end(err error) {
	a.once.Do(func() { a.err = err; close(a.done) })
}

// text is what is kept so far.
func (a *answer) text() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.out)
}
