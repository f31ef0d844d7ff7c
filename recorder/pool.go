package recorder

import "sync"

// pool runs work of recordings on at most limit goroutines, which end when
// there is nothing to do.
type pool struct {
	limit int
	run   func(*pipeline) // does one piece of work

	mu      sync.Mutex
	queue   []*pipeline
	running int
	closed  bool
	idle    sync.Cond // running has become 0
}

func newPool(limit int, run func(*pipeline)) *pool {
	p := &pool{limit: limit, run: run}
	p.idle.L = &p.mu
	return p
}

// submit lets one piece of p's work be done, unless the pool is closed.
func (o *pool) submit(p *pipeline) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.queue = append(o.queue, p)
	if o.running < o.limit {
		o.running++
		go o.work()
	}
}

func (o *pool) work() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) > 0 {
		p := o.queue[0]
		o.queue[0] = nil
		if o.queue = o.queue[1:]; len(o.queue) == 0 {
			o.queue = nil
		}
		o.mu.Unlock()
		o.run(p)
		o.mu.Lock()
	}
	if o.running--; o.running == 0 {
		o.idle.Broadcast()
	}
}

// close drops what waits and returns when nothing runs any more.
func (o *pool) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.queue = true, nil
	for o.running > 0 {
		o.idle.Wait()
	}
}
