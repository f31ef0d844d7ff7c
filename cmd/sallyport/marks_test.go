package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/catalog"
)

// T39 with the database of the product, opened twice as two processes have it:
// a hold that was granted means that the keys are there, in every order.
func TestHoldWinsOverDeletionInTheDatabase(t *testing.T) {
	ctx := context.Background()
	store, err := archive.OpenDir(filepath.Join(t.TempDir(), "archive"), archive.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "catalog.sqlite")
	var keepers [2]*archive.Keeper
	var mu sync.Mutex
	kinds := map[policy.SessionID][]policy.EntryKind{}
	for i := range keepers {
		cat, err := catalog.Open(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		defer cat.Close()
		keepers[i] = newKeeper(store, cat, func(_ context.Context, all ...policy.Entry) error {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range all {
				kinds[e.Session] = append(kinds[e.Session], e.Kind)
			}
			return nil
		})
	}
	held, gone := 0, 0
	for i := range 40 {
		id := policy.NewSessionID(time.Now())
		for _, name := range []string{archive.KeyName(string(id)), archive.SegmentName(string(id), 0), archive.ManifestName(string(id))} {
			if err := store.Create(ctx, name, []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		var holdErr, shredErr error
		wg.Go(func() {
			time.Sleep(time.Duration(i%8) * 300 * time.Microsecond)
			holdErr = keepers[0].Hold(ctx, string(id), "case", "a")
		})
		wg.Go(func() { shredErr = keepers[1].Shred(ctx, string(id), "old", "b") })
		wg.Wait()
		o, err := store.Open(ctx, archive.KeyName(string(id)))
		there := err == nil
		if there {
			o.Close()
		}
		mu.Lock()
		shredded := false
		for _, k := range kinds[id] {
			shredded = shredded || k == policy.EntryShred
		}
		mu.Unlock()
		switch {
		case holdErr == nil && there && !shredded && errors.Is(shredErr, archive.ErrHeld):
			held++
		case errors.Is(holdErr, archive.ErrGone) && !there && shredded && shredErr == nil:
			gone++
		default:
			t.Fatalf("round %d: hold %v, shred %v, keys there %v, entered %v", i, holdErr, shredErr, there, shredded)
		}
	}
	if held == 0 || gone == 0 {
		t.Logf("the race went one way only: %d held, %d destroyed", held, gone)
	}
}

// What is destroyed leaves a row that names nobody.
func TestExpiredRowNamesNobody(t *testing.T) {
	ctx := context.Background()
	store, err := archive.OpenDir(filepath.Join(t.TempDir(), "archive"), archive.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Open(ctx, filepath.Join(t.TempDir(), "catalog.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	now := time.Now()
	ids := map[time.Duration]policy.SessionID{}
	for _, keep := range []time.Duration{0, time.Hour, 48 * time.Hour} {
		s := policy.Session{ID: policy.NewSessionID(now), User: dora, Target: "db1", Start: now, Retention: keep}
		ids[keep] = s.ID
		if err := cat.PutRecording(ctx, policy.Recording{Session: s, Summary: policy.Summary{ID: s.ID, State: policy.RecordingComplete, Ended: now.Add(-24 * time.Hour)}}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{archive.KeyName(string(s.ID)), archive.ManifestName(string(s.ID))} {
			if err := store.Create(ctx, name, []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	k := newKeeper(store, cat, func(context.Context, ...policy.Entry) error { return nil })
	gone, err := k.Expire(ctx, now)
	if err != nil || len(gone) != 1 || gone[0] != string(ids[time.Hour]) {
		t.Fatalf("%v %v", gone, err)
	}
	r, err := cat.Recording(ctx, ids[time.Hour])
	if err != nil || r.Summary.State != policy.RecordingExpired || !r.Session.User.IsZero() || r.Session.Target != "" {
		t.Errorf("%+v %v", r, err)
	}
	k.Retention = 12 * time.Hour // for those without one of their own
	if gone, err = k.Expire(ctx, now); err != nil || len(gone) != 1 || gone[0] != string(ids[0]) {
		t.Errorf("%v %v", gone, err)
	}
	if gone, err = k.Expire(ctx, now); err != nil || len(gone) != 0 {
		t.Errorf("again: %v %v", gone, err)
	}
}
