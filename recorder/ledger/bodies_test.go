package ledger

import (
	"fmt"
	"testing"
	"time"
)

func TestErasedBodies(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	l := w.open(func(o *Options) { o.Now = func() time.Time { return now } })
	fill(t, l, 0, 2)
	now = now.AddDate(0, 0, 3)
	fill(t, l, 2, 4)
	l.Close()
	n, err := EraseBodies(w.o.Dir, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	if err != nil || n != 1 {
		t.Fatalf("%d %v", n, err)
	}
	var who []string
	for e, err := range w.load().Entries(w.o.BodyKey) {
		if err != nil {
			t.Fatal(err)
		}
		if e.User != nil {
			who = append(who, e.User.Subject)
		}
	}
	if fmt.Sprint(who) != "[s2 s3]" {
		t.Errorf("%v", who)
	}
	w.open().Close()
}
