package bastion

import "golang.org/x/crypto/ssh"

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
// as in is closed.
func queueRequests(in <-chan *ssh.Request, gone func()) <-chan *ssh.Request {
	out := make(chan *ssh.Request)
	go func() {
		defer close(out)
		q := requestQueue{}
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
	list []*ssh.Request
	size int // payload bytes
}

func (q *requestQueue) push(r *ssh.Request) {
	if n := len(q.list); n > 0 && r.Type == "window-change" && q.list[n-1].Type == r.Type && !q.list[n-1].WantReply {
		q.size += len(r.Payload) - len(q.list[n-1].Payload)
		q.list[n-1] = r
		return
	}
	if len(q.list) >= maxQueued || q.size+len(r.Payload) > maxQueuedBytes {
		r.Reply(false, nil)
		return
	}
	q.list = append(q.list, r)
	q.size += len(r.Payload)
}

func (q *requestQueue) pop() {
	q.size -= len(q.list[0].Payload)
	q.list[0] = nil
	q.list = q.list[1:]
}
