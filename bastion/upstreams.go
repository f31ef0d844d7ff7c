package bastion

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// upstreams are the connections to targets of one client connection: one for
// each target and login, shared by its sessions, closed with it.
type upstreams struct {
	c      *connection
	mu     sync.Mutex
	closed bool                    // guarded by mu
	open   map[upstreamKey]*shared // guarded by mu
}

type upstreamKey struct {
	target string
	login  policy.Login
}

// shared is one upstream, made once for all who wait for it.
type shared struct {
	ready chan struct{} // closed when up and err are set
	up    Upstream
	err   error
	dead  chan struct{}   // closed when up has ended
	seen  policy.Coverage // the channels that were opened on up

	mu    sync.Mutex
	probe *probe // nil until a session asks for it; guarded by mu
}

// reached is a session on a target.
type reached struct {
	ch   ssh.Channel
	reqs <-chan *ssh.Request
	sh   *shared
	seen policy.Seen // ch, in sh.seen
}

// deadTime is how long after a failed session its connection may take to be
// known as ended.
const deadTime = 100 * time.Millisecond

var (
	errUpstreamsClosed = errors.New("the connection has ended")
	errUpstreamEnded   = errors.New("the connection to the target has ended")
)

// session opens a session on the target. It waits no longer than ctx, while
// the connection itself is made for all sessions of this client.
func (u *upstreams) session(ctx context.Context, t policy.Target, login policy.Login) (*reached, error) {
	for attempt := 0; ; attempt++ {
		sh, fresh, err := u.get(ctx, t, login)
		if err != nil {
			return nil, err
		}
		at, err := sh.session(ctx, u.c.s.limits.Setup)
		if err == nil {
			return at, nil
		}
		// A shared connection may have just ended; a new one may not.
		if fresh || attempt > 0 || !waitFor(func() { <-sh.dead }, deadTime) {
			return nil, err
		}
		u.forget(upstreamKey{t.Name, login}, sh)
	}
}

// session opens a session within d. A target that takes no more of them at a
// time (sshd's MaxSessions) gets back the place that the probe has.
func (sh *shared) session(ctx context.Context, d time.Duration) (*reached, error) {
	ctx, stop := context.WithTimeout(ctx, d)
	defer stop()
	at, err := sh.open(ctx, seenRecorded)
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) && sh.probeGivesWay(ctx) {
		at, err = sh.open(ctx, seenRecorded)
	}
	return at, err
}

// open opens a channel, which counts as o, for as long as the upstream lives: a
// channel that is opened while the connection ends may never be answered.
func (sh *shared) open(ctx context.Context, o policy.Outcome) (*reached, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with this call
		select {
		case <-sh.dead:
			cancel(errUpstreamEnded)
		case <-ctx.Done():
		}
	}()
	seen := sh.seen.Add(policy.KindChannel, "session", policy.FromBastion, seenUnopened)
	ch, reqs, err := sh.up.OpenSession(ctx)
	if err != nil {
		var refused *ssh.OpenChannelError
		if errors.As(err, &refused) {
			seen.Now(seenDeclined)
		}
		return nil, err
	}
	seen.Now(o)
	return &reached{ch, reqs, sh, seen}, nil
}

// get returns the upstream, connecting if there is none. fresh says that this
// call made it.
func (u *upstreams) get(ctx context.Context, t policy.Target, login policy.Login) (sh *shared, fresh bool, err error) {
	key := upstreamKey{t.Name, login}
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil, false, errUpstreamsClosed
	}
	sh = u.open[key]
	if sh == nil || isDone(sh.dead) {
		sh, fresh = &shared{ready: make(chan struct{}), dead: make(chan struct{})}, true
		if u.open == nil {
			u.open = map[upstreamKey]*shared{}
		}
		u.open[key] = sh
		go u.connect(key, sh, t)
	}
	u.mu.Unlock()
	select {
	case <-sh.ready:
		return sh, fresh, sh.err
	case <-ctx.Done():
		return nil, false, causeOf(ctx)
	}
}

// connect makes the upstream and watches it. Its goroutine ends with the
// upstream, which close ends.
func (u *upstreams) connect(key upstreamKey, sh *shared, t policy.Target) {
	var up Upstream
	var err error
	apart(func() {
		up, err = u.c.s.cfg.Connect(u.c.ctx, ConnectRequest{Target: t, Login: key.login, User: u.c.grant.identity.User, Connection: u.c.id})
	})
	u.mu.Lock()
	if err == nil && u.closed {
		err = errUpstreamsClosed
		go up.Close()
	}
	sh.up, sh.err = up, err
	u.mu.Unlock()
	if err == nil {
		close(sh.ready)
		up.Wait()
	}
	close(sh.dead)
	u.forget(key, sh)
	if err != nil {
		close(sh.ready)
	}
}

// forget removes sh, so that the next session makes a new connection.
func (u *upstreams) forget(key upstreamKey, sh *shared) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.open[key] == sh {
		delete(u.open, key)
	}
}

// close closes all of them.
func (u *upstreams) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for _, sh := range u.open {
		if sh.up != nil {
			go sh.up.Close()
		}
	}
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
