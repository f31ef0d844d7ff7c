package upstream_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/bastion/upstream"
)

// Certificates for targets are bound to the address that the bastion dials
// from, so Signer has to hear it.
func TestSignerHearsTheLocalAddress(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	var got netip.Addr
	w.dialer.Signer = func(_ context.Context, r upstream.Request) (ssh.Signer, error) {
		got = r.Local
		return nil, errors.New("enough")
	}
	if _, err := w.dialer.Connect(t.Context(), w.req); err == nil {
		t.Fatal("connected")
	}
	if got != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("the local address is %v", got)
	}
}
