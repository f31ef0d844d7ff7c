package sshtest

import (
	"net"
	"sync"
	"time"
)

// Crowd is a number of connections that are there to be in the way.
type Crowd struct {
	mu    sync.Mutex
	conns []net.Conn
}

// Silent opens n connections to addr that never send a byte. Connections that
// the server does not take are not counted.
func Silent(addr string, n int) *Crowd {
	return gather(n, func() (net.Conn, error) { return net.DialTimeout("tcp", addr, 5*time.Second) })
}

// HalfDone opens n connections that do the key exchange and then nothing.
func HalfDone(addr string, n int) *Crowd {
	return gather(n, func() (net.Conn, error) { return DialRaw(addr) })
}

func gather(n int, dial func() (net.Conn, error)) *Crowd {
	c := &Crowd{}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			conn, err := dial()
			if err != nil {
				return
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.conns = append(c.conns, conn)
		})
	}
	wg.Wait()
	return c
}

// Len is how many connections were made.
func (c *Crowd) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

// WaitClosed waits up to d until the server has closed all of them, and
// returns how many it has not.
func (c *Crowd) WaitClosed(d time.Duration) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline := time.Now().Add(d)
	open := 0
	buf := make([]byte, 4096)
	for _, conn := range c.conns {
		conn.SetReadDeadline(deadline)
		for {
			_, err := conn.Read(buf)
			if err == nil {
				continue
			}
			if e, ok := err.(net.Error); ok && e.Timeout() {
				open++
			}
			break
		}
	}
	return open
}

// Close closes all of them.
func (c *Crowd) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
}
