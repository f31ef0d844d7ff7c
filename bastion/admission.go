package bastion

import (
	"net/netip"
	"sync"
	"time"
)

// quota counts what each address has of something that is limited, in total
// and per address.
type quota struct {
	total, each int

	mu   sync.Mutex
	used int                // guarded by mu
	by   map[netip.Addr]int // guarded by mu
}

func newQuota(total, each int) *quota {
	return &quota{total: total, each: each, by: map[netip.Addr]int{}}
}

// take takes one for a, or reports that there is none left.
func (q *quota) take(a netip.Addr) bool {
	a = site(a)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used >= q.total || q.by[a] >= q.each {
		return false
	}
	q.used++
	q.by[a]++
	return true
}

// give gives back what take took.
func (q *quota) give(a netip.Addr) {
	a = site(a)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used--
	if q.by[a]--; q.by[a] <= 0 {
		delete(q.by, a)
	}
}

// lobby holds the connections that have not proven anything yet. Where it is
// full, whoever has waited longest without even a key exchange makes room for
// the newcomer: a crowd of silent clients must not keep a real one out, and a
// real one needs a fraction of a second.
type lobby struct {
	total, each int

	mu      sync.Mutex
	waiting map[*guard]struct{} // guarded by mu
	by      map[netip.Addr]int  // guarded by mu
}

func newLobby(total, each int) *lobby {
	return &lobby{total: total, each: each, waiting: map[*guard]struct{}{}, by: map[netip.Addr]int{}}
}

// enter takes g in and returns who has to go for it, if anybody. It reports
// false when there is no place and nobody to evict.
func (l *lobby) enter(g *guard) (evicted *guard, ok bool) {
	a := site(g.addr.Addr())
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.by[a] >= l.each:
		evicted = l.oldest(func(w *guard) bool { return site(w.addr.Addr()) == a })
	case len(l.waiting) >= l.total:
		evicted = l.oldest(func(*guard) bool { return true })
	default:
		l.add(g, a)
		return nil, true
	}
	if evicted == nil {
		return nil, false
	}
	l.remove(evicted)
	l.add(g, a)
	return evicted, true
}

// oldest returns who has waited longest without beginning to authenticate.
func (l *lobby) oldest(among func(*guard) bool) *guard {
	var found *guard
	for w := range l.waiting {
		if !w.authenticating.Load() && among(w) && (found == nil || w.begun.Before(found.begun)) {
			found = w
		}
	}
	return found
}

// leave lets g out. It is idempotent.
func (l *lobby) leave(g *guard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.waiting[g]; ok {
		l.remove(g)
	}
}

func (l *lobby) add(g *guard, a netip.Addr) {
	l.waiting[g] = struct{}{}
	l.by[a]++
}

func (l *lobby) remove(g *guard) {
	a := site(g.addr.Addr())
	delete(l.waiting, g)
	if l.by[a]--; l.by[a] <= 0 {
		delete(l.by, a)
	}
}

// Refusals of unauthenticated clients cost a durable entry each, so an address
// gets a few a minute of its own; the rest is counted in the next one.
const (
	refusalWindow  = time.Minute
	refusalEntries = 10
)

// refusalRate decides which refusals get an entry of their own.
type refusalRate struct {
	mu sync.Mutex
	by map[netip.Addr]*refusalCount // guarded by mu
}

type refusalCount struct {
	start   time.Time
	entries int
	more    int // refusals since start without an entry
}

// note reports whether this refusal gets an entry.
func (r *refusalRate) note(a netip.Addr, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[netip.Addr]*refusalCount{}
	}
	c := r.by[site(a)]
	if c == nil {
		c = &refusalCount{start: now}
		r.by[site(a)] = c
	}
	if c.entries >= refusalEntries {
		c.more++
		return false
	}
	c.entries++
	return true
}

// expire forgets the addresses whose window is over (all of them if all is
// set) and returns how many refusals of each have no entry.
func (r *refusalRate) expire(now time.Time, all bool) map[netip.Addr]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	owed := map[netip.Addr]int{}
	for a, c := range r.by {
		if !all && now.Sub(c.start) < refusalWindow {
			continue
		}
		if c.more > 0 {
			owed[a] = c.more
		}
		delete(r.by, a)
	}
	return owed
}

// startRate bounds how many device flows each address begins in a minute. Each
// costs the identity provider a request and a code that somebody could guess
// at, and none needs a proof of anything (THREATS T4).
type startRate struct {
	most int

	mu sync.Mutex
	by map[netip.Addr]*startCount // guarded by mu
}

type startCount struct {
	window time.Time
	n      int
}

const startWindow = time.Minute

// take counts one more of a, or reports that there are none left for now.
func (r *startRate) take(a netip.Addr, now time.Time) bool {
	a = site(a)
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.by[a]
	if c == nil || now.Sub(c.window) >= startWindow || now.Before(c.window) {
		if r.by == nil {
			r.by = map[netip.Addr]*startCount{}
		}
		c = &startCount{window: now}
		r.by[a] = c
	}
	c.n++
	return c.n <= r.most
}

// expire forgets the addresses whose window is over.
func (r *startRate) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for a, c := range r.by {
		if now.Sub(c.window) >= startWindow {
			delete(r.by, a)
		}
	}
}
