package proxy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
	"sallyport/bastion/sshtest"
	"sallyport/bastion/upstream"
	"sallyport/policy"
)

// door is the least that a bastion must be for Run: it takes every session of
// one client connection to an sshd and records it on disk.
type door struct {
	t      *testing.T
	host   *sshtest.OpenSSH
	client *ssh.Client // to the door
	direct *ssh.Client // to the host, past it
	rec    *shelf

	mu    sync.Mutex
	ids   []policy.SessionID
	ended chan result
}

func newDoor(t *testing.T) *door {
	t.Helper()
	ca, key := sshtest.NewSigner(t), sshtest.NewSigner(t)
	d := &door{t: t, rec: newShelf(t, nil), ended: make(chan result, 64)}
	d.host = sshtest.StartOpenSSH(t, sshtest.Options{
		UserCAs: []ssh.PublicKey{ca.PublicKey()}, AuthorizedKeys: []ssh.PublicKey{key.PublicKey()},
		Config: []string{"MaxSessions 50"},
	})
	dialer := upstream.Dialer{Signer: func(context.Context, upstream.Request) (ssh.Signer, error) {
		return sshtest.UserCertificate(t, ca, []string{d.host.Login}, nil), nil
	}}
	up, err := dialer.Connect(t.Context(), upstream.Request{
		Target: policy.Target{Name: "db1", Address: d.host.Addr, HostKeys: []string{sshtest.AuthorizedKey(d.host.HostKey)}},
		Login:  policy.Login(d.host.Login),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	conn, _, opened := connect(t)
	go func() {
		for n := range opened {
			go d.serve(n, up)
		}
	}()
	none := make(chan ssh.NewChannel)
	close(none)
	d.client = ssh.NewClient(conn, none, make(chan *ssh.Request))
	d.direct, err = ssh.Dial("tcp", d.host.Addr, &ssh.ClientConfig{
		User: d.host.Login, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(d.host.HostKey),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.direct.Close() })
	return d
}

func (d *door) serve(n ssh.NewChannel, up *upstream.Conn) {
	ch, reqs, err := n.Accept()
	if err != nil {
		return
	}
	s := policy.Session{ID: policy.NewSessionID(time.Now()), Start: time.Now(), Cols: 80, Rows: 24}
	var start []proxy.Request
	for q := range reqs {
		last := q.Type == "exec" || q.Type == "shell" || q.Type == "subsystem"
		r := proxy.Request{Type: q.Type, Payload: q.Payload}
		if last {
			r.Reply = func(ok bool) { q.Reply(ok, nil) }
		} else {
			q.Reply(true, nil) // the client goes on only then
		}
		start = append(start, r)
		s.TTY = s.TTY || q.Type == "pty-req"
		if last {
			break
		}
	}
	rec, err := d.rec.Open(d.t.Context(), s)
	if err != nil {
		d.t.Errorf("recording: %v", err)
		ch.Close()
		return
	}
	d.mu.Lock()
	d.ids = append(d.ids, s.ID)
	d.mu.Unlock()
	tc, treqs, err := up.OpenSession(d.t.Context())
	if err != nil {
		d.t.Errorf("session: %v", err)
		ch.Close()
		return
	}
	summary, end, err := proxy.Run(d.t.Context(), proxy.Options{
		Client: proxy.Side{Channel: ch, Requests: reqs}, Target: proxy.Side{Channel: tc, Requests: treqs},
		Recording: rec, Start: start, Session: s.ID,
	})
	d.ended <- result{summary: summary, end: end, err: err}
}

// recorded returns the bytes of one recording's streams.
func (d *door) recorded(id policy.SessionID) map[byte][]byte {
	d.t.Helper()
	return d.rec.streams(d.t, id)
}

// ran is one command with its three streams.
type ran struct {
	out, errs []byte
	err       error
}

func run(t *testing.T, c *ssh.Client, command string, in []byte, prepare func(*ssh.Session)) ran {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out, errs bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = bytes.NewReader(in), &out, &errs
	if prepare != nil {
		prepare(s)
	}
	err = s.Run(command)
	return ran{out.Bytes(), errs.Bytes(), err}
}

// T10: a command without a terminal, in all three streams, byte for byte,
// against Debian's sshd and the recording on disk; and its exit status.
func TestT10StreamsAreByteExact(t *testing.T) {
	d := newDoor(t)
	in := make([]byte, 3<<20)
	rand.Read(in)
	got := run(t, d.client, `tee /dev/fd/2; exit 37`, in, nil)
	var exit *ssh.ExitError
	if !errors.As(got.err, &exit) || exit.ExitStatus() != 37 {
		t.Errorf("exit: %v", got.err)
	}
	if !bytes.Equal(got.out, in) || !bytes.Equal(got.errs, in) {
		t.Errorf("%d bytes of output and %d of stderr differ from %d of input", len(got.out), len(got.errs), len(in))
	}
	res := within(t, 5*time.Second, "Run", d.ended)
	if res.err != nil || res.summary.State != policy.RecordingComplete || *res.end.ExitStatus != 37 {
		t.Errorf("result %+v", res)
	}
	streams := d.recorded(d.ids[0])
	for _, s := range []byte("oei") {
		if !bytes.Equal(streams[s], in) {
			t.Errorf("stream %c: %d bytes recorded, digest %x", s, len(streams[s]), sha256.Sum256(streams[s]))
		}
	}
}

// T10: several sessions on one connection, each with its own recording.
func TestT10ManySessionsOnOneConnection(t *testing.T) {
	d := newDoor(t)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			word := strings.Repeat(fmt.Sprintf("session-%02d ", i), 5000)
			got := run(t, d.client, fmt.Sprintf("cat; exit %d", i), []byte(word), nil)
			var exit *ssh.ExitError
			if status := errors.As(got.err, &exit); string(got.out) != word || status != (i > 0) || i > 0 && exit.ExitStatus() != i {
				t.Errorf("session %d: %d bytes, %v", i, len(got.out), got.err)
			}
		})
	}
	wg.Wait()
	found := map[string]bool{}
	for range 12 {
		within(t, 5*time.Second, "Run", d.ended)
	}
	for _, id := range d.ids {
		s := d.recorded(id)
		if !bytes.Equal(s['o'], s['i']) || len(s['o']) == 0 {
			t.Errorf("%s: %d bytes out, %d in", id, len(s['o']), len(s['i']))
			continue
		}
		found[string(s['o'][:10])] = true
	}
	if len(found) != 12 {
		t.Errorf("%d different recordings, want 12", len(found))
	}
}

