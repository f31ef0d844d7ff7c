package recorder

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/journal"
	"sallyport/recorder/redact"
)

func TestAccount(t *testing.T) {
	raw := []byte("shown S and \xff S")
	chunks := []redact.Chunk{
		{Raw: raw[:6]},
		{Raw: raw[6:12], Masks: []redact.Mask{{Rule: "ä \x00", Off: 0, Len: 1, Cells: 1}, {Rule: "b", Off: 3, Len: 2, Cells: 2}}},
	}
	data := appendAccount(nil, 3, chunks, raw)
	a, err := parseAccount(data)
	check(t, err)
	if a.held != 3 || !bytes.Equal(a.raw, raw) || len(a.decisions) != 2 || a.decisions[0].n != 6 || a.decisions[1].n != 6 ||
		!reflect.DeepEqual(a.decisions[1].masks, chunks[1].Masks) {
		t.Errorf("%+v", a)
	}
	for n := range len(data) - len(raw) {
		if a, err := parseAccount(data[:n]); err == nil {
			t.Errorf("%d bytes were read as %+v", n, a)
		}
	}
	for _, hostile := range [][]byte{
		{0, 0xff, 0xff, 0xff, 0xff, 0x7}, {0, 1, 1, 0xff, 0xff, 0xff, 0x7}, {0, 1, 1, 1, 0xff, 0xff, 0x7},
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		if a, err := parseAccount(hostile); err == nil {
			t.Errorf("%x was read as %+v", hostile, a)
		}
	}
}

// FuzzAccount never panics, and reads what it wrote.
func FuzzAccount(f *testing.F) {
	f.Add(appendAccount(nil, 1, []redact.Chunk{{Raw: []byte("ab"), Masks: []redact.Mask{{Rule: "r", Len: 1, Cells: 1}}}}, []byte("b")))
	f.Add([]byte{0, 2, 1, 0, 3, 0, 'x'})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := parseAccount(data)
		if err != nil {
			return
		}
		var chunks []redact.Chunk
		for _, d := range a.decisions {
			if d.n > 1<<16 {
				return
			}
			chunks = append(chunks, redact.Chunk{Raw: make([]byte, d.n), Masks: d.masks})
		}
		again, err := parseAccount(appendAccount(nil, a.held, chunks, a.raw))
		if err != nil || again.held != a.held || !bytes.Equal(again.raw, a.raw) || !reflect.DeepEqual(again.decisions, a.decisions) {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}

// TestManyMasks records an event with more masks than fit one: several events
// show the same.
func TestManyMasks(t *testing.T) {
	o := Options{NewMasker: func(policy.Session) Masker { return &holder{rng: rand.New(rand.NewPCG(1, 2))} }}
	g := newRecorder(t, o)
	rec := open(t, g, shell())
	k := take(rec, policy.StreamOutput)
	text := bytes.Repeat([]byte("S "), 15_000)
	check(t, rec.Output(policy.StreamOutput, text))
	sum, err := rec.Close(status(0))
	check(t, err)
	got, _ := k.end(t)
	if want := bytes.Repeat([]byte("* "), 15_000); !bytes.Equal(got, want) || sum.Masks != 15_000 {
		t.Errorf("%d bytes were given out, %d masks", len(got), sum.Masks)
	}
	raw, view := joined(g.frames(t, rec.session.ID), 'o')
	if !bytes.Equal(raw, text) || !bytes.Equal(view, got) {
		t.Error("the record differs")
	}
}

// TestQueue holds the queue to giving out what is durable, in order, however
// many marks there are.
func TestQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var q queue
	var want, got []byte
	lsn, done := journal.LSN(0), journal.LSN(0)
	ends := map[journal.LSN]int{0: 0}
	for range 20_000 {
		if rng.IntN(40) > 0 {
			p := fmt.Appendf(nil, "%d ", len(want))
			lsn++
			q.push(p)
			q.mark(lsn)
			want = append(want, p...)
			ends[lsn] = len(want)
			continue
		}
		if lsn > done {
			done += 1 + journal.LSN(rng.IntN(int(lsn-done)))
		}
		q.commit(done)
		for p := q.take(); p != nil; p = q.take() {
			got = append(got, p...)
		}
		if len(got) > ends[done] || !bytes.HasPrefix(want, got) || len(q.marks) > maxMarks {
			t.Fatalf("%d bytes were given out, %d are durable", len(got), ends[done])
		}
	}
	q.commit(lsn)
	for p := q.take(); p != nil; p = q.take() {
		got = append(got, p...)
	}
	if !bytes.Equal(got, want) || cap(q.marks) > keptMarks {
		t.Errorf("%d bytes of %d, room for %d marks", len(got), len(want), cap(q.marks))
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0:00:00.000", 61*time.Second + 2_500_000: "0:01:01.002", 27 * time.Hour: "27:00:00.000",
	} {
		if got := clock(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}
