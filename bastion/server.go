package bastion

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// errShutdown is what users of live sessions read when the server ends.
var errShutdown = errors.New("the bastion is stopping, so this session was ended")

// Server is the front door. Its methods may be called from several goroutines.
type Server struct {
	cfg    Config
	limits Limits
	log    *slog.Logger
	now    func() time.Time

	lobby    *lobby // before a verified key
	signing  *quota // a key was offered and may be waiting for its passphrase
	signIns  *quota // a device flow waits for its user
	conns    *quota // authenticated
	refusals refusalRate
	starts   *startRate
	dropped  atomic.Int64 // connections closed for want of room in the lobby
}

// New checks cfg and returns a Server.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.EnvAllow == nil {
		cfg.EnvAllow = []string{"LANG", "LC_*"}
	}
	l := cfg.Limits.withDefaults()
	s := &Server{
		cfg: cfg, limits: l, log: cfg.Log, now: cfg.Now,
		lobby:   newLobby(l.Unauthenticated, l.UnauthenticatedPerAddress),
		signing: newQuota(l.SignIns, l.SignInsPerAddress),
		signIns: newQuota(l.SignIns, l.SignInsPerAddress),
		conns:   newQuota(l.Connections, l.ConnectionsPerAddress),
		starts:  &startRate{most: l.SignInStarts},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s, nil
}

// Serve accepts connections on l until ctx is done or l fails, and closes l.
// Then it ends live sessions, whose users read why, and returns once their
// recordings are closed, or after twice Limits.Grace. It returns nil when ctx
// ended it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	live, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { s.reportRefusals(live) })
	err := s.accept(ctx, l, func(c net.Conn) {
		// In the order of arrival: who is silent longest makes room.
		if g, ok := s.admit(c); ok {
			wg.Go(func() { s.handle(live, g) })
		}
	})
	l.Close()
	end(errShutdown)
	if !waitFor(wg.Wait, 2*s.limits.Grace+time.Second) {
		s.log.Error("connections are left that do not end")
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// accept hands over connections until l fails for good. Where the system is
// out of descriptors it waits a little.
func (s *Server) accept(ctx context.Context, l net.Listener, handle func(net.Conn)) error {
	const longest = time.Second
	delay := 5 * time.Millisecond
	for {
		c, err := l.Accept()
		if err == nil {
			delay = 5 * time.Millisecond
			handle(c)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return err
		}
		s.log.Warn("a connection could not be accepted", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
		}
		delay = min(2*delay, longest)
	}
}

// admit takes a connection into the lobby, or closes it.
func (s *Server) admit(c net.Conn) (*guard, bool) {
	g := newGuard(c)
	evicted, ok := s.lobby.enter(g)
	if evicted != nil {
		s.dropped.Add(1)
		evicted.evicted.Store(true)
		evicted.Close()
	}
	if !ok {
		s.dropped.Add(1)
		g.Close()
		return nil, false
	}
	g.SetDeadline(time.Now().Add(s.limits.Handshake))
	return g, true
}

// handle owns one connection from accept to close.
func (s *Server) handle(ctx context.Context, g *guard) {
	defer g.Close()
	defer s.lobby.leave(g)
	stop := context.AfterFunc(ctx, func() {
		if !g.open.Load() {
			g.Close()
		}
	})
	defer stop()
	id := policy.NewConnectionID(s.now())
	log := s.log.With("connection", id, "source", g.addr)
	sconn, chans, reqs, grant, err := s.handshake(ctx, g, id, log)
	if err != nil {
		if !g.evicted.Load() {
			log.Info("a connection ended before it was authenticated", "reason", printable(err.Error(), 300))
		}
		return
	}
	s.lobby.leave(g)
	g.authenticated()
	if !s.conns.take(g.addr.Addr()) {
		grant = refused("There are too many connections from your address; close some and try again.")
	} else {
		defer s.conns.give(g.addr.Addr())
	}
	c := s.newConnection(ctx, sconn, grant, id, g.addr, log)
	c.silence = g.silence
	c.serve(chans, reqs)
}

// handshake runs key exchange and authentication on g.
func (s *Server) handshake(ctx context.Context, g *guard, id policy.ConnectionID, log *slog.Logger) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request, *grant, error) {
	keys, err := s.cfg.HostKeys(ctx)
	if err != nil {
		log.Error("there is no host key to present", "error", err)
		return nil, nil, nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with the handshake or the client
		select {
		case <-g.gone:
			cancel(errClientGone)
		case <-ctx.Done():
		}
	}()
	a := &authenticator{s: s, ctx: ctx, guard: g, id: id, log: log, source: g.addr}
	defer a.release()
	var sconn *ssh.ServerConn
	var chans <-chan ssh.NewChannel
	var reqs <-chan *ssh.Request
	var gr *grant
	apart(func() { sconn, chans, reqs, gr, err = a.run(g, keys) })
	return sconn, chans, reqs, gr, err
}

// apart runs f on a stack of its own and waits for it: what goes deep once, at
// the beginning, would leave the goroutine that lives on with a large stack.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// reportRefusals enters, once a minute, how many refusals had no entry of
// their own, and logs how many connections there was no room for.
func (s *Server) reportRefusals(ctx context.Context) {
	t := time.NewTicker(refusalWindow)
	defer t.Stop()
	for {
		done := false
		select {
		case <-ctx.Done():
			done = true
		case <-t.C:
		}
		if n := s.dropped.Swap(0); n > 0 {
			s.log.Warn("connections that had not signed in were closed for want of room", "count", n)
		}
		s.starts.expire(s.now())
		for a, n := range s.refusals.expire(s.now(), done) {
			err := s.cfg.Audit(context.WithoutCancel(ctx), policy.Entry{Kind: policy.EntryAuthRefused, Source: a.String(),
				Detail: map[string]string{"more": strconv.Itoa(n), "reason": "further refusals within a minute"}})
			if err != nil {
				s.log.Error("refusals could not be entered", "source", a, "count", n, "error", err)
			}
		}
		if done {
			return
		}
	}
}

// waitFor runs wait and reports whether it returned within d.
func waitFor(wait func(), d time.Duration) bool {
	done := make(chan struct{})
	go func() { wait(); close(done) }()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
