package proxy

import (
	"io"
	"testing"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// chunks yields n reads of size bytes and then EOF.
type chunks struct{ n, size int }

func (c *chunks) Read(p []byte) (int, error) {
	if c.n == 0 {
		return 0, io.EOF
	}
	c.n--
	return min(c.size, len(p)), nil
}

// fakeNullRecording is a fake that accepts everything and keeps nothing.
type fakeNullRecording struct {
	next chan []byte // what Next returns
}

func (fakeNullRecording) Output(policy.Stream, []byte) error { return nil }
func (fakeNullRecording) CloseOutput(policy.Stream)          {}
func (r fakeNullRecording) Next(policy.Stream) ([]byte, error) {
	p, ok := <-r.next
	if !ok {
		return nil, io.EOF
	}
	return p, nil
}
func (fakeNullRecording) Input([]byte) error                           { return nil }
func (fakeNullRecording) Resize(int, int) error                        { return nil }
func (fakeNullRecording) Failed() <-chan struct{}                      { return nil }
func (fakeNullRecording) Err() error                                   { return nil }
func (fakeNullRecording) Close(policy.End) (s policy.Summary, _ error) { return s, nil }

// nullChannel takes everything.
type nullChannel struct {
	ssh.Channel
	r io.Reader
}

func (c nullChannel) Read(p []byte) (int, error)  { return c.r.Read(p) }
func (c nullChannel) Write(p []byte) (int, error) { return len(p), nil }
func (c nullChannel) CloseWrite() error           { return nil }

// No direction allocates for each chunk, small or large.
func TestNoAllocationPerChunk(t *testing.T) {
	small := make([]byte, outputBuffer)
	for _, size := range []int{1, 700, outputBuffer, bigBuffer} {
		measure := func(n int) float64 {
			return testing.AllocsPerRun(5, func() {
				src := &chunks{n, size}
				rec := &fakeNullRecording{next: make(chan []byte, n)}
				s := &session{inputDone: make(chan struct{}), o: Options{
					Client: Side{Channel: nullChannel{r: src}}, Target: Side{Channel: nullChannel{}}, Recording: rec,
				}}
				s.pumpInput(small)
				s.record(&chunks{n, size}, policy.StreamOutput, small, nil)
				for range n {
					rec.next <- small[:min(size, len(small))]
				}
				close(rec.next)
				s.deliver(nullChannel{}, policy.StreamStderr, &s.stderrMu)
			})
		}
		if few, many := measure(10), measure(1000); many > few+5 {
			t.Errorf("chunks of %d bytes: %v allocations for 10, %v for 1000", size, few, many)
		}
	}
}

// A buffer is big only while data comes in bulk.
func TestBufferGrowsAndShrinks(t *testing.T) {
	b := buffer{small: make([]byte, 2048)}
	for _, c := range []struct{ read, next int }{
		{1, 2048}, {2047, 2048}, {2048, bigBuffer}, {bigBuffer, bigBuffer}, {2049, bigBuffer}, {2048, bigBuffer}, {2047, 2048}, {1, 2048},
	} {
		if b.adapt(c.read); len(b.bytes()) != c.next {
			t.Errorf("after a read of %d the buffer has %d bytes, want %d", c.read, len(b.bytes()), c.next)
		}
	}
}
