package proxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
	"sallyport/bastion/sshtest"
	"sallyport/policy"
)

// fakeRecording is a fake: it keeps a session in memory, is "durable" at
// once, and fails where a test tells it to. The one with a disk is package
// recorder's; sshd_test.go uses it.
type fakeRecording struct {
	failInputAfter  int // accept so many bytes of input and then none; negative: all
	failOutputAfter int
	failClose       error
	failResize      error
	maxPending      int
	before          func(what string) // runs first in Input, Output and Close
	onClose         func()

	mu          sync.Mutex
	cond        *sync.Cond
	accepted    map[policy.Stream][]byte
	taken       map[policy.Stream]int
	closedOut   map[policy.Stream]bool
	marks       []string
	sizes       [][2]int
	ended       []policy.End
	failed      chan struct{}
	err         error
	inputCalls  int
	largestRead int
}

func newFakeRecording() *fakeRecording {
	r := &fakeRecording{
		failInputAfter: -1, failOutputAfter: -1, maxPending: 1 << 20,
		accepted: map[policy.Stream][]byte{}, taken: map[policy.Stream]int{}, closedOut: map[policy.Stream]bool{},
		failed: make(chan struct{}),
	}
	r.cond = sync.NewCond(&r.mu)
	return r
}

var errDisk = errors.New("no space left on device")

func (r *fakeRecording) do(what string) {
	if r.before != nil {
		r.before(what)
	}
}

func (r *fakeRecording) Output(s policy.Stream, p []byte) error {
	r.do("output")
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.err == nil && len(r.ended) == 0 && len(r.accepted[s])-r.taken[s] > r.maxPending {
		r.cond.Wait()
	}
	if r.err != nil {
		return r.err
	}
	if len(r.ended) > 0 {
		return errors.New("closed")
	}
	if n := r.failOutputAfter; n >= 0 && len(r.accepted[s])+len(p) > n {
		return errDisk
	}
	r.accepted[s] = append(r.accepted[s], p...)
	r.largestRead = max(r.largestRead, len(p))
	r.cond.Broadcast()
	return nil
}

func (r *fakeRecording) CloseOutput(s policy.Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closedOut[s] = true
	r.cond.Broadcast()
}

func (r *fakeRecording) Next(s policy.Stream) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if r.err != nil {
			return nil, r.err
		}
		if all, n := r.accepted[s], r.taken[s]; n < len(all) {
			end := min(len(all), n+64<<10)
			r.taken[s] = end
			r.cond.Broadcast()
			return all[n:end], nil
		}
		if r.closedOut[s] || len(r.ended) > 0 {
			return nil, io.EOF
		}
		r.cond.Wait()
	}
}

func (r *fakeRecording) Input(p []byte) error {
	r.do("input")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inputCalls++
	if r.err != nil {
		return r.err
	}
	if len(r.ended) > 0 {
		return errors.New("closed")
	}
	if n := r.failInputAfter; n >= 0 && len(r.accepted['i'])+len(p) > n {
		return errDisk
	}
	r.accepted['i'] = append(r.accepted['i'], p...)
	return nil
}

func (r *fakeRecording) Resize(cols, rows int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sizes = append(r.sizes, [2]int{cols, rows})
	return r.failResize
}

func (r *fakeRecording) Marker(text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = append(r.marks, text)
	return nil
}

func (r *fakeRecording) Failed() <-chan struct{} { return r.failed }

func (r *fakeRecording) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// fail makes the recording fail as an fsync error in the background would.
func (r *fakeRecording) fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = errDisk
		close(r.failed)
		r.cond.Broadcast()
	}
}

func (r *fakeRecording) Close(end policy.End) (policy.Summary, error) {
	r.do("close")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.onClose != nil {
		r.onClose()
	}
	r.ended = append(r.ended, end)
	r.cond.Broadcast()
	if r.failClose != nil {
		return policy.Summary{}, r.failClose
	}
	return policy.Summary{
		State: policy.RecordingComplete, End: end, InputBytes: int64(len(r.accepted['i'])),
		OutputBytes: int64(len(r.accepted['o'])), StderrBytes: int64(len(r.accepted['e'])),
	}, r.err
}

func (r *fakeRecording) got(s policy.Stream) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.accepted[s])
}

// result is what Run returned.
type result struct {
	summary policy.Summary
	end     policy.End
	err     error
	took    time.Duration
}

