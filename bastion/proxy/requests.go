package proxy

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// Bounds of requests that wait to be sent on. A peer that is slow to take them
// costs at most this much memory.
const (
	maxQueued      = 64
	maxQueuedBytes = 256 << 10
)

// drainClient takes every request of the client until its channel is closed.
func (s *session) drainClient() {
	for r := range s.o.Client.Requests {
		s.fromClient(r)
	}
	close(s.clientGone)
}

// drainTarget takes every request of the target until its channel is closed.
func (s *session) drainTarget() {
	for r := range s.o.Target.Requests {
		s.fromTarget(r)
	}
	close(s.targetGone)
}

// fromClient decides about a request that came after Start. What opens another
// way past the record (agent, X11), starts something else than what was
// decided about (shell, exec, subsystem), comes too late to mean anything
// (pty-req, env: RFC 4254, 6.2 and 6.4) or is unknown is refused.
func (s *session) fromClient(r *ssh.Request) {
	switch r.Type {
	case "window-change":
		if _, _, err := ParseWindowChange(r.Payload); err != nil {
			s.refuse(policy.FromClient, r)
			return
		}
	case "signal":
		if _, err := parseSignal(r.Payload); err != nil {
			s.refuse(policy.FromClient, r)
			return
		}
	case "break", "eow@openssh.com", "keepalive@openssh.com":
	default:
		s.refuse(policy.FromClient, r)
		return
	}
	s.touch()
	s.toTarget.push(r, s.count(r, policy.FromClient, seenWaiting))
}

// fromTarget keeps how the session ended until the output is delivered, and
// sends on what is meant for the client.
func (s *session) fromTarget(r *ssh.Request) {
	switch r.Type {
	case "exit-status", "exit-signal":
		s.setExit(r)
	case "xon-xoff", "eow@openssh.com", "keepalive@openssh.com":
		s.toClient.push(r, s.count(r, policy.FromTarget, seenWaiting))
	default:
		s.refuse(policy.FromTarget, r)
	}
}

func (s *session) refuse(from string, r *ssh.Request) {
	s.count(r, from, policy.Refused(r.Type))
	s.log.Info("channel request refused", "from", from, "type", clip(r.Type))
	r.Reply(false, nil)
}

// recordRequest notes what the target is about to get. It runs in the order in
// which the requests are sent, and reports whether the request may go and what
// the recording has of it.
func (s *session) recordRequest(r *ssh.Request) (policy.Outcome, bool) {
	if s.ending.Load() {
		return seenWaiting, false
	}
	o, err := passed(r.Type), error(nil)
	switch r.Type {
	case "window-change":
		o, err = s.recordResize(r.Payload)
	case "signal":
		name, _ := parseSignal(r.Payload)
		o, err = s.mark("signal "+name, seenSignal)
	case "break":
		o, err = s.mark("break", seenBreak)
	}
	if err != nil {
		s.fail(err)
		return seenWaiting, false
	}
	return o, true
}

func (s *session) recordResize(payload []byte) (policy.Outcome, error) {
	cols, rows, err := ParseWindowChange(payload)
	if err != nil || !s.tty.Load() || cols == 0 || rows == 0 {
		return seenNoSize, nil // zero dimensions mean nothing (RFC 4254, 6.2)
	}
	c, r := ClampSize(cols, rows)
	return seenSize, s.o.Recording.Resize(c, r)
}

// mark notes text, and then o is what became of it.
func (s *session) mark(text string, o policy.Outcome) (policy.Outcome, error) {
	m, ok := s.o.Recording.(Marker)
	if !ok {
		return seenUnrecorded, nil
	}
	return o, m.Marker(text)
}

// forwarder sends requests on in their order. It owns a goroutine only while
// there is something to send, and push never blocks: a peer that does not
// answer must not keep the other's requests from being drained.
type forwarder struct {
	to     ssh.Channel
	log    *slog.Logger
	before func(*ssh.Request) (policy.Outcome, bool) // nil, or what becomes of r and whether it may be sent

	mu     sync.Mutex
	queue  []queued      // guarded by mu
	size   int           // payload bytes in queue, guarded by mu
	busy   bool          // run is active or promised, guarded by mu
	closed bool          // nothing more is taken, guarded by mu
	idle   chan struct{} // closed when busy ends, if not nil; guarded by mu
}

// queued is a request that waits to be sent on, and its place in the count.
type queued struct {
	*ssh.Request
	seen policy.Seen
}

// push queues r, or refuses it when too much is waiting.
func (f *forwarder) push(r *ssh.Request, seen policy.Seen) {
	f.mu.Lock()
	if n := len(f.queue); n > 0 && r.Type == "window-change" && f.queue[n-1].Type == r.Type && !f.queue[n-1].WantReply {
		f.size -= len(f.queue[n-1].Payload) // only the last size counts
		f.queue[n-1].seen.Now(seenSuperseded)
		f.queue = f.queue[:n-1]
	}
	if f.closed || len(f.queue) >= maxQueued || f.size+len(r.Payload) > maxQueuedBytes {
		full := !f.closed
		f.mu.Unlock()
		if full {
			seen.Now(seenTooMany)
			f.log.Warn("channel request dropped, too many are waiting", "type", clip(r.Type))
		}
		r.Reply(false, nil)
		return
	}
	f.queue = append(f.queue, queued{r, seen})
	f.size += len(r.Payload)
	start := !f.busy
	f.busy = true
	f.mu.Unlock()
	if start {
		go f.run()
	}
}

// run sends what is queued and returns when nothing is left. The peer's close,
// or the end of its connection, ends a request that waits for a reply.
func (f *forwarder) run() {
	for {
		f.mu.Lock()
		if len(f.queue) == 0 {
			f.busy = false
			f.queue = nil
			if f.idle != nil {
				close(f.idle)
				f.idle = nil
			}
			f.mu.Unlock()
			return
		}
		r := f.queue[0]
		f.queue = f.queue[1:]
		f.size -= len(r.Payload)
		f.mu.Unlock()
		o, ok := passed(r.Type), true
		if f.before != nil {
			o, ok = f.before(r.Request)
		}
		r.seen.Now(o)
		if ok {
			ok, _ = f.to.SendRequest(r.Type, r.WantReply, r.Payload)
		}
		r.Reply(ok, nil)
	}
}

// close takes no more requests and waits up to d until those that were taken
// are sent and answered.
func (f *forwarder) close(d time.Duration) {
	f.mu.Lock()
	f.closed = true
	var idle chan struct{}
	if f.busy && d > 0 {
		if f.idle == nil {
			f.idle = make(chan struct{})
		}
		idle = f.idle
	}
	f.mu.Unlock()
	if idle != nil {
		wait(idle, d)
	}
}

// clip makes a name from the wire fit for a log line.
func clip(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return fmt.Sprintf("%q", s)
}
