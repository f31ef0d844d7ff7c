package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
)

// BenchmarkIdleSession measures the memory that a session takes in the bastion
// once it is quiet: connection, channels both ways, redaction and recording. It
// opens b.N sessions, each on a connection of its own; use -benchtime 300x.
func BenchmarkIdleSession(b *testing.B) {
	n := newNode(b, nodeOptions{})
	host := sshtest.StartHost(b, sshtest.Options{UserCAs: []ssh.PublicKey{n.targetCA()}})
	n.target(host.Addr, "demo", host.HostKey)
	n.start()
	signer := n.signer()
	open := func() *ssh.Client {
		client, err := ssh.Dial("tcp", n.addr, &ssh.ClientConfig{User: "demo@t1", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
			HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience})
		if err != nil {
			b.Fatal(err)
		}
		s, err := client.NewSession()
		if err != nil {
			b.Fatal(err)
		}
		out, err := s.StdoutPipe()
		if err == nil {
			err = s.RequestPty("xterm", 24, 80, nil)
		}
		if err == nil {
			err = s.Start("echo here; exec sleep 300")
		}
		if err == nil {
			err = readUntil(out, "here")
		}
		if err != nil {
			b.Fatal(err)
		}
		return client
	}
	var clients []*ssh.Client
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	for range 20 { // so that what is made once is there
		clients = append(clients, open())
	}
	quiet := func() int64 {
		time.Sleep(idleWait())
		return n.resident(b)
	}
	before := quiet()
	b.ResetTimer()
	for range b.N {
		clients = append(clients, open())
	}
	b.StopTimer()
	after := quiet()
	b.ReportMetric(float64(before)/1e6, "MB-before")
	b.ReportMetric(float64(after)/1e6, "MB-after")
	b.ReportMetric(float64(after-before)/float64(b.N)/1000, "kB/session")
}

// resident returns the memory of the bastion in bytes.
func (n *ownNode) resident(t testing.TB) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	kb, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// signer is dora's key with her certificate.
func (n *ownNode) signer() ssh.Signer {
	n.t.Helper()
	text, err := os.ReadFile(n.key)
	if err != nil {
		n.t.Fatal(err)
	}
	plain, err := ssh.ParsePrivateKey(text)
	if err != nil {
		n.t.Fatal(err)
	}
	line, err := os.ReadFile(n.key + "-cert.pub")
	if err != nil {
		n.t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		n.t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(key.(*ssh.Certificate), plain)
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// idleWait is how long sessions are quiet before memory is read: three seconds,
// or SALLYPORT_BENCH_IDLE. The runtime collects what the sign-in and handshake
// left after two minutes at the latest.
func idleWait() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("SALLYPORT_BENCH_IDLE")); err == nil {
		return d
	}
	return 3 * time.Second
}
