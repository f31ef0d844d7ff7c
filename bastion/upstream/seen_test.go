package upstream_test

import (
	"context"
	"reflect"
	"testing"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/bastion/upstream"
	"sallyport/policy"
)

// T12: what a target asks for on its own account gets a no, and is counted.
func TestT12WhatTheTargetBeginsIsSeen(t *testing.T) {
	channels := []string{"forwarded-tcpip", "forwarded-streamlocal@openssh.com", "x11", "auth-agent@openssh.com", "session", "direct-tcpip", "made up\x1b[2J"}
	globals := []string{"hostkeys-00@openssh.com", "keepalive@openssh.com", "tcpip-forward", "made-up@example.com"}
	asked := make(chan struct{})
	host := sshtest.StartHostileTarget(t, func(c ssh.Conn, chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) {
		go ssh.DiscardRequests(reqs)
		for range 2 {
			for _, typ := range channels {
				if _, _, err := c.OpenChannel(typ, nil); err == nil {
					t.Errorf("%q was opened", typ)
				}
			}
			for _, typ := range globals {
				if ok, _, err := c.SendRequest(typ, true, nil); ok || err != nil {
					t.Errorf("%q: %v, %v", typ, ok, err)
				}
			}
		}
		close(asked)
		for range chans {
		}
	})
	signer := sshtest.NewSigner(t)
	d := &upstream.Dialer{Signer: func(context.Context, upstream.Request) (ssh.Signer, error) { return signer, nil }}
	c, err := d.Connect(t.Context(), upstream.Request{Login: "root",
		Target: policy.Target{Name: "db1", Address: host.Addr, HostKeys: []string{sshtest.AuthorizedKey(host.HostKey)}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-asked
	got := map[[2]string]policy.Channel{}
	for _, s := range c.Seen() {
		got[[2]string{s.Kind, s.Type}] = s
	}
	want := map[[2]string]policy.Channel{}
	for kind, types := range map[string][]string{policy.KindChannel: channels, policy.KindGlobal: globals} {
		for _, typ := range types {
			name := policy.ShowType(typ)
			s := policy.Channel{Kind: kind, Type: name, From: policy.FromTarget, Count: 2, Note: "refused: nothing is forwarded"}
			switch typ {
			case "session":
				s.Note = "refused: not allowed here, or malformed"
			case "made up\x1b[2J", "made-up@example.com":
				s.Note = "refused: unknown type"
			case "hostkeys-00@openssh.com":
				s.Note = "ignored: host keys are configured, not learned"
			case "keepalive@openssh.com":
				s.Note = "answered here; it carries nothing"
			}
			want[[2]string{kind, name}] = s
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("seen %+v\nwant %+v", got, want)
	}
	if c.Address() != host.Addr || string(c.HostKey()) != ssh.FingerprintSHA256(host.HostKey) {
		t.Errorf("reached %s with %s", c.Address(), c.HostKey())
	}
}
