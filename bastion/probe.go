package bastion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// Bounds of the context probe: its time from the opening of its channel, what
// of its output is read, and how long a session that needs its place waits.
const (
	probeTime   = 3 * time.Second
	probeOutput = 64 << 10
	probeLeaves = 500 * time.Millisecond
)

// probe asks a target what it is (policy's @context): once a connection, in a
// channel of its own beside the sessions, none of which waits for it.
type probe struct {
	done  chan struct{} // closed when host is set
	gone  chan struct{} // closed when there is no channel of it (any more)
	host  policy.HostContext
	leave context.CancelCauseFunc
}

var (
	errProbeTime     = fmt.Errorf("the target did not answer within %v", probeTime)
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
	ctx, cancel := context.WithTimeoutCause(ctx, probeTime, errProbeTime)
	defer cancel()
	at, err := sh.open(ctx, seenProbe)
	if err != nil {
		close(p.gone)
		p.host.Error = probeError(ctx, errProbeChannel)
		return
	}
	a := &answer{done: make(chan struct{})}
	go func() { // these three end with the channel, or its connection
		ssh.DiscardRequests(at.reqs)
		close(p.gone)
	}()
	go a.read(at.ch)
	go discard(at.ch.Stderr())
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

// endProbe closes the probe's channel. What still runs there is told to end,
// and what the target still sends is let go: it has no more room for it than
// the channel's window had. It returns with the target's close.
func endProbe(ch ssh.Channel, early bool) {
	if early {
		ch.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"KILL"}))
	}
	ch.Close()
	go io.Copy(io.Discard, ch.Stderr())
	io.Copy(io.Discard, ch)
}

// discard takes what nobody wants, within the bound.
func discard(r io.Reader) { io.CopyN(io.Discard, r, probeOutput) }

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

// answer is what the probe printed, as far as it is read.
type answer struct {
	mu   sync.Mutex
	out  []byte // guarded by mu
	done chan struct{}
	err  error // set before done is closed
}

// read reads until the end of the output or the bound.
func (a *answer) read(r io.Reader) {
	defer close(a.done)
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		a.mu.Lock()
		a.out = append(a.out, buf[:n]...)
		size := len(a.out)
		a.mu.Unlock()
		if size > probeOutput {
			a.err = errProbeTooLarge
			return
		}
		if err != nil {
			return
		}
	}
}

// text is what was read so far, within the bound.
func (a *answer) text() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out[:min(len(a.out), probeOutput):min(len(a.out), probeOutput)]
}
