package ledger

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// checkpoints returns the checkpoints of a ledger as it grows to n entries.
func (w *world) checkpoints(n int) (all [][]byte) {
	w.t.Helper()
	l := w.open()
	for i := range n {
		fill(w.t, l, i, i+1)
		cp, err := l.Checkpoint(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, cp)
	}
	return all
}

// otherDisk is a directory on another file system than that of t.TempDir.
func otherDisk(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "sallyport-test-")
	if err != nil {
		t.Skip("there is no other file system to write to: ", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var here, there syscall.Stat_t
	if err := errors.Join(syscall.Stat(t.TempDir(), &here), syscall.Stat(dir, &there)); err != nil {
		t.Fatal(err)
	}
	if here.Dev == there.Dev {
		t.Skip("/dev/shm is on the same file system")
	}
	return dir
}

func TestFilePlaceNeverGoesBack(t *testing.T) {
	w := newWorld(t)
	all := w.checkpoints(3)
	path := filepath.Join(otherDisk(t), "cp")
	p := FilePlace(path, w.o.Verifier)
	if last, err := p.Last(ctx); last != nil || err != nil || p.Name() != path {
		t.Errorf("%q %v", last, err)
	}
	holds := func(want []byte) {
		t.Helper()
		if last, err := p.Last(ctx); err != nil || string(last) != string(want) {
			t.Errorf("%q %v", last, err)
		}
	}
	for _, i := range []int{0, 1, 1} {
		if err := p.Send(ctx, all[i]); err != nil {
			t.Fatal(err)
		}
		holds(all[i])
	}
	if err := p.Send(ctx, all[0]); !errors.Is(err, ErrRolledBack) || !strings.Contains(err.Error(), "remembers 2 entries, and this checkpoint covers 1") {
		t.Errorf("an older one: %v", err)
	}
	forked := &world{t, w.o}
	forked.o.Dir = filepath.Join(t.TempDir(), "forked")
	other := forked.checkpoints(2) // other bodies, so another tree
	if err := p.Send(ctx, other[1]); !errors.Is(err, ErrRolledBack) {
		t.Errorf("another of the same size: %v", err)
	}
	stranger := newWorld(t).checkpoints(3)
	if err := p.Send(ctx, stranger[2]); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another ledger's: %v", err)
	}
	if err := p.Send(ctx, []byte("x")); err == nil {
		t.Error("what is no checkpoint was taken")
	}
	holds(all[1])
	if list, err := os.ReadDir(filepath.Dir(path)); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	for _, there := range []string{"x", string(stranger[0]), strings.Repeat("x", 1<<20)} { // is not written over
		if err := os.WriteFile(path, []byte(there), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.Send(ctx, all[2]); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%v", err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != there {
			t.Errorf("%.20q %v", b, err)
		}
	}
}

// A folder that is gone is a disk that is not mounted, not an empty memory.
func TestFilePlaceWithoutItsFolder(t *testing.T) {
	w := newWorld(t)
	cp := w.checkpoints(1)[0]
	dir := filepath.Join(t.TempDir(), "mnt")
	p := FilePlace(filepath.Join(dir, "cp"), w.o.Verifier)
	if last, err := p.Last(ctx); !errors.Is(err, os.ErrNotExist) || last != nil {
		t.Errorf("%q %v", last, err)
	}
	if err := p.Send(ctx, cp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
}

// A link in the place of the staged file, which others of a shared folder can
// make, leads nowhere.
func TestFilePlaceFollowsNoStagedLink(t *testing.T) {
	w := newWorld(t)
	cp := w.checkpoints(1)[0]
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o600), os.Symlink(victim, filepath.Join(dir, "cp.tmp"))); err != nil {
		t.Fatal(err)
	}
	if err := FilePlace(filepath.Join(dir, "cp"), w.o.Verifier).Send(ctx, cp); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "precious" {
		t.Errorf("%q %v", b, err)
	}
}

// A disk that hangs, as one of another machine can, holds up nobody for longer
// than his context, and does not pile up what waits for it.
func TestFilePlaceThatHangs(t *testing.T) {
	w := newWorld(t)
	cp := w.checkpoints(1)[0]
	path := filepath.Join(t.TempDir(), "cp")
	if out, err := exec.Command("mkfifo", path).CombinedOutput(); err != nil {
		t.Skipf("mkfifo: %v %s", err, out)
	}
	p := FilePlace(path, w.o.Verifier).(*filePlace)
	why := errors.New("enough")
	for range 5 {
		c, cancel := context.WithTimeoutCause(ctx, 20*time.Millisecond, why)
		if _, err := p.Last(c); !errors.Is(err, why) {
			t.Errorf("%v", err)
		}
		if err := p.Send(c, cp); !errors.Is(err, why) {
			t.Errorf("%v", err)
		}
		cancel()
	}
	// It answers again: whoever opens the other end ends the first question.
	if err := os.WriteFile(path, nil, 0); err != nil {
		t.Fatal(err)
	}
	p.busy <- struct{}{}
	<-p.busy
}

