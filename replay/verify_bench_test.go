package replay_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/rectest"
	"sallyport/replay"
)

// BenchmarkVerify counts bytes of the archive without keys, and bytes of output
// with them.
func BenchmarkVerify(b *testing.B) {
	e := &evidence{Store: rectest.New(b, recorder.Options{}), ids: map[string]policy.SessionID{}}
	s := session(time.Now())
	e.ids["big"] = s.ID
	noise := make([]byte, 32<<10)
	rec := e.Record(s, func(r *recorder.Recording) {
		rng := rand.New(rand.NewPCG(1, 2))
		for range 1024 {
			for j := range noise {
				noise[j] = byte(32 + rng.IntN(64))
			}
			if err := r.Output(policy.StreamOutput, noise); err != nil {
				b.Fatal(err)
			}
			for n := 0; n < len(noise); {
				p, err := r.Next(policy.StreamOutput)
				if err != nil {
					b.Fatal(err)
				}
				n += len(p)
			}
		}
	}, policy.End{})
	e.Stop()
	c := &copied{b, e, e.Dir}
	for _, keys := range []bool{false, true} {
		b.Run(fmt.Sprintf("keys=%v", keys), func(b *testing.B) {
			size := rec.Summary.Size
			if keys {
				size = rec.Summary.OutputBytes
			}
			b.SetBytes(size)
			for range b.N {
				edit := func(*replay.VerifyOptions) {}
				if keys {
					edit = c.withKeys
				}
				if v := c.verify(edit); v["big"].Result != replay.Valid {
					b.Fatalf("%+v", v)
				}
			}
		})
	}
}
