package recorder

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/redact"
)

// BenchmarkRecordingOutput moves bulk output through one recording on a real
// disk, with every fsync, from Output to Next.
func BenchmarkRecordingOutput(b *testing.B) {
	text := strings.Repeat("\x1b[01;34mdir\x1b[0m  The quick brown fox jumps over the lazy dog.\r\n", 600)
	for _, c := range []struct {
		name   string
		data   []byte
		masked bool
		sync   func(*os.File) error
	}{
		{"text", []byte(text)[:maxPiece], false, nil},
		{"text-masked", []byte(text)[:maxPiece], true, nil},
		{"text-without-fsync", []byte(text)[:maxPiece], false, func(*os.File) error { return nil }},
		{"zeros", make([]byte, maxPiece), false, nil},
		{"binary", bytes.Repeat([]byte("\xff\xfe0123456789"), maxPiece/12), false, nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			o := Options{Sync: c.sync}
			if c.masked {
				o.NewMasker = masks(b)
			}
			rec := open(b, newRecorder(b, o), shell())
			done := make(chan error, 1)
			go func() {
				for {
					if _, err := rec.Next(policy.StreamOutput); err != nil {
						done <- err
						return
					}
				}
			}()
			b.SetBytes(int64(len(c.data)))
			b.ReportAllocs()
			for b.Loop() {
				check(b, rec.Output(policy.StreamOutput, c.data))
			}
			rec.CloseOutput(policy.StreamOutput)
			if err := <-done; err != io.EOF {
				b.Fatal(err)
			}
			b.StopTimer()
			_, err := rec.Close(status(0))
			check(b, err)
			os.Remove(Path(rec.r.o.Dir, string(rec.session.ID)))
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
			o := Options{}
			if masked {
				o.NewMasker = masks(b)
			}
			rec := open(b, newRecorder(b, o), shell())
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
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkInput is bulk input, such as an upload.
func BenchmarkInput(b *testing.B) {
	rec := open(b, newRecorder(b, Options{}), shell())
	data := bytes.Repeat([]byte("text "), maxPiece/5)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		check(b, rec.Input(data))
	}
}

// BenchmarkReader reads a recording back.
func BenchmarkReader(b *testing.B) {
	r := newRecorder(b, Options{Sync: func(*os.File) error { return nil }})
	rec := open(b, r, shell())
	k := take(rec, policy.StreamOutput)
	data := bytes.Repeat([]byte("\x1b[01;34mdir\x1b[0m text\r\n"), 40)
	for range 2000 {
		check(b, rec.Output(policy.StreamOutput, data))
	}
	_, err := rec.Close(status(0))
	check(b, err)
	k.end(b)
	file, err := os.ReadFile(Path(r.o.Dir, string(rec.session.ID)))
	check(b, err)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readFrames(file); err != nil {
			b.Fatal(err)
		}
	}
}
