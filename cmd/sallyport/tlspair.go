package main

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
)

// reloadingPair serves a TLS certificate from files and takes a renewed one
// without a restart. A bad new pair leaves the old one in use.
type reloadingPair struct {
	certFile, keyFile string

	mu      sync.Mutex
	pair    *tls.Certificate
	changed time.Time // modification time of the pair's certificate file
	checked time.Time
}

// pairCheckInterval is how often the files are looked at, at most.
const pairCheckInterval = 10 * time.Second

func newReloadingPair(certFile, keyFile string) (*reloadingPair, error) {
	p := &reloadingPair{certFile: certFile, keyFile: keyFile}
	return p, p.load(time.Now())
}

func (p *reloadingPair) load(now time.Time) error {
	p.checked = now
	st, err := os.Stat(p.certFile)
	if err != nil {
		return err
	}
	if p.pair != nil && st.ModTime().Equal(p.changed) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return err
	}
	p.pair, p.changed = &pair, st.ModTime()
	return nil
}

func (p *reloadingPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.checked) > pairCheckInterval {
		_ = p.load(now) // the old pair stays until a whole new one is there
	}
	return p.pair, nil
}
