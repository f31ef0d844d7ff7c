package upstream_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bastion/sshtest"
	"sallyport/bastion/upstream"
)

// offered returns the name-lists of the client's SSH_MSG_KEXINIT (RFC 4253,
// section 7.1), which is sent in the clear.
func offered(t *testing.T, w *world) [][]string {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	server.SetDeadline(time.Now().Add(5 * time.Second))
	w.dialer.Dial = func(context.Context, string, string) (net.Conn, error) { return client, nil }
	go w.dialer.Connect(t.Context(), w.req)
	r := bufio.NewReader(server)
	version, err := r.ReadString('\n')
	if err != nil || version != "SSH-2.0-Sallyport\r\n" {
		t.Errorf("version %q, %v", version, err)
	}
	go io.WriteString(server, "SSH-2.0-test\r\n")
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, binary.BigEndian.Uint32(head[:4])-1)
	if _, err := io.ReadFull(r, packet); err != nil {
		t.Fatal(err)
	}
	rest := packet[17:] // message number and cookie
	var lists [][]string
	for range 8 {
		n := binary.BigEndian.Uint32(rest)
		lists = append(lists, strings.Split(string(rest[4:4+n]), ","))
		rest = rest[4+n:]
	}
	return lists
}

// The algorithms are the ones of DESIGN section 7 and no others.
func TestAlgorithms(t *testing.T) {
	w := newWorld(t, sshtest.Options{}, "")
	lists := offered(t, w)
	kex := slices.DeleteFunc(lists[0], func(s string) bool { return s == "ext-info-c" || strings.HasPrefix(s, "kex-strict-c") })
	check := func(what string, got []string, want ...string) {
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("kex", kex, "mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org")
	plain := []string{"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256"}
	check("host keys", lists[1], plain...)
	for _, i := range []int{2, 3} {
		check("ciphers", lists[i], "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr")
	}
	for _, i := range []int{4, 5} {
		check("MACs", lists[i], "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
	}
	for _, i := range []int{6, 7} {
		check("compression", lists[i], "none")
	}
	w.req.Target.HostCAs = w.req.Target.HostKeys
	if got := offered(t, w)[1]; got[0] != "ssh-ed25519-cert-v01@openssh.com" || slices.Contains(got, "ssh-rsa") {
		t.Errorf("with a CA: %q", got)
	}
}

// Debian's sshd takes each of them, and what is not listed fails with a name.
func TestAlgorithmsAgainstSSHD(t *testing.T) {
	for _, line := range []string{
		"KexAlgorithms curve25519-sha256", "KexAlgorithms curve25519-sha256@libssh.org",
		"Ciphers aes128-gcm@openssh.com", "Ciphers aes256-gcm@openssh.com", "Ciphers chacha20-poly1305@openssh.com",
		"Ciphers aes256-ctr\nMACs hmac-sha2-256-etm@openssh.com", "Ciphers aes256-ctr\nMACs hmac-sha2-512-etm@openssh.com",
	} {
		w := newWorld(t, sshtest.Options{Config: []string{line}}, "")
		w.connect(t)
	}
	for _, line := range []string{
		"KexAlgorithms ecdh-sha2-nistp256", "KexAlgorithms diffie-hellman-group14-sha256", "Ciphers aes128-ctr",
		"Ciphers aes256-ctr\nMACs hmac-sha1", "Ciphers aes256-ctr\nMACs hmac-sha2-256",
	} {
		w := newWorld(t, sshtest.Options{Config: []string{line}}, "")
		w.refuse(t, upstream.Protocol, "does not speak SSH as the bastion expects")
	}
}
