package bastion

import (
	"sync"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// Bounds of the requests of one channel that nobody has taken yet.
const (
	maxQueued      = 64
	maxQueuedBytes = 512 << 10
)

// queueRequests passes requests on without ever letting the sender wait: an
// undrained request stalls every channel of its connection, a key exchange
// included. Where too many wait, the newest is refused; of window sizes only
// the last counts. Its goroutine ends when in is closed and everything was
// taken, so whoever gets the result takes it to its end. gone is called as soon
// as in is closed. count hears of each request; it may be nil.
func queueRequests(in <-chan *ssh.Request, count *requestCount, gone func()) <-chan *ssh.Request {
	out := make(chan *ssh.Request)
	go func() {
		defer close(out)
		q := requestQueue{count: count}
		for in != nil || len(q.list) > 0 {
			var to chan *ssh.Request
			var first *ssh.Request
			if len(q.list) > 0 {
				to, first = out, q.list[0]
			}
			select {
			case r, ok := <-in:
				if !ok {
					in = nil
					gone()
					continue
				}
				q.push(r)
			case to <- first:
				q.pop()
			}
		}
	}()
	return out
}

type requestQueue struct {
	list  []*ssh.Request
	size  int // payload bytes
	count *requestCount
}

func (q *requestQueue) push(r *ssh.Request) {
	if n := len(q.list); n > 0 && r.Type == "window-change" && q.list[n-1].Type == r.Type && !q.list[n-1].WantReply {
		q.size += len(r.Payload) - len(q.list[n-1].Payload)
		q.count.took(q.list[n-1], policy.FromClient, seenSuperseded)
		q.count.came(r)
		q.list[n-1] = r
		return
	}
	if len(q.list) >= maxQueued || q.size+len(r.Payload) > maxQueuedBytes {
		q.count.took(r, policy.FromClient, seenTooMany)
		r.Reply(false, nil)
		return
	}
	q.count.came(r)
	q.list = append(q.list, r)
	q.size += len(r.Payload)
}

func (q *requestQueue) pop() {
	q.size -= len(q.list[0].Payload)
	q.list[0] = nil
	q.list = q.list[1:]
}

// requestCount counts the requests of one session (its coverage list), also
// those that nobody has taken yet. A nil one counts nothing.
type requestCount struct {
	policy.Coverage
	mu      sync.Mutex
	waiting map[*ssh.Request]policy.Seen // no longer than a requestQueue; guarded by mu
}

// came counts a request of the client that waits to be taken.
func (c *requestCount) came(r *ssh.Request) {
	if c == nil {
		return
	}
	seen := c.Add(policy.KindRequest, r.Type, policy.FromClient, seenWaiting)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting = map[*ssh.Request]policy.Seen{}
	}
	c.waiting[r] = seen
}

// took counts a request that is handled now, once, with what becomes of it.
func (c *requestCount) took(r *ssh.Request, from string, o policy.Outcome) policy.Seen {
	if c == nil {
		return policy.Seen{}
	}
	c.mu.Lock()
	seen, waited := c.waiting[r]
	delete(c.waiting, r)
	c.mu.Unlock()
	if !waited {
		return c.Add(policy.KindRequest, r.Type, from, o)
	}
	seen.Now(o)
	return seen
}
