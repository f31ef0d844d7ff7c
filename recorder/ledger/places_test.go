package ledger

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestFilePlaceNeverGoesBack(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	p := FilePlace(filepath.Join(t.TempDir(), "cp"), w.o.Verifier)
	if last, err := p.Last(ctx); last != nil || err != nil {
		t.Errorf("%q %v", last, err)
	}
	var all [][]byte
	for i := range 2 {
		fill(t, l, i, i+1)
		cp, err := l.Checkpoint(ctx)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, cp)
		if err := p.Send(ctx, cp); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Send(ctx, all[0]); !errors.Is(err, ErrRolledBack) {
		t.Errorf("an older one: %v", err)
	}
	if last, err := p.Last(ctx); err != nil || string(last) != string(all[1]) {
		t.Errorf("%q %v", last, err)
	}
	if err := p.Send(ctx, []byte("x")); err == nil {
		t.Error("what is no checkpoint was taken")
	}
}

func TestPublisherTriesAgain(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	var tries atomic.Int64
	got := make(chan string, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch tries.Add(1) {
		case 1:
			rw.WriteHeader(http.StatusBadGateway)
		case 2:
			http.Redirect(rw, r, "/elsewhere", http.StatusTemporaryRedirect)
		default:
			got <- string(b)
		}
	}))
	defer srv.Close()
	place, err := HTTPPlace(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	var failed atomic.Int64
	run, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		(&Publisher{Ledger: l, Places: []Place{place}, Retry: time.Millisecond, Report: func(_ Place, err error) {
			if err != nil {
				failed.Add(1)
			}
		}}).Run(run)
		close(ended)
	}()
	fill(t, l, 0, 2)
	for covers := int64(-1); covers != 2; {
		select {
		case text := <-got:
			tree, err := OpenCheckpoint([]byte(text), w.o.Verifier)
			if err != nil {
				t.Fatal(err)
			}
			covers = tree.N
		case <-time.After(20 * time.Second):
			t.Fatal("nothing came")
		}
	}
	if failed.Load() != 2 {
		t.Errorf("%d tries were reported as failed", failed.Load())
	}
	cancel()
	<-ended
}

func TestSyslogPlaces(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	cp, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
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
		if err := p.Send(ctx, cp); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 8<<10)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		head, text, ok := strings.Cut(string(buf[:n]), " sallyport - checkpoint - ")
		if !ok || !strings.HasPrefix(head, "<109>1 ") {
			t.Errorf("%s: %q", address, buf[:n])
		}
		if _, err := OpenCheckpoint([]byte(strings.ReplaceAll(text, "|", "\n")+"\n"), w.o.Verifier); err != nil {
			t.Errorf("%s: what came is no checkpoint: %v", address, err)
		}
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	p, err := SyslogPlace("tcp://" + tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- p.Send(ctx, cp) }()
	c, err := tcp.Accept()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	c.Close()
	if err := errors.Join(err, <-sent); err != nil || !strings.Contains(string(text), " <109>1 ") {
		t.Errorf("%q %v", text, err)
	}
	for _, bad := range []string{"", "unix://host/x", "udp://host", "http://x", "tcp://x:1/y"} {
		if _, err := SyslogPlace(bad); err == nil {
			t.Errorf("%q is a place", bad)
		}
	}
	for _, bad := range []string{"", "ftp://x", "https://", "x"} {
		if _, err := HTTPPlace(bad); err == nil {
			t.Errorf("%q is an address", bad)
		}
	}
}
