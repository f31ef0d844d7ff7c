// Package proxy splices one SSH session between a client and a target, through
// the recording: a byte from the target is recorded before the client gets it,
// and a byte from the client is recorded before the target gets it (DESIGN,
// invariant I1). It knows channels and requests (RFC 4254, sections 5 and 6),
// not connections, users or policies.
//
// # How a session ends
//
// When the target ends it, the order is fixed, because data, stderr, requests
// and replies arrive on separate paths and a client that sees the close first
// loses the rest:
//
//  1. both output streams are read to their end, recorded and delivered;
//  2. requests that wait for a reply get it;
//  3. the recording is closed, so that whoever saw the exit status finds a
//     complete recording;
//  4. exit-status or exit-signal;
//  5. EOF, then close.
//
// When anything else ends it (the client vanished, the context was cancelled, a
// limit was reached, the recording failed), no more input is forwarded, the
// target's channel is closed at once, the user is told why in one line on
// stderr, the client's channel is closed, and then the recording.
package proxy

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// Recording is where every byte of a session goes before it goes anywhere
// else. All methods may be called from several goroutines at once, but Next
// only from one per stream.
type Recording interface {
	// Output takes a copy of p, which came from the target on stream s. It
	// may block for as long as the client does not take what Next returns.
	Output(s policy.Stream, p []byte) error
	// CloseOutput says that nothing more will come on s. It is idempotent.
	CloseOutput(s policy.Stream)
	// Next returns bytes of s that are durable and may be shown to the
	// client. They are valid until the following Next of that stream. It
	// returns io.EOF once everything was returned after CloseOutput.
	Next(s policy.Stream) ([]byte, error)
	// Input returns nil once p, from the client, was accepted by the record.
	Input(p []byte) error
	// Resize records the size of the terminal in character cells.
	Resize(cols, rows int) error
	// Failed is closed when the recording cannot go on; Err says why.
	Failed() <-chan struct{}
	Err() error
	// Close ends the recording and makes it durable. It is idempotent, and
	// from then on Output and Input return an error and block nobody.
	Close(policy.End) (policy.Summary, error)
}

// Marker is implemented by a Recording that can note in plain words what has
// no bytes: the signals and breaks that the client sends.
type Marker interface {
	Marker(text string) error
}

// Side is one end of a session: a channel and the requests that arrive on it.
type Side struct {
	Channel  ssh.Channel
	Requests <-chan *ssh.Request
}

// Request is a channel request that is to be sent on (RFC 4254, section 5.4).
type Request struct {
	Type    string
	Payload []byte
	// Reply answers whoever asked. It is nil when no reply is wanted.
	Reply func(ok bool)
}

// Options describe one session.
type Options struct {
	Client, Target Side
	Recording      Recording
	// Start are the requests that the target gets first, in this order:
	// pty-req and env as far as the client sent them, and last the one of
	// shell, exec or subsystem. Nothing else flows before it is granted.
	Start []Request
	// Session is named in the line that tells the user of a failed
	// recording. It may be empty.
	Session policy.SessionID
	// MaxSession ends the session that long after Run was called, and
	// IdleTimeout when no byte and no request went either way for so long.
	// Zero means no limit.
	MaxSession, IdleTimeout time.Duration
	// Seen counts a request that came during Run from one of policy's From
	// constants, and what is known of it so far. Nil: nobody asks.
	Seen func(r *ssh.Request, from string, o policy.Outcome) policy.Seen
	// Complete adds to how the session ended what only the caller knows. It
	// is called once, right before the recording is closed, and must not
	// block. Nil: there is nothing to add.
	Complete func(*policy.End)
	// Await is closed when Complete has all that it may know. A session that
	// its target has ended waits a little for that, any other does not.
	Await <-chan struct{}
	Log   *slog.Logger // carries the session; nil: nothing is logged
}

// Bounds of the teardown. Together they stay below the second within which a
// session must be over for the user (THREATS T14).
const (
	noticeTime = 400 * time.Millisecond // to hand the user the last line
	closeTime  = 50 * time.Millisecond  // to hand the target our close
	drainTime  = 200 * time.Millisecond // for the target to answer our close
	replyTime  = time.Second            // for replies that are still awaited
	exitGrace  = 100 * time.Millisecond // between a target's EOF and its exit status
	awaitTime  = 50 * time.Millisecond  // for Options.Await: nobody should notice it
)

// Run splices the session until its end and closes both channels and the
// recording, in the order that the package documents. It returns what the
// recording knows and how the session ended. The error is about the recording
// alone, nil when it is complete: a session that the client, the target or a
// limit ended is no error, End.Reason tells.
//
// When ctx is cancelled the session ends within a second and the user reads
// the cause (context.Cause). Both sides' Requests are drained by Run, and by
// two goroutines that it leaves behind until the peers have confirmed the
// close or their connections have ended.
func Run(ctx context.Context, o Options) (policy.Summary, policy.End, error) {
	s := newSession(o)
	go s.drainClient()
	go s.drainTarget()
	go s.begin()
	v := s.supervise(ctx)
	if v.normal {
		return s.finish(ctx)
	}
	return s.abort(v)
}

// errRefused is the outcome of Start when the target said no.
var errRefused = errors.New("the target refused to start the session")