func TestHTTPPlaceTakesAnySuccess(t *testing.T) {
	w := newWorld(t)
	cp := w.checkpoints(1)[0]
	var status atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a checkpoint went to where nobody has configured it to go")
	}))
	defer elsewhere.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		if r.Method != http.MethodPost || r.URL.Path != "/cp" || r.URL.RawQuery != "token=secret" || err != nil || string(body) != string(cp) ||
			!strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") || user != "u" || password != "hush" {
			t.Errorf("%s %s %v %q", r.Method, r.URL, r.Header, body)
		}
		rw.Header().Set("Location", elsewhere.URL)
		rw.WriteHeader(int(status.Load()))
	}))
	defer srv.Close()
	p, err := HTTPPlace(strings.Replace(srv.URL, "http://", "http://u:hush@", 1) + "/cp?token=secret")
	if err != nil {
		t.Fatal(err)
	}
	if p.Name() != srv.URL+"/cp" {
		t.Errorf("its name is %s", p.Name())
	}
	for code, ok := range map[int]bool{200: true, 201: true, 204: true, 299: true, 301: false, 302: false, 307: false, 308: false, 400: false, 404: false, 503: false} {
		status.Store(int64(code))
		if err := p.Send(ctx, cp); (err == nil) != ok || err != nil && !strings.Contains(err.Error(), fmt.Sprint(code)) {
			t.Errorf("status %d: %v", code, err)
		}
	}
	if last, err := p.Last(ctx); last != nil || err != nil {
		t.Errorf("%q %v", last, err)
	}
	srv.Close()
	if err := p.Send(ctx, cp); err == nil || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "ftp://x", "https://", "x"} {
		if _, err := HTTPPlace(bad); err == nil {
			t.Errorf("%q is an address", bad)
		}
	}
}

// A server whose certificate nobody vouches for gets nothing.
func TestHTTPPlaceChecksTheCertificate(t *testing.T) {
	w := newWorld(t)
	cp := w.checkpoints(1)[0]
	var got atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // it is told of the handshake that fails
	srv.StartTLS()
	defer srv.Close()
	p, err := HTTPPlace(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Send(ctx, cp); err == nil || !strings.Contains(err.Error(), "certificate") || got.Load() != 0 {
		t.Errorf("%v", err)
	}
	// With its authority among those of the system, which is asked once per
	// process, it does. The child has the same server's address.
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestHTTPPlaceChild$", "-test.v")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+ca, "SALLYPORT_TEST_HTTPS="+srv.URL)
	if out, err := cmd.CombinedOutput(); err != nil || got.Load() != 1 {
		t.Errorf("%v, %d came: %s", err, got.Load(), out)
	}
}

func TestHTTPPlaceChild(t *testing.T) {
	address := os.Getenv("SALLYPORT_TEST_HTTPS")
	if address == "" {
		return // it is a test only as a child
	}
	p, err := HTTPPlace(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Send(ctx, []byte("x")); err != nil {
		t.Fatal(err)
	}
}

func TestSyslogPlaces(t *testing.T) {
	w := newWorld(t)
	cp := w.checkpoints(1)[0]
	message := func(address, text string) {
		t.Helper()
		head, text, ok := strings.Cut(text, " sallyport - checkpoint - ")
		if !ok || !strings.HasPrefix(head, "<109>1 ") || len(strings.Fields(head)) != 3 {
			t.Errorf("%s: %q", address, head)
		} else if _, err := time.Parse(time.RFC3339, strings.Fields(head)[1]); err != nil {
			t.Error(err)
		}
		if back := strings.ReplaceAll(text, "|", "\n") + "\n"; back != string(cp) {
			t.Errorf("%s: %q came", address, back)
		}
	}
	sock := filepath.Join(t.TempDir(), "log")
	unixConn, err := net.ListenPacket("unixgram", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer unixConn.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for address, conn := range map[string]net.PacketConn{"unix://" + sock: unixConn, "udp://" + udp.LocalAddr().String(): udp} {
		p, err := SyslogPlace(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Send(ctx, cp); err != nil || p.Name() != address {
			t.Fatal(err)
		}
		buf := make([]byte, 8<<10)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		message(address, string(buf[:n]))
	}
	stream := filepath.Join(t.TempDir(), "stream")
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": stream} {
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		p, err := SyslogPlace(map[string]string{"tcp": "tcp://" + ln.Addr().String(), "unix": "unix://" + stream}[network])
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() { sent <- p.Send(ctx, cp) }()
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(c)
		if err := errors.Join(err, <-sent, c.Close(), ln.Close()); err != nil {
			t.Error(err)
		}
		text := string(raw)
		if network == "tcp" {
			length, rest, _ := strings.Cut(text, " ")
			if length != fmt.Sprint(len(rest)) {
				t.Errorf("length %s of %d bytes", length, len(rest))
			}
			message(network, rest)
		} else {
			message(network, strings.TrimSuffix(text, "\n"))
			if !strings.HasSuffix(text, "\n") {
				t.Errorf("no end: %q", text)
			}
		}
		if err := p.Send(ctx, cp); err == nil {
			t.Errorf("%s: nobody took it, and it was sent", network)
		}
	}
	for _, bad := range []string{"", "unix://host/x", "udp://host", "http://x", "tcp://x:1/y"} {
		if _, err := SyslogPlace(bad); err == nil {
			t.Errorf("%q is a place", bad)
		}
	}
}
