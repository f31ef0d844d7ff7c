package recorder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/castgen"
	"sallyport/recorder/journal"
	"sallyport/recorder/redact"
)

// benchJournal is a journal as a node has it.
var benchJournal = journal.Options{FileSize: 64 << 20, Reserve: 1 << 20}

// generated returns n bytes of generated output.
func generated(kind func(uint64, int) iter.Seq[castgen.Chunk], n int) []byte {
	var all []byte
	for c := range kind(1, n+maxPiece) {
		all = append(all, c.Data...)
	}
	return all[:n]
}

// drain takes all of a stream and says how it ended.
func drain(rec *Recording, s policy.Stream) <-chan error {
	done := make(chan error, 1)
	go func() {
		for {
			if _, err := rec.Next(s); err != nil {
				done <- err
				return
			}
		}
	}()
	return done
}

// cpu returns the processor time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRecordingOutput moves bulk output through one recording on a real
// disk, with every fsync, from Output to Next, and on into the archive.
func BenchmarkRecordingOutput(b *testing.B) {
	text := strings.Repeat("\x1b[01;34mdir\x1b[0m  The quick brown fox jumps over the lazy dog.\r\n", 600)
	logs := generated(castgen.Log, 8<<20)
	for _, c := range []struct {
		name   string
		data   []byte
		masked bool
		noSync bool
	}{
		{"text", []byte(text)[:maxPiece], false, false},
		{"text-masked", []byte(text)[:maxPiece], true, false},
		{"text-without-fsync", []byte(text)[:maxPiece], false, true},
		{"logs", logs, false, false},
		{"zeros", make([]byte, maxPiece), false, false},
		{"binary", bytes.Repeat([]byte("\xff\xfe0123456789"), maxPiece/12), false, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			var o Options
			if c.masked {
				o.NewMasker = masks(b)
			}
			jo := benchJournal
			jo.NoSync = c.noSync
			g := newRig(b, o, jo)
			_, err := g.Recover(context.Background())
			check(b, err)
			rec := open(b, g, shell())
			done := drain(rec, policy.StreamOutput)
			b.SetBytes(maxPiece)
			b.ReportAllocs()
			used := cpu()
			at := 0
			for b.Loop() {
				if at+maxPiece > len(c.data) {
					at = 0
				}
				check(b, rec.Output(policy.StreamOutput, c.data[at:min(at+maxPiece, len(c.data))]))
				at += maxPiece
			}
			rec.CloseOutput(policy.StreamOutput)
			if err := <-done; err != io.EOF {
				b.Fatal(err)
			}
			b.StopTimer()
			sum, err := rec.Close(status(0))
			check(b, err)
			b.ReportMetric((cpu()-used).Seconds()/float64(sum.OutputBytes)*1e9, "cpu-s/GB")
			b.ReportMetric(float64(sum.Size)/float64(sum.OutputBytes), "stored/byte")
		})
	}
}

func masks(t testing.TB) func(policy.Session) Masker {
	rules, err := redact.Compile(redact.Config{})
	check(t, err)
	return func(s policy.Session) Masker { return rules.NewMasker(s.Cols) }
}

// BenchmarkEcho is one keystroke: input written, its echo durable and given
// out, on a real disk.
func BenchmarkEcho(b *testing.B) {
	for _, masked := range []bool{false, true} {
		b.Run(fmt.Sprintf("masked=%v", masked), func(b *testing.B) {
			var o Options
			if masked {
				o.NewMasker = masks(b)
			}
			rec := open(b, newRig(b, o, benchJournal), shell())
			key := []byte("x")
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				check(b, rec.Input(key))
				check(b, rec.Output(policy.StreamOutput, key))
				if _, err := rec.Next(policy.StreamOutput); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			report(b, took)
		})
	}
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkSync is what the disk itself takes to make a few bytes durable.
func BenchmarkSync(b *testing.B) {
	f, err := os.Create(b.TempDir() + "/file")
	check(b, err)
	defer f.Close()
	check(b, f.Truncate(64<<20))
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		_, err := f.Write(make([]byte, 100))
		check(b, err)
		check(b, syscall.Fdatasync(int(f.Fd())))
		took = append(took, time.Since(start))
	}
	report(b, took)
}

// BenchmarkDurableRecords is how many pieces of output a second become durable
// and are given out, each session waiting for its own before the next.
func BenchmarkDurableRecords(b *testing.B) {
	for _, sessions := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			g := newRig(b, Options{}, benchJournal)
			recs := make([]*Recording, sessions)
			for i := range recs {
				recs[i] = open(b, g, shell())
			}
			work := make(chan struct{})
			var all sync.WaitGroup
			for _, rec := range recs {
				all.Go(func() {
					for range work {
						check(b, rec.Output(policy.StreamOutput, []byte("a line of output\r\n")))
						if _, err := rec.Next(policy.StreamOutput); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			b.ResetTimer()
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
