package bastion

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// preAuthBytes is how much a client may send before it has proven anything. A
// handshake with several certificates takes some ten kilobytes.
const preAuthBytes = 1 << 20

var errPreAuthFlood = errors.New("the client sent more before authentication than any handshake needs")

// guard is a client's network connection. It notices the end of the stream
// while nobody waits for a packet (the SSH transport always reads ahead), knows
// when something last came, and limits what comes before authentication.
type guard struct {
	net.Conn
	addr  netip.AddrPort
	begun time.Time
	gone  chan struct{} // closed with the first failed read or by Close

	authenticating atomic.Bool  // key exchange is done, the client authenticates
	evicted        atomic.Bool  // closed to make room for another
	lastRead       atomic.Int64 // nanoseconds after begun
	budget         atomic.Int64 // bytes left before authentication
	open           atomic.Bool  // authenticated: no budget any more
	once           sync.Once
}

func newGuard(c net.Conn) *guard {
	g := &guard{Conn: c, addr: addrPort(c.RemoteAddr()), begun: time.Now(), gone: make(chan struct{})}
	g.budget.Store(preAuthBytes)
	return g
}

// Read reads and keeps account.
func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if n > 0 {
		g.lastRead.Store(int64(time.Since(g.begun)))
		if !g.open.Load() && g.budget.Add(-int64(n)) < 0 {
			g.Close()
			return 0, errPreAuthFlood
		}
	}
	if err != nil {
		g.once.Do(func() { close(g.gone) })
	}
	return n, err
}

// Close closes the connection; whoever waits for the client learns it.
func (g *guard) Close() error {
	g.once.Do(func() { close(g.gone) })
	return g.Conn.Close()
}

// authenticated lifts the deadline and the budget.
func (g *guard) authenticated() {
	g.open.Store(true)
	g.SetDeadline(time.Time{})
}

// silence is how long the client has sent nothing.
func (g *guard) silence() time.Duration {
	return time.Since(g.begun) - time.Duration(g.lastRead.Load())
}

// addrPort returns the address of a, or the zero AddrPort for what is none.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// site is who counts as one client: an IPv4 address, or the /64 that one
// customer has in IPv6.
func site(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
