package proxy

import (
	"errors"
	"io"
	"sync"

	"sallyport/policy"
)

// Sizes of read buffers in bytes. A session that only echoes keys never needs
// more than the small ones; one that moves data borrows a big one while it
// does.
const (
	inputBuffer  = 1 << 10
	outputBuffer = 2 << 10
	stderrBuffer = 512
	bigBuffer    = 32 << 10
)

var bigBuffers = sync.Pool{New: func() any { return new([bigBuffer]byte) }}

// buffer is a read buffer that grows after a full read and shrinks as soon as
// a read would not have filled the small one.
type buffer struct {
	small []byte
	big   *[bigBuffer]byte // nil while the small one does
}

func (b *buffer) bytes() []byte {
	if b.big != nil {
		return b.big[:]
	}
	return b.small
}

// adapt chooses the buffer of the next read by the length of the last one.
func (b *buffer) adapt(n int) {
	switch {
	case b.big == nil && n == len(b.small):
		b.big = bigBuffers.Get().(*[bigBuffer]byte)
	case b.big != nil && n < len(b.small):
		b.release()
	}
}

func (b *buffer) release() {
	if b.big != nil {
		bigBuffers.Put(b.big)
		b.big = nil
	}
}

// pump starts the goroutines that move bytes. Only the supervisor calls it,
// once, when the target has granted the session.
func (s *session) pump() {
	s.pumping = true
	s.touch()
	small := make([]byte, inputBuffer+outputBuffer+stderrBuffer)
	in, rest := small[:inputBuffer:inputBuffer], small[inputBuffer:]
	out, errs := rest[:outputBuffer:outputBuffer], rest[outputBuffer:]
	go s.pumpInput(in)
	go s.readOutput(out)
	go s.deliverOutput()
	go s.readStderr(errs)
}

// pumpInput moves the client's bytes to the target. It ends with the client's
// EOF, which the target gets, when the target takes no more, or when the
// session is ending.
func (s *session) pumpInput(small []byte) {
	defer close(s.inputDone)
	b := buffer{small: small}
	defer b.release()
	for {
		p := b.bytes()
		n, err := s.o.Client.Channel.Read(p)
		if n > 0 {
			if s.ending.Load() {
				return
			}
			s.touch()
			if e := s.o.Recording.Input(p[:n]); e != nil {
				s.fail(e)
				return
			}
			if _, e := s.o.Target.Channel.Write(p[:n]); e != nil {
				return
			}
			b.adapt(n)
		}
		if err != nil {
			s.o.Target.Channel.CloseWrite()
			return
		}
	}
}

// readOutput records the target's standard output, or its terminal.
func (s *session) readOutput(small []byte) {
	s.record(s.o.Target.Channel, policy.StreamOutput, small, nil)
	s.streamRead()
}

// readStderr records the target's standard error. Most sessions have none, so
// the goroutine that delivers it starts with its first byte.
func (s *session) readStderr(small []byte) {
	first := true
	s.record(s.o.Target.Channel.Stderr(), policy.StreamStderr, small, func() {
		if first {
			first = false
			go s.deliverStderr()
		}
	})
	s.streamRead()
	if first {
		s.streamGiven()
	}
}

// record reads r to its end, or until the recording takes no more.
func (s *session) record(r io.Reader, stream policy.Stream, small []byte, each func()) {
	defer s.o.Recording.CloseOutput(stream)
	b := buffer{small: small}
	defer b.release()
	for {
		p := b.bytes()
		n, err := r.Read(p)
		if n > 0 {
			s.touch()
			if e := s.o.Recording.Output(stream, p[:n]); e != nil {
				s.fail(e)
				return
			}
			if each != nil {
				each()
			}
			b.adapt(n)
		}
		if err != nil {
			return
		}
	}
}

func (s *session) deliverOutput() {
	s.deliver(s.o.Client.Channel, policy.StreamOutput, nil)
	s.streamGiven()
}

func (s *session) deliverStderr() {
	s.deliver(s.o.Client.Channel.Stderr(), policy.StreamStderr, &s.stderrMu)
	s.streamGiven()
}

// deliver hands the client what the recording has made durable. When the
// client takes no more it goes on taking from the recording, so that nothing
// that waits for space there waits for ever.
func (s *session) deliver(w io.Writer, stream policy.Stream, mu *sync.Mutex) {
	gone := false
	for {
		p, err := s.o.Recording.Next(stream)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.fail(err)
			}
			return
		}
		if gone || len(p) == 0 {
			continue
		}
		if mu != nil {
			mu.Lock()
		}
		if s.ending.Load() {
			gone = true
		} else if _, err := w.Write(p); err != nil {
			gone = true
		}
		if mu != nil {
			mu.Unlock()
		}
		s.touch()
	}
}

func (s *session) streamRead() {
	if s.reading.Add(-1) == 0 {
		close(s.readDone)
	}
}

func (s *session) streamGiven() {
	if s.giving.Add(-1) == 0 {
		close(s.delivered)
	}
}