// rig is a user's client and a target, each on an SSH connection of its own
// over loopback, with Run between them.
type rig struct {
	t          testing.TB
	userConn   ssh.Conn
	user       ssh.Channel         // the client's end
	userReqs   <-chan *ssh.Request // what the client is asked or told
	targetConn ssh.Conn
	target     ssh.Channel // the target's end
	targetReqs <-chan *ssh.Request
	rec        *fakeRecording
	cancel     context.CancelCauseFunc
	done       chan result
}

// newRig starts Run. Edit may change the options; without Start in them the
// session is granted at once.
func newRig(t testing.TB, rec *fakeRecording, edit func(*proxy.Options)) *rig {
	t.Helper()
	if rec == nil {
		rec = newFakeRecording()
	}
	r := &rig{t: t, rec: rec, done: make(chan result, 1)}
	var o proxy.Options
	// The client dials the bastion; the bastion dials the target.
	r.userConn, r.user, r.userReqs, o.Client = connection(t, false)
	r.targetConn, r.target, r.targetReqs, o.Target = connection(t, true)
	o.Recording = rec
	o.Session = "01test"
	if edit != nil {
		edit(&o)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r.cancel = cancel
	t.Cleanup(func() { cancel(nil) })
	go func() {
		begun := time.Now()
		summary, end, err := proxy.Run(ctx, o)
		r.done <- result{summary, end, err, time.Since(begun)}
	}()
	return r
}

// connection opens an SSH connection and one session channel on it. It returns
// the far end's connection, channel and requests and the near end, which is
// the bastion's. The bastion is the one that dialled if dials is true.
func connection(t testing.TB, dials bool) (ssh.Conn, ssh.Channel, <-chan *ssh.Request, proxy.Side) {
	t.Helper()
	client, server, chans := connect(t)
	accepted := make(chan proxy.Side, 1)
	go func() {
		if ch, reqs, err := (<-chans).Accept(); err == nil {
			accepted <- proxy.Side{Channel: ch, Requests: reqs}
		}
	}()
	ch, reqs, err := client.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := <-accepted
	go func() {
		for n := range chans {
			n.Reject(ssh.Prohibited, "")
		}
	}()
	if dials {
		return server, answer.Channel, answer.Requests, proxy.Side{Channel: ch, Requests: reqs}
	}
	return client, ch, reqs, answer
}

// connect makes an SSH connection over loopback; both ends are closed with the
// test.
func connect(t testing.TB) (client, server ssh.Conn, opened <-chan ssh.NewChannel) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(sshtest.NewSigner(t))
	got := make(chan ssh.Conn, 1)
	var incoming <-chan ssh.NewChannel
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			return
		}
		conn, chans, reqs, err := ssh.NewServerConn(raw, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(reqs)
		incoming = chans
		got <- conn
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, chans, reqs, err := ssh.NewClientConn(raw, "", &ssh.ClientConfig{
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		Config:          ssh.Config{Ciphers: []string{ssh.CipherAES128GCM}},
	})
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	go func() {
		for n := range chans {
			n.Reject(ssh.Prohibited, "")
		}
	}()
	server = <-got
	t.Cleanup(func() { conn.Close(); server.Close() })
	return conn, server, incoming
}

// wait returns what Run returned, and fails the test after ten seconds.
func (r *rig) wait() result {
	r.t.Helper()
	select {
	case res := <-r.done:
		return res
	case <-time.After(10 * time.Second):
		r.t.Fatal("Run did not return")
		panic("unreachable")
	}
}

// exit ends the session as a target does.
func (r *rig) exit(status uint32) {
	r.t.Helper()
	if _, err := r.target.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status})); err != nil {
		r.t.Errorf("exit-status: %v", err)
	}
	r.target.CloseWrite()
	r.target.Close()
}

// seen is what the client got until its channel was closed.
type seen struct {
	out, errs []byte
	requests  []string // types, in order; exit-status with its payload
}

// see reads all that the client gets, on goroutines that end with the channel.
func (r *rig) see() <-chan seen {
	done := make(chan seen, 1)
	go func() {
		var s seen
		var wg sync.WaitGroup
		wg.Go(func() { s.out, _ = io.ReadAll(r.user) })
		wg.Go(func() { s.errs, _ = io.ReadAll(r.user.Stderr()) })
		for q := range r.userReqs {
			s.requests = append(s.requests, q.Type+" "+string(q.Payload))
			q.Reply(false, nil)
		}
		r.user.Close()
		wg.Wait()
		done <- s
	}()
	return done
}

// within fails the test when c gives nothing in d.
func within[T any](t testing.TB, d time.Duration, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(d):
		t.Fatalf("%s: nothing in %v", what, d)
		panic("unreachable")
	}
}
