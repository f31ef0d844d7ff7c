package ledger

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPublisherTriesAgain(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	var tries atomic.Int64
	got := make(chan string, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch tries.Add(1) {
		case 1:
			rw.WriteHeader(http.StatusBadGateway)
		case 2:
			http.Redirect(rw, r, "/elsewhere", http.StatusTemporaryRedirect)
		default:
			got <- string(b)
		}
	}))
	defer srv.Close()
	place, err := HTTPPlace(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	var failed atomic.Int64
	run, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		(&Publisher{Ledger: l, Places: []Place{place}, Retry: time.Millisecond, Report: func(_ Place, err error) {
			if err != nil {
				failed.Add(1)
			}
		}}).Run(run)
		close(ended)
	}()
	fill(t, l, 0, 2)
	for covers := int64(-1); covers != 2; {
		select {
		case text := <-got:
			tree, err := OpenCheckpoint([]byte(text), w.o.Verifier)
			if err != nil {
				t.Fatal(err)
			}
			covers = tree.N
		case <-time.After(20 * time.Second):
			t.Fatal("nothing came")
		}
	}
	if failed.Load() != 2 {
		t.Errorf("%d tries were reported as failed", failed.Load())
	}
	cancel()
	<-ended
}

// fakePlace is a place whose answers a test gives.
type fakePlace struct {
	name string
	send func(context.Context, []byte) error
}

func (p fakePlace) Name() string                                { return p.name }
func (p fakePlace) Send(ctx context.Context, cp []byte) error   { return p.send(ctx, cp) }
func (p fakePlace) Last(context.Context) (cp []byte, err error) { return nil, nil }

// One place that hangs or fails keeps no other from its checkpoints, pauses
// grow, and all ends with the context, after the last checkpoint was sent.
func TestPublisherEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	var mu sync.Mutex
	var tries []time.Time
	var got [][]byte
	hung := make(chan struct{}, 1)
	places := []Place{
		fakePlace{"hangs", func(ctx context.Context, _ []byte) error {
			select {
			case hung <- struct{}{}:
			default:
			}
			<-ctx.Done()
			return ctx.Err()
		}},
		fakePlace{"fails", func(context.Context, []byte) error {
			mu.Lock()
			defer mu.Unlock()
			tries = append(tries, time.Now())
			return errors.New("no")
		}},
		fakePlace{"takes", func(_ context.Context, cp []byte) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, slices.Clone(cp))
			return nil
		}},
	}
	run, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		(&Publisher{Ledger: l, Places: places, Retry: 5 * time.Millisecond}).Run(run)
		close(ended)
	}()
	<-hung
	var want []byte
	for i := range 3 {
		fill(t, l, i, i+1)
		var err error
		if want, err = l.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
	}
	arrived := func(cond func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			mu.Lock()
			ok := cond()
			mu.Unlock()
			if ok {
				return
			}
			if time.Now().After(end) {
				t.Fatal("it did not come")
			}
		}
	}
	arrived(func() bool { return len(got) > 0 && string(got[len(got)-1]) == string(want) })
	arrived(func() bool { return len(tries) >= 5 })
	mu.Lock()
	for i := range 4 { // 5, 10, 20, 40 ms, at least
		if pause := tries[i+1].Sub(tries[i]); pause < 5*time.Millisecond<<i {
			t.Errorf("pause %d was %v", i, pause)
		}
	}
	mu.Unlock()
	fill(t, l, 3, 4)
	var err error
	if want, err = l.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it did not end")
	}
	if string(got[len(got)-1]) != string(want) {
		t.Errorf("the last checkpoint did not arrive: %q", got[len(got)-1])
	}
}
