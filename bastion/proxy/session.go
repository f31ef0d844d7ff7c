package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/policy"
)

// session is the state of one Run. Fields without a comment are set once
// before the goroutines start.
type session struct {
	o     Options
	log   *slog.Logger
	begun time.Time

	toTarget, toClient *forwarder

	// Events for the supervisor. Each is closed at most once, by the owner
	// that is named.
	started    chan error    // begin: one value, the outcome of Start
	failed     chan error    // fail: the first failure of the recording
	clientGone chan struct{} // drainClient: the client's channel is closed
	targetGone chan struct{} // drainTarget: the target's channel is closed
	exited     chan struct{} // drainTarget: exit-status or exit-signal came
	readDone   chan struct{} // the pumps: both target streams are at their end
	delivered  chan struct{} // the pumps: and the client has got all of it
	inputDone  chan struct{} // pumpInput

	pumping         bool         // supervisor only: the pumps were started
	reading, giving atomic.Int32 // streams left before readDone, delivered
	active          atomic.Int64 // nanoseconds after begun of the last traffic
	ending          atomic.Bool  // nothing is forwarded any more
	tty             atomic.Bool  // the target granted a terminal

	stderrMu sync.Mutex // held for each write to the client's stderr
	eofSent  bool       // the client got our EOF; guarded by stderrMu

	exitMu sync.Mutex
	exit   *exit // guarded by exitMu, set once
}

func newSession(o Options) *session {
	s := &session{
		o:          o,
		log:        o.Log,
		begun:      time.Now(),
		started:    make(chan error, 1),
		failed:     make(chan error, 1),
		clientGone: make(chan struct{}),
		targetGone: make(chan struct{}),
		exited:     make(chan struct{}),
		readDone:   make(chan struct{}),
		delivered:  make(chan struct{}),
		inputDone:  make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.reading.Store(2)
	s.giving.Store(2)
	// begin owns the way to the target until Start is through, so whatever
	// the client asks for meanwhile waits behind it.
	s.toTarget = &forwarder{to: o.Target.Channel, log: s.log, before: s.recordRequest, busy: true}
	s.toClient = &forwarder{to: o.Client.Channel, log: s.log}
	return s
}

// begin sends the Start requests and then whatever has queued up behind them.
// It ends with the last reply, or when the target's channel is closed.
func (s *session) begin() {
	s.started <- s.start()
	s.toTarget.run()
}

// start sends the Start requests one after the other. A terminal that the
// target does not grant ends nothing, as on a direct connection, but the user
// is told: the client may have been promised one.
func (s *session) start() error {
	for i, r := range s.o.Start {
		last, terminal := i == len(s.o.Start)-1, r.Type == "pty-req"
		ok, err := s.o.Target.Channel.SendRequest(r.Type, r.Reply != nil || last || terminal, r.Payload)
		ok = ok && err == nil
		if r.Reply != nil {
			r.Reply(ok)
		}
		switch {
		case err != nil:
			return fmt.Errorf("the target closed the session before it started: %w", err)
		case last && !ok:
			return fmt.Errorf("%w (%s)", errRefused, r.Type)
		case terminal && ok:
			s.tty.Store(true)
		case terminal:
			s.write(notice("the target grants no terminal", true))
		}
	}
	return nil
}

// verdict says how the supervision of a session ended.
type verdict struct {
	normal bool   // the target ended it and everything is delivered
	reason string // otherwise: why, for the user and the record
	silent bool   // there is nobody, or nothing, to tell
	err    error  // set when the recording failed
}

// supervise waits for the first thing that ends the session. It never blocks
// on a peer.
func (s *session) supervise(ctx context.Context) verdict {
	limit := timer(s.o.MaxSession)
	idle := timer(s.o.IdleTimeout)
	eof := timer(0)
	defer func() { limit.Stop(); idle.Stop(); eof.Stop() }()
	exited, targetGone, delivered := s.exited, s.targetGone, s.delivered
	for {
		if delivered == nil && (exited == nil || targetGone == nil) {
			return verdict{normal: true}
		}
		select {
		case <-ctx.Done():
			return verdict{reason: cause(ctx)}
		case <-s.o.Recording.Failed():
			return s.recordingFailed(s.o.Recording.Err())
		case err := <-s.failed:
			return s.recordingFailed(err)
		case <-limit.C:
			return verdict{reason: fmt.Sprintf("this session has reached its limit of %v", s.o.MaxSession)}
		case <-idle.C:
			left := s.o.IdleTimeout - s.idleFor()
			if left <= 0 {
				return verdict{reason: fmt.Sprintf("this session was idle for %v, its limit", s.o.IdleTimeout)}
			}
			idle.Reset(left)
		case <-s.clientGone:
			return verdict{reason: "the client went away", silent: true}
		case err := <-s.started:
			if err != nil {
				return verdict{reason: startReason(err)}
			}
			s.pump()
		case <-exited:
			exited = nil
		case <-targetGone:
			targetGone = nil
		case <-delivered:
			delivered = nil
			eof.Reset(exitGrace)
		case <-eof.C:
			// The target ended its output and runs on: pass its EOF on
			// (RFC 4254, 5.3). The writers are done, so nobody races.
			go s.sendEOF()
		}
	}
}

// timer returns a timer that fires after d, or not before it is reset if d is
// zero.
func timer(d time.Duration) *time.Timer {
	if d > 0 {
		return time.NewTimer(d)
	}
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

func (s *session) touch() { s.active.Store(int64(time.Since(s.begun))) }

func (s *session) idleFor() time.Duration {
	return time.Since(s.begun) - time.Duration(s.active.Load())
}

// fail tells the supervisor that the recording did not take something. Only
// the first failure counts, and none once the session is ending.
func (s *session) fail(err error) {
	if s.ending.Load() {
		return
	}
	select {
	case s.failed <- err:
	default:
	}
}

func (s *session) recordingFailed(err error) verdict {
	if err == nil {
		err = errors.New("no cause was given")
	}
	reason := "the recording of this session failed, so it was ended"
	if s.o.Session != "" {
		reason += fmt.Sprintf(" (session %s)", s.o.Session)
	}
	return verdict{reason: reason, err: fmt.Errorf("the recording failed: %w", err)}
}

func startReason(err error) string {
	if errors.Is(err, io.EOF) {
		return "the target closed the session before it started"
	}
	return err.Error()
}

// cause returns the words that the cancelled context holds for the user.
func cause(ctx context.Context) string {
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return "the bastion ended this session"
	}
	return err.Error()
}

// end is how the session ended, as far as the target has said.
func (s *session) end(reason string) policy.End {
	s.exitMu.Lock()
	defer s.exitMu.Unlock()
	if s.exit == nil {
		return policy.End{Reason: reason}
	}
	return s.exit.end
}