// A terminal is the same as on a direct connection: modes, size, exit.
func TestTerminalAsIfDirect(t *testing.T) {
	d := newDoor(t)
	pty := func(s *ssh.Session) {
		modes := ssh.TerminalModes{ssh.ECHO: 0, ssh.ICANON: 1, ssh.VINTR: 5, ssh.ONLCR: 1, ssh.TTY_OP_ISPEED: 38400, ssh.TTY_OP_OSPEED: 38400}
		if err := s.RequestPty("screen", 47, 133, modes); err != nil {
			t.Error(err)
		}
	}
	for _, command := range []string{
		"stty -a; echo $TERM", `printf '\377\303\050\xe2\x82'; exit 3`, "kill -KILL $$", "echo to stderr >&2; exit 1", "seq 20000",
	} {
		want, got := run(t, d.direct, command, nil, pty), run(t, d.client, command, nil, pty)
		if !bytes.Equal(want.out, got.out) || !bytes.Equal(want.errs, got.errs) || fmt.Sprint(want.err) != fmt.Sprint(got.err) {
			t.Errorf("%s: got %q %q %v,\nwant %q %q %v", command, clip(got.out), got.errs, got.err, clip(want.out), want.errs, want.err)
		}
		res := within(t, 5*time.Second, "Run", d.ended)
		if res.err != nil {
			t.Errorf("%s: %v", command, res.err)
		}
		d.mu.Lock()
		id := d.ids[len(d.ids)-1]
		d.mu.Unlock()
		if out := d.recorded(id)['o']; !bytes.Equal(out, want.out) {
			t.Errorf("%s: recorded %q, want %q", command, clip(out), clip(want.out))
		}
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 2000)] }

// A window change reaches the program in the terminal.
func TestWindowChangeArrives(t *testing.T) {
	d := newDoor(t)
	s, err := d.client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StdinPipe(); err != nil { // else stdin is at EOF
		t.Fatal(err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(`trap 'stty size; exit 12' WINCH; echo ready; while :; do sleep 0.05; done`); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\r\n"))); err != nil {
		t.Fatal(err)
	}
	if err := s.WindowChange(51, 171); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(out)
	var exit *ssh.ExitError
	if err := s.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 12 || string(rest) != "51 171\r\n" {
		t.Errorf("output %q, exit %v", rest, err)
	}
	within(t, 5*time.Second, "Run", d.ended)

}

// A signal reaches the program, and how it died comes back. This host is not
// sshd: sshd signals nothing for root.
func TestSignalArrives(t *testing.T) {
	key := sshtest.NewSigner(t)
	host := sshtest.StartHost(t, sshtest.Options{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}})
	up, err := ssh.Dial("tcp", host.Addr, &ssh.ClientConfig{
		User: "someone", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(host.HostKey),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	ch, reqs, err := up.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, user, userReqs, client := connection(t, false)
	done := make(chan policy.End, 1)
	go func() {
		_, end, _ := proxy.Run(t.Context(), proxy.Options{
			Client: client, Target: proxy.Side{Channel: ch, Requests: reqs}, Recording: newFakeRecording(),
			Start: []proxy.Request{{Type: "exec", Payload: ssh.Marshal(struct{ C string }{"echo ready; exec sleep 30"})}},
		})
		done <- end
	}()
	if _, err := io.ReadFull(user, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	user.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"TERM"}))
	if q := within(t, 5*time.Second, "exit", userReqs); q.Type != "exit-signal" {
		t.Errorf("exit %+v", q)
	}
	if end := within(t, 5*time.Second, "Run", done); end.ExitSignal != "TERM" || end.Reason != "" {
		t.Errorf("end %+v", end)
	}
}

// A client that vanishes takes its program with it, as it does without us.
func TestVanishedClientEndsTheProgram(t *testing.T) {
	d := newDoor(t)
	s, err := d.client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	marker := t.TempDir() + "/hup"
	if err := s.Start("trap 'echo gone > " + marker + "; exit' HUP; echo ready; while :; do sleep 0.05; done"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	d.client.Close()
	res := within(t, 5*time.Second, "Run", d.ended)
	if res.end.Reason != "the client went away" || res.err != nil {
		t.Errorf("result %+v", res)
	}
	got := run(t, d.direct, "for i in $(seq 100); do test -e "+marker+" && break; sleep 0.05; done; cat "+marker, nil, nil)
	if string(got.out) != "gone\n" {
		t.Errorf("the program lives: %q %v", got.errs, got.err)
	}
}
