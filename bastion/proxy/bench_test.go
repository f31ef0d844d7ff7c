package proxy_test

import (
	"io"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
	"sallyport/policy"
)

// fakePassRecording is a fake that holds one chunk per stream in memory: what
// is left is the cost of Run and its two SSH connections.
type fakePassRecording struct {
	*fakeRecording
	chunks map[policy.Stream]*passing
}

type passing struct {
	buf         []byte
	full, empty chan int
	out         bool // Next has handed the chunk out; its caller's alone
}

func newFakePassRecording() *fakePassRecording {
	r := &fakePassRecording{newFakeRecording(), map[policy.Stream]*passing{}}
	for _, s := range []policy.Stream{policy.StreamOutput, policy.StreamStderr} {
		r.chunks[s] = &passing{buf: make([]byte, 64<<10), full: make(chan int, 1), empty: make(chan int, 1)}
		r.chunks[s].empty <- 0
	}
	return r
}

func (r *fakePassRecording) Output(s policy.Stream, p []byte) error {
	c := r.chunks[s]
	<-c.empty
	c.full <- copy(c.buf, p)
	return nil
}

func (r *fakePassRecording) CloseOutput(s policy.Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closedOut[s] {
		r.closedOut[s] = true
		close(r.chunks[s].full)
	}
}

func (r *fakePassRecording) Next(s policy.Stream) ([]byte, error) {
	c := r.chunks[s]
	if c.out {
		c.empty <- 0
	}
	n, ok := <-c.full
	if c.out = ok; !ok {
		return nil, io.EOF
	}
	return c.buf[:n], nil
}

func (r *fakePassRecording) Input([]byte) error { return nil }

// eachPath runs f on the ways whose cost is to be compared: one SSH connection,
// and two with Run between them, on a fake and on the recorder with its disk.
func eachPath(b *testing.B, f func(b *testing.B, user, target ssh.Channel)) {
	b.Run("direct", func(b *testing.B) {
		_, user, reqs, near := connection(b, false)
		go ssh.DiscardRequests(reqs)
		go ssh.DiscardRequests(near.Requests)
		f(b, user, near.Channel)
	})
	through := func(rec proxy.Recording) func(*testing.B) {
		return func(b *testing.B) {
			r := newRig(b, nil, func(o *proxy.Options) { o.Recording = rec })
			go ssh.DiscardRequests(r.userReqs)
			go ssh.DiscardRequests(r.targetReqs)
			f(b, r.user, r.target)
			r.exit(0)
			io.Copy(io.Discard, r.user)
			r.user.Close()
			within(b, 10*time.Second, "Run", r.done)
		}
	}
	b.Run("fake", func(b *testing.B) { through(newFakePassRecording())(b) })
	b.Run("recorder", func(b *testing.B) {
		rec, err := newShelf(b, nil).Open(b.Context(), policy.Session{ID: policy.NewSessionID(time.Now()), Start: time.Now()})
		if err != nil {
			b.Fatal(err)
		}
		through(rec)(b)
	})
}

// BenchmarkEcho is one key to the target and back.
func BenchmarkEcho(b *testing.B) {
	eachPath(b, func(b *testing.B, user, target ssh.Channel) {
		go func() {
			buf := make([]byte, 256)
			for {
				n, err := target.Read(buf)
				if err != nil {
					return
				}
				target.Write(buf[:n])
			}
		}()
		key := []byte{'x'}
		took := make([]time.Duration, 0, 1<<16)
		b.ReportAllocs()
		for b.Loop() {
			begun := time.Now()
			if _, err := user.Write(key); err != nil {
				b.Fatal(err)
			}
			if _, err := user.Read(key); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
		b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
	})
}

// BenchmarkBulk is output of text, 1 MiB an operation.
func BenchmarkBulk(b *testing.B) {
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = "the quick brown fox jumps over the lazy dog 0123456789 and goes home.\n"[i%70]
	}
	eachPath(b, func(b *testing.B, user, target ssh.Channel) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		sink := make([]byte, 64<<10)
		for b.Loop() {
			go target.Write(text)
			for left := len(text); left > 0; {
				n, err := user.Read(sink)
				if err != nil {
					b.Fatal(err)
				}
				left -= n
			}
		}
	})
}
