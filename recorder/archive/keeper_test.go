package archive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// memory is a Marker without a database: the product's is tested with it.
type memory struct {
	mu    sync.Mutex
	holds map[string]Hold
	tombs map[string]Tombstone
	over  []string
	fail  error // of the commit
}

func newMemory() *memory { return &memory{holds: map[string]Hold{}, tombs: map[string]Tombstone{}} }

type memoryMarks struct {
	*memory
	id string
}

func (m *memory) Mark(_ context.Context, id string, f func(Marks) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, held := m.holds[id]
	t, tomb := m.tombs[id]
	err := f(memoryMarks{m, id})
	if err == nil && m.fail != nil {
		err = m.fail
	}
	if err != nil { // undone
		delete(m.holds, id)
		delete(m.tombs, id)
		if held {
			m.holds[id] = h
		}
		if tomb {
			m.tombs[id] = t
		}
	}
	return err
}

func (m *memory) Doomed(context.Context) (ids []string, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, t := range m.tombs {
		if !t.Done {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (m *memory) Over(context.Context, time.Time, time.Duration) ([]string, error) {
	return m.over, nil
}

func (m memoryMarks) Hold() (Hold, bool, error) { h, ok := m.holds[m.id]; return h, ok, nil }
func (m memoryMarks) PutHold(h Hold) error      { m.holds[m.id] = h; return nil }
func (m memoryMarks) DropHold() error           { delete(m.holds, m.id); return nil }
func (m memoryMarks) Tombstone() (Tombstone, bool, error) {
	t, ok := m.tombs[m.id]
	return t, ok, nil
}
func (m memoryMarks) PutTombstone(t Tombstone) error { m.tombs[m.id] = t; return nil }
func (m memoryMarks) DropTombstone() error {
	if !m.tombs[m.id].Done {
		delete(m.tombs, m.id)
	}
	return nil
}

// rig is a Keeper that notes what it enters.
type rig struct {
	*Keeper
	marks *memory
	mu    sync.Mutex
	acts  []string
	fail  error // of Enter
}

func newRig(t *testing.T, o DirOptions) *rig {
	g := &rig{marks: newMemory()}
	g.Keeper = &Keeper{Store: openDir(t, o), Marker: g.marks, Enter: func(_ context.Context, act Act, id, reason, by, key string) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.fail != nil {
			return g.fail
		}
		g.acts = append(g.acts, fmt.Sprintf("%d %s %s %s %d", act, id, reason, by, len(key)))
		return nil
	}}
	return g
}

// recording stores a sealed recording.
func (g *rig) recording(t *testing.T, id string) {
	t.Helper()
	for _, n := range []string{KeyName(id), SegmentName(id, 0), SegmentName(id, 1), ManifestName(id)} {
		if err := g.Store.Create(ctx, n, []byte(n)); err != nil {
			t.Fatal(err)
		}
	}
}

func (g *rig) has(id string) bool {
	o, err := g.Store.Open(ctx, KeyName(id))
	if err == nil {
		o.Close()
	}
	return err == nil
}

func TestShredDestroysTheKeys(t *testing.T) {
	g := newRig(t, DirOptions{})
	g.recording(t, "r1")
	var forgotten []string
	g.Forget = func(_ context.Context, id string) error { forgotten = append(forgotten, id); return nil }
	if err := g.Shred(ctx, "r1", "no longer needed", "alice"); err != nil {
		t.Fatal(err)
	}
	if got := names(t, g.Store, ""); got != "recordings/r1/manifest" {
		t.Errorf("left: %s", got)
	}
	if fmt.Sprint(g.acts) != "[2 r1 no longer needed alice 64]" || fmt.Sprint(forgotten) != "[r1]" {
		t.Errorf("%v %v", g.acts, forgotten)
	}
	if err := g.Shred(ctx, "r1", "again", "alice"); !errors.Is(err, ErrGone) {
		t.Errorf("again: %v", err)
	}
	if err := g.Hold(ctx, "r1", "too late", "bob"); !errors.Is(err, ErrGone) {
		t.Errorf("held: %v", err)
	}
	if err := g.Shred(ctx, "r2", "x", "y"); !errors.Is(err, ErrNotFound) {
		t.Errorf("absent: %v", err)
	}
	if err := g.Store.Create(ctx, KeyName("r3"), []byte("k")); err != nil {
		t.Fatal(err)
	}
	if err := g.Shred(ctx, "r3", "x", "y"); !errors.Is(err, ErrRunning) || !g.has("r3") {
		t.Errorf("running: %v", err)
	}
}

func TestHoldWins(t *testing.T) {
	g := newRig(t, DirOptions{})
	g.recording(t, "r1")
	if err := g.Hold(ctx, "r1", "case 17", "bob"); err != nil {
		t.Fatal(err)
	}
	if err := g.Hold(ctx, "r1", "case 18", "bob"); !errors.Is(err, ErrHeld) {
		t.Errorf("held twice: %v", err)
	}
	g.marks.over = []string{"r1"}
	if err := g.Shred(ctx, "r1", "x", "y"); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "case 17") {
		t.Errorf("%v", err)
	}
	if gone, err := g.Expire(ctx, time.Now()); len(gone) != 0 || err != nil || !g.has("r1") {
		t.Errorf("expired: %v %v", gone, err)
	}
	if err := g.Unhold(ctx, "r1", "closed", "bob"); err != nil {
		t.Fatal(err)
	}
	if err := g.Unhold(ctx, "r1", "closed", "bob"); !errors.Is(err, ErrNotHeld) {
		t.Errorf("lifted twice: %v", err)
	}
	if gone, err := g.Expire(ctx, time.Now()); fmt.Sprint(gone) != "[r1]" || err != nil || g.has("r1") {
		t.Errorf("expired: %v %v", gone, err)
	}
}

// T39: in whatever order a hold and a destruction meet, a hold that was granted
// means that the keys are there.
func TestHoldAgainstDeletionRace(t *testing.T) {
	for i := range 200 {
		g := newRig(t, DirOptions{})
		g.recording(t, "r1")
		var wg sync.WaitGroup
		var holdErr, shredErr error
		wg.Go(func() { holdErr = g.Hold(ctx, "r1", "h", "a") })
		wg.Go(func() { shredErr = g.Shred(ctx, "r1", "s", "b") })
		wg.Wait()
		if err := g.Recover(ctx); err != nil {
			t.Fatal(err)
		}
		switch {
		case holdErr == nil && g.has("r1") && errors.Is(shredErr, ErrHeld):
		case errors.Is(holdErr, ErrGone) && !g.has("r1") && shredErr == nil:
		default:
			t.Fatalf("round %d: hold %v, shred %v, keys there %v", i, holdErr, shredErr, g.has("r1"))
		}
	}
}

// What is begun and fails at any step is finished later, and never without its
// entry.
func TestInterruptedShred(t *testing.T) {
	for at := range 12 {
		n, on := 0, false
		fault := func(do func() error) error {
			if on {
				if n++; n == at+1 {
					return syscall.EIO
				}
			}
			return do()
		}
		g := newRig(t, DirOptions{
			Sync:   func(f *os.File) error { return fault(f.Sync) },
			Remove: func(name string) error { return fault(func() error { return os.Remove(name) }) },
		})
		g.recording(t, "r1")
		on = true
		err := g.Shred(ctx, "r1", "s", "b")
		on = false
		if n > at && err == nil {
			t.Errorf("fault %d: no error", at)
		}
		if !g.has("r1") && len(g.acts) == 0 {
			t.Errorf("fault %d: destroyed without an entry", at)
		}
		if err := g.Recover(ctx); err != nil {
			t.Errorf("fault %d: %v", at, err)
		}
		if g.has("r1") {
			t.Errorf("fault %d: the keys are there still", at)
		}
	}
	g := newRig(t, DirOptions{})
	g.recording(t, "r1")
	g.fail = syscall.ENOSPC
	if err := g.Shred(ctx, "r1", "s", "b"); !errors.Is(err, syscall.ENOSPC) || !g.has("r1") {
		t.Errorf("without an entry: %v", err)
	}
	// A hold that comes before the destruction is finished wins.
	g.fail = nil
	if err := g.Hold(ctx, "r1", "h", "a"); err != nil {
		t.Fatal(err)
	}
	if err := g.Recover(ctx); err != nil || !g.has("r1") {
		t.Errorf("recovered: %v", err)
	}
}
