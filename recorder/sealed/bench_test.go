package sealed

import (
	"bytes"
	"iter"
	"testing"
	"time"

	"sallyport/recorder/cast"
	"sallyport/recorder/castgen"
)

var generators = []struct {
	name string
	make func(uint64, int) iter.Seq[castgen.Chunk]
}{{"shell", castgen.Shell}, {"log", castgen.Log}, {"screen", castgen.Screen}, {"mix", castgen.Mix}}

// record turns chunks into events.
func record(chunks iter.Seq[castgen.Chunk]) (events []Event, output int) {
	for c := range chunks {
		e := Event{Time: c.Time, Code: cast.CodeOutput, Raw: c.Data}
		if c.Input {
			e.Code = cast.CodeInput
		} else {
			output += len(c.Data)
		}
		events = append(events, e)
	}
	return events, output
}

// cut divides events as the recorder does: into blocks of about 256 KiB, and
// segments of 4 MiB or a minute.
func cut(events []Event) (segments [][][]Event) {
	var blocks [][]Event
	from, size, total := 0, 0, 0
	began := time.Duration(0)
	endBlock := func(i int) {
		if i > from {
			blocks = append(blocks, events[from:i])
		}
		from, size = i, 0
	}
	for i, e := range events {
		if total >= 4<<20 || e.Time-began > time.Minute && total > 0 {
			endBlock(i)
			segments = append(segments, blocks)
			blocks, total, began = nil, 0, e.Time
		}
		size += len(e.Raw)
		total += len(e.Raw)
		if size >= 256<<10 {
			endBlock(i + 1)
		}
	}
	endBlock(len(events))
	return append(segments, blocks)
}

func sealAll(b *testing.B, k Keys, segments [][][]Event) (size int) {
	var prev [32]byte
	for n, blocks := range segments {
		w := NewWriter(testID, uint32(n), prev, k)
		for _, events := range blocks {
			if err := w.Block(events); err != nil {
				b.Fatal(err)
			}
		}
		object, info, err := w.Finish(0, 0)
		if err != nil {
			b.Fatal(err)
		}
		prev = info.SHA256
		size += len(object)
	}
	return size
}

func BenchmarkSeal(b *testing.B) {
	for _, g := range generators {
		b.Run(g.name, func(b *testing.B) {
			events, output := record(g.make(1, 8<<20))
			segments := cut(events)
			var all []byte
			for _, e := range events {
				if e.Code == cast.CodeOutput {
					all = append(all, e.Raw...)
				}
			}
			alone := 0
			for p := all; len(p) > 0; {
				n := min(len(p), 256<<10)
				alone += len(compress(nil, p[:n]))
				p = p[n:]
			}
			k := NewKeys()
			size := 0
			b.SetBytes(int64(output))
			b.ReportAllocs()
			for b.Loop() {
				size = sealAll(b, k, segments)
			}
			b.ReportMetric(float64(size)/float64(output), "stored/byte")
			b.ReportMetric(float64(alone)/float64(output), "zstd/byte")
			b.ReportMetric(float64(len(events)), "events")
			b.ReportMetric(float64(len(segments)), "segments")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, g := range generators {
		b.Run(g.name, func(b *testing.B) {
			events, output := record(g.make(1, 4<<20))
			k := NewKeys()
			w := NewWriter(testID, 0, [32]byte{}, k)
			for _, s := range cut(events) {
				for _, blk := range s {
					w.Block(blk)
				}
			}
			object, _, err := w.Finish(0, 0)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(output))
			b.ReportAllocs()
			for b.Loop() {
				s, err := Open(bytes.NewReader(object), int64(len(object)))
				if err != nil {
					b.Fatal(err)
				}
				for i := range s.Blocks() {
					if _, err := s.Events(i, k); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
