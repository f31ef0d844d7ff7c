package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/recorder/archive"
)

// fill leaves about so many bytes of the disk free.
func fill(t *testing.T, disk string, leave int64) (empty func()) {
	t.Helper()
	free, _, err := archive.Free(disk)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(disk, "filler")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, zeroReader{}, free-leave); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// smallDiskNode is a bastion whose record lies on a disk of 48 MiB.
func smallDiskNode(t *testing.T) (n *ownNode, login, disk string) {
	t.Helper()
	disk = smallDisk(t, "48m")
	n = newNode(t, nodeOptions{data: filepath.Join(disk, "data"), web: "127.0.0.1:0"})
	n.configure("disk: {refuse_below: 16MiB, end_below: 8MiB}\n")
	host := sshtest.StartOpenSSH(t, sshtest.Options{UserCAs: []ssh.PublicKey{n.targetCA()}})
	n.target(host.Addr, host.Login, host.HostKey)
	n.start()
	return n, host.Login, disk
}

// Below the first limit no session begins, below the second running ones end
// with their closing record written; /readyz and the metrics say so; and with
// space again all goes on.
func TestDiskThatFillsUp(t *testing.T) {
	n, login, disk := smallDiskNode(t)
	to := login + "@t1@bastion"
	if a := n.ssh("", to, "echo fine"); a.out != "fine\n" {
		t.Fatalf("before: %+v", a)
	}
	if code, body := n.get("/readyz"); code != http.StatusOK || body != "ready\n" {
		t.Errorf("readyz: %d %q", code, body)
	}
	shown := n.path("shown")
	running := exec.Command("sh", "-c", "exec ssh -F "+n.path("ssh_config")+" "+to+" 'echo up; sleep 60' >"+shown+" 2>&1")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the session", func() bool { b, _ := os.ReadFile(shown); return strings.Contains(string(b), "up") })
	waitFor(t, "it in the metrics", func() bool {
		_, body := n.get("/metrics")
		return strings.Contains(body, "sallyport_sessions_running 1\n")
	})

	fill(t, disk, 12<<20)
	refused(t, n.ssh("", to, "echo never"), "no disk space left to record it")
	if code, body := n.get("/readyz"); code != http.StatusServiceUnavailable || body != "not ready: the bastion has almost no disk space left\n" {
		t.Errorf("readyz: %d %q", code, body)
	}
	if b, _ := os.ReadFile(shown); string(b) != "up\n" {
		t.Errorf("the running session reads %q", b)
	}

	empty := fill(t, disk, 4<<20)
	waitFor(t, "the end of the running session", func() bool {
		b, _ := os.ReadFile(shown)
		return strings.Contains(string(b), "almost no disk space left, so this session was ended")
	})
	if err := running.Wait(); err == nil {
		t.Error("the client thinks that all is well")
	}
	waitFor(t, "the closing record", func() bool { return strings.Contains(n.recordings("complete"), "echo up") })
	if _, body := n.get("/metrics"); !strings.Contains(body, "sallyport_sessions_running 0\n") || !strings.Contains(body, "sallyport_ready 0\n") ||
		!strings.Contains(body, `sallyport_sessions_refused_total{reason="disk"} 1`) || !strings.Contains(body, `sallyport_disk_limit_bytes{of="archive",then="refuse"} 1.6777216e+07`) {
		t.Errorf("metrics:\n%s", body)
	}

	empty()
	waitFor(t, "readiness", func() bool { code, _ := n.get("/readyz"); return code == http.StatusOK })
	if a := n.ssh("", to, "echo again"); a.out != "again\n" {
		t.Errorf("with space again: %+v", a)
	}
}

// get asks the bastion's own web listener.
func (n *ownNode) get(path string) (int, string) {
	n.t.Helper()
	resp, err := http.Get(n.web + path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
