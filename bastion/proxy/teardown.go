package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"sallyport/policy"
)

// closed is what the recording said when it was closed.
type closed struct {
	summary policy.Summary
	err     error
}

// finish ends a session that the target has ended: everything is delivered;
// now replies, the recording, exit status, EOF and close, in this order.
func (s *session) finish(ctx context.Context) (policy.Summary, policy.End, error) {
	s.ending.Store(true)
	s.toTarget.close(replyTime)
	s.toClient.close(replyTime)
	s.closeTarget()
	if s.o.Await != nil {
		wait(s.o.Await, awaitTime)
	}
	end := s.complete(s.end("the target closed the session without an exit status"))

	done := make(chan closed, 1)
	go func() {
		summary, err := s.o.Recording.Close(end)
		done <- closed{summary, err}
	}()
	select {
	case c := <-done:
		if c.err != nil {
			end.Reason = s.recordingFailed(c.err).reason
			s.dismiss(end.Reason)
			return c.summary, end, wrapClose(c.err)
		}
		s.sayGoodbye(ctx)
		return c.summary, end, nil
	case <-ctx.Done():
		// A disk that hangs must not keep the user waiting for ever.
		s.dismiss(cause(ctx))
		c := <-done
		return c.summary, end, wrapClose(c.err)
	}
}

// complete lets the caller of Run add to how the session ended.
func (s *session) complete(end policy.End) policy.End {
	if s.o.Complete != nil {
		s.o.Complete(&end)
	}
	return end
}

// sayGoodbye sends exit status, EOF and close. It waits for a client that is
// slow to take them, not for one that has gone.
func (s *session) sayGoodbye(ctx context.Context) {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		s.sendExit()
		s.sendEOF()
		s.o.Client.Channel.Close()
	}()
	select {
	case <-sent:
	case <-s.clientGone:
	case <-ctx.Done():
	}
}

// dismiss closes the client's channel after a last line and without an exit
// status.
func (s *session) dismiss(reason string) {
	s.tell(reason)
	go s.o.Client.Channel.Close()
}

// abort ends a session for a reason that is not the target's. Nothing in it
// waits for a peer longer than the bounds above.
func (s *session) abort(v verdict) (policy.Summary, policy.End, error) {
	if v.silent && s.pumping && !isClosed(s.inputDone) {
		// The client closed its channel: what it sent before that is
		// buffered and still wanted, as a direct sshd would take it.
		wait(s.inputDone, drainTime)
	}
	s.ending.Store(true)
	s.closeTarget()
	if !v.silent {
		s.tell(v.reason)
	}
	go s.closeClient()
	s.toTarget.close(0)
	s.toClient.close(0)

	if s.pumping {
		wait(s.readDone, drainTime)
	}
	s.o.Recording.CloseOutput(policy.StreamOutput)
	s.o.Recording.CloseOutput(policy.StreamStderr)
	if s.pumping {
		wait(s.delivered, drainTime)
	}
	end := s.end(v.reason)
	end.Reason = v.reason // an exit that came meanwhile is a consequence
	end = s.complete(end)
	summary, err := s.o.Recording.Close(end)
	return summary, end, errors.Join(v.err, wrapClose(err))
}

// closeTarget closes the target's channel. A connection that takes nothing more
// holds it up only a little: then the close is left to a goroutine that ends
// with the connection.
func (s *session) closeTarget() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.o.Target.Channel.Close()
	}()
	wait(done, closeTime)
}

// closeClient sends EOF only if no writer is left that it could race with.
func (s *session) closeClient() {
	if !s.pumping || isClosed(s.delivered) {
		s.sendEOF()
	}
	s.o.Client.Channel.Close()
}

// sendEOF tells the client that no more data comes (RFC 4254, section 5.3),
// once. The writers must be done; a last line that is stuck is not waited for.
func (s *session) sendEOF() {
	if !s.stderrMu.TryLock() {
		return
	}
	defer s.stderrMu.Unlock()
	if !s.eofSent {
		s.eofSent = true
		s.o.Client.Channel.CloseWrite()
	}
}

// tell shows the user one line on stderr, and waits a little for it to be
// taken: a client that reads nothing does not hold up the end.
func (s *session) tell(reason string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.write(notice(reason, s.tty.Load()))
	}()
	wait(done, noticeTime)
}

// write hands the client a line of our own on stderr. It blocks for as long as
// the client takes none.
func (s *session) write(line string) {
	s.stderrMu.Lock()
	defer s.stderrMu.Unlock()
	if !s.eofSent { // no data may follow an EOF
		io.WriteString(s.o.Client.Channel.Stderr(), line)
	}
}

// notice formats the one line that the user reads. In a terminal the cursor
// may stand anywhere and the terminal is raw.
func notice(reason string, tty bool) string {
	reason = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, reason)
	if tty {
		return "\r\nsallyport: " + reason + "\r\n"
	}
	return "sallyport: " + reason + "\n"
}

func wrapClose(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("closing the recording: %w", err)
}

// wait returns once c is closed, at the latest after d, and says which.
func wait(c <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return isClosed(c)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
