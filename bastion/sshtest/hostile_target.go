package sshtest

import (
	"net"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// HostileTarget is an SSH host that lets everybody in and behaves as a test
// tells it to.
type HostileTarget struct {
	Addr    string
	HostKey ssh.PublicKey
}

// StartHostileTarget runs a HostileTarget on a free port of loopback until the
// test ends. Each connection is handed to serve, which owns its channels and
// requests; it is closed when serve returns.
func StartHostileTarget(t testing.TB, serve func(ssh.Conn, <-chan ssh.NewChannel, <-chan *ssh.Request)) *HostileTarget {
	t.Helper()
	key := NewSigner(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		return &ssh.Permissions{}, nil
	}}
	config.AddHostKey(key)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open, over := map[net.Conn]struct{}{}, false // guarded by mu
	enter := func(c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		open[c] = struct{}{}
		return !over
	}
	wg.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			if !enter(raw) {
				raw.Close()
				return
			}
			wg.Go(func() {
				defer raw.Close()
				if conn, chans, reqs, err := ssh.NewServerConn(raw, config); err == nil {
					serve(conn, chans, reqs)
					conn.Close()
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		over = true
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return &HostileTarget{Addr: l.Addr().String(), HostKey: key.PublicKey()}
}
