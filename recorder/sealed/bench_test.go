package sealed

import (
	"bytes"
	"crypto/sha256"
	"iter"
	"math/rand/v2"
	"slices"
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

// sealAll returns how many bytes the segments take, and calls each, which may
// be nil, with every one.
func sealAll(b testing.TB, k Keys, segments [][][]Event, each func([]byte, Info)) (size int) {
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
		if each != nil {
			each(object, info)
		}
	}
	return size
}

// alone returns how many bytes zstd makes of the output in blocks of 256 KiB.
func alone(events []Event) (size int) {
	var all []byte
	for _, e := range events {
		if e.Code == cast.CodeOutput {
			all = append(all, e.Raw...)
		}
	}
	for len(all) > 0 {
		n := min(len(all), 256<<10)
		size += len(compress(nil, all[:n]))
		all = all[n:]
	}
	return size
}

// TestStoredBytes holds the format to its goal: no more than 0.30 bytes stored
// for each byte of terminal output, everything included, on mixed work. Shells
// take more, since every key that is pressed is two events with their times.
func TestStoredBytes(t *testing.T) {
	for _, g := range generators {
		events, output := record(g.make(1, 2<<20))
		stored := float64(sealAll(t, NewKeys(), cut(events), nil)) / float64(output)
		t.Logf("%s: %.3f stored, %.3f with zstd alone, %d events", g.name, stored, float64(alone(events))/float64(output), len(events))
		if limit := map[string]float64{"shell": 0.40, "log": 0.30, "screen": 0.12, "mix": 0.30}[g.name]; stored > limit {
			t.Errorf("%s: %.3f bytes are stored for each byte of output, more than %.2f", g.name, stored, limit)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, g := range generators {
		b.Run(g.name, func(b *testing.B) {
			events, output := record(g.make(1, 8<<20))
			segments := cut(events)
			k := NewKeys()
			size := 0
			b.SetBytes(int64(output))
			b.ReportAllocs()
			for b.Loop() {
				size = sealAll(b, k, segments, nil)
			}
			b.ReportMetric(float64(size)/float64(output), "stored/byte")
			b.ReportMetric(float64(alone(events))/float64(output), "zstd/byte")
		})
	}
}

// BenchmarkRead opens whole segments with both keys.
func BenchmarkRead(b *testing.B) {
	for _, g := range generators {
		b.Run(g.name, func(b *testing.B) {
			events, output := record(g.make(1, 4<<20))
			k := NewKeys()
			var objects [][]byte
			sealAll(b, k, cut(events), func(object []byte, _ Info) { objects = append(objects, object) })
			b.SetBytes(int64(output))
			b.ReportAllocs()
			for b.Loop() {
				for _, object := range objects {
					if err := readWhole(object, k); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkCheck reads the structure of segments and their digest, as who has
// no keys does.
func BenchmarkCheck(b *testing.B) {
	events, output := record(castgen.Mix(1, 8<<20))
	var objects [][]byte
	sealAll(b, NewKeys(), cut(events), func(object []byte, _ Info) { objects = append(objects, object) })
	size := 0
	for _, object := range objects {
		size += len(object)
	}
	b.SetBytes(int64(size))
	for b.Loop() {
		for _, object := range objects {
			sha256.Sum256(object)
			s, err := Open(bytes.NewReader(object), int64(len(object)))
			if err == nil {
				err = s.Check()
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(output)/float64(size), "output/stored")
}

// BenchmarkAnySecond reads the block of any second of a recording of 24 hours
// and 50 MB.
func BenchmarkAnySecond(b *testing.B) {
	events, output := record(castgen.Mix(1, 50_000_000))
	last := events[len(events)-1].Time
	for i := range events {
		events[i].Time = time.Duration(float64(events[i].Time) / float64(last) * float64(24*time.Hour))
	}
	k := NewKeys()
	var objects [][]byte
	var infos []Info
	size := sealAll(b, k, cut(events), func(object []byte, info Info) {
		objects, infos = append(objects, object), append(infos, info)
	})
	r := rand.New(rand.NewPCG(1, 1))
	var longest time.Duration
	for b.Loop() {
		at := time.Duration(r.Int64N(int64(24 * time.Hour)))
		began := time.Now()
		n, _ := slices.BinarySearchFunc(infos, at, func(i Info, at time.Duration) int { return int(i.To - at) })
		s, err := Open(bytes.NewReader(objects[n]), infos[n].Size)
		if err != nil {
			b.Fatal(err)
		}
		block, _ := slices.BinarySearchFunc(s.Blocks(), at, func(i BlockInfo, at time.Duration) int { return int(i.To - at) })
		if found, err := s.Events(block, k); err != nil || len(found) == 0 || found[len(found)-1].Time < at {
			b.Fatalf("%d events: %v", len(found), err)
		}
		longest = max(longest, time.Since(began))
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
	b.ReportMetric(float64(size)/float64(output), "stored/byte")
	b.ReportMetric(float64(len(objects)), "segments")
}
