package recorder

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/castgen"
)

// BenchmarkInput is bulk input, such as an upload.
func BenchmarkInput(b *testing.B) {
	g := newRig(b, Options{}, benchJournal)
	_, err := g.Recover(context.Background())
	check(b, err)
	rec := open(b, g, shell())
	data := bytes.Repeat([]byte("text "), maxPiece/5)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		check(b, rec.Input(data))
	}
}

// BenchmarkOpenClose is a session in which nothing happens.
func BenchmarkOpenClose(b *testing.B) {
	g := newRig(b, Options{}, benchJournal)
	for b.Loop() {
		rec, err := g.Open(context.Background(), shell())
		check(b, err)
		_, err = rec.Close(status(0))
		check(b, err)
	}
}

// BenchmarkReader reads a recording back, wholly and as a watcher.
func BenchmarkReader(b *testing.B) {
	g := newRecorder(b, Options{})
	rec := open(b, g, shell())
	done := drain(rec, policy.StreamOutput)
	data := bytes.Repeat([]byte("\x1b[01;34mdir\x1b[0m text\r\n"), 40)
	for range 20_000 {
		check(b, rec.Output(policy.StreamOutput, data))
	}
	sum, err := rec.Close(status(0))
	check(b, err)
	<-done
	b.SetBytes(sum.OutputBytes)
	b.ReportAllocs()
	for b.Loop() {
		r, err := OpenRecording(context.Background(), g.o.Archive, rec.session.ID, viewKey)
		check(b, err)
		for err == nil {
			_, err = r.Next()
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		r.Close()
	}
}

// BenchmarkRecover is the journal of a crash, sealed, per byte of output.
func BenchmarkRecover(b *testing.B) {
	jo := benchJournal
	jo.NoSync = true
	logs := generated(castgen.Log, 32<<20)
	for b.Loop() {
		b.StopTimer()
		g := newRig(b, Options{SegmentBytes: maxSegmentBytes, SegmentTime: time.Hour}, jo)
		a := &shaky{Dir: store(b, g.dir)}
		a.set(context.DeadlineExceeded, false) // nothing is stored before the crash
		g.Recorder.o.Archive = a
		g.Recorder.o.MaxPending = 64 << 20
		rec := open(b, g, shell())
		done := drain(rec, policy.StreamOutput)
		n := 16 << 20
		for at := 0; at < n; at += maxPiece {
			check(b, rec.Output(policy.StreamOutput, logs[at:at+maxPiece]))
		}
		g.stop()
		<-done
		b.SetBytes(int64(n))
		b.StartTimer()
		g.start(b, Options{})
		found, err := g.Recover(context.Background())
		check(b, err)
		if len(found) != 1 || found[0].Summary.OutputBytes != int64(n) {
			b.Fatalf("recovered %+v", found)
		}
	}
}

// BenchmarkInputWhileOutput is a keystroke, such as Ctrl-C, while its session
// prints without end, and others print now and then.
func BenchmarkInputWhileOutput(b *testing.B) {
	g := newRig(b, Options{}, benchJournal)
	_, err := g.Recover(context.Background())
	check(b, err)
	rec := open(b, g, shell())
	done := drain(rec, policy.StreamOutput)
	data := generated(castgen.Log, maxPiece)
	go func() {
		for rec.Output(policy.StreamOutput, data) == nil {
		}
	}()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		check(b, rec.Input([]byte("x")))
		took = append(took, time.Since(start))
		time.Sleep(time.Millisecond)
	}
	report(b, took)
	rec.Close(status(0))
	<-done
}

// BenchmarkOneGiB records a GiB of a day's work, and measures how long Close
// still takes to seal it. Run it with -benchtime 1x.
func BenchmarkOneGiB(b *testing.B) {
	jo := benchJournal
	data := generated(castgen.Mix, 64<<20)
	for b.Loop() {
		g := newRig(b, Options{}, jo)
		_, err := g.Recover(context.Background())
		check(b, err)
		rec := open(b, g, shell())
		done := drain(rec, policy.StreamOutput)
		used := cpu()
		for range 16 {
			check(b, rec.Output(policy.StreamOutput, data))
		}
		start := time.Now()
		sum, err := rec.Close(status(0))
		check(b, err)
		<-done
		b.SetBytes(sum.OutputBytes)
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "close-ms")
		b.ReportMetric((cpu()-used).Seconds()/float64(sum.OutputBytes)*1e9, "cpu-s/GB")
		b.ReportMetric(float64(sum.Size)/float64(sum.OutputBytes), "stored/byte")
		b.ReportMetric(float64(sum.Segments), "segments")
	}
}
