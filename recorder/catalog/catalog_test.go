package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/policy"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t testing.TB, path string) *Catalog {
	t.Helper()
	c, err := Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func fresh(t testing.TB) *Catalog {
	return open(t, filepath.Join(t.TempDir(), "catalog.db"))
}

// TestOpenMakesPrivateFile also covers characters that mean something in
// SQLite's URI file names.
func TestOpenMakesPrivateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%41.db")
	c := open(t, path)
	if err := c.PutUser(context.Background(), policy.User{Issuer: "i", Subject: "s"}, t0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, fi.Mode())
		}
	}
}

func TestReopenKeepsStateAndIndex(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "catalog.db")
	c := open(t, path)
	u := policy.User{Issuer: "https://idp", Subject: "1", Name: "Ada", Email: "ada@example.com", Groups: []string{"dba", "o'ps"}}
	if err := c.PutUser(ctx, u, t0); err != nil {
		t.Fatal(err)
	}
	b := Binding{Fingerprint: "SHA256:x", Principal: u.Principal(), Source: "10.0.0.1:5", Created: t0, Expires: t0.Add(time.Hour)}
	if err := c.Bind(ctx, b); err != nil {
		t.Fatal(err)
	}
	r := recording(1)
	if err := c.Begin(ctx, r.Session); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	c = open(t, path)
	if got, err := c.User(ctx, u.Principal()); err != nil || fmt.Sprint(got) != fmt.Sprint(u) {
		t.Errorf("User = %+v, %v; want %+v", got, err, u)
	}
	if got, err := c.Binding(ctx, b.Fingerprint); err != nil || got != b {
		t.Errorf("Binding = %+v, %v; want %+v", got, err, b)
	}
	if got, err := c.Recording(ctx, r.Session.ID); err != nil || got.Summary.State != policy.RecordingOpen {
		t.Errorf("Recording = %+v, %v; want an open one", got, err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	for _, s := range schemas {
		path := filepath.Join(t.TempDir(), "catalog.db")
		c := open(t, path)
		if _, err := c.db.Exec(`INSERT INTO ` + s.versions + ` (version_id, is_applied) VALUES (99, true)`); err != nil {
			t.Fatal(err)
		}
		c.Close()
		_, err := Open(context.Background(), path)
		if err == nil || !strings.Contains(err.Error(), s.name+" schema: the database is at version 99 and this sallyport knows only") {
			t.Errorf("Open of a newer %s schema: %v", s.name, err)
		}
	}
}

func TestOpenRefusesWhatIsNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Open = %v, want an error that names the file", err)
	}
	if _, err := Open(context.Background(), filepath.Join(path, "below")); err == nil {
		t.Error("Open below a file succeeded")
	}
}

func TestIndexCanBeDroppedWithoutTheState(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "catalog.db")
	c := open(t, path)
	u := policy.User{Issuer: "i", Subject: "s"}
	if err := c.PutUser(ctx, u, t0); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"index_recordings", "index_schema"} {
		if _, err := c.db.Exec(`DROP TABLE ` + table); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	c = open(t, path)
	if _, err := c.User(ctx, u.Principal()); err != nil {
		t.Error(err)
	}
	if err := c.PutRecording(ctx, recording(1)); err != nil {
		t.Error(err)
	}
}

func TestUserIsReplacedAndChecked(t *testing.T) {
	ctx := context.Background()
	c := fresh(t)
	u := policy.User{Issuer: "i", Subject: "s", Name: "Old"}
	for _, name := range []string{"Old", "New\x00\xff<script>"} {
		u.Name = name
		if err := c.PutUser(ctx, u, t0); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.User(ctx, u.Principal())
	if err != nil || got.Name != "New\uFFFD\uFFFD<script>" {
		t.Errorf("User = %+q, %v", got, err)
	}
	for _, bad := range []policy.User{{Issuer: "i"}, {Subject: "s"}, {Issuer: "i", Subject: "s\x00"}, {Issuer: "\xff", Subject: "s"}} {
		if err := c.PutUser(ctx, bad, t0); err == nil {
			t.Errorf("PutUser(%+q) succeeded", bad)
		}
	}
	if _, err := c.User(ctx, "u-nobody"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown user: %v, want ErrNotFound", err)
	}
}

func TestBindings(t *testing.T) {
	ctx := context.Background()
	c := fresh(t)
	u, v := policy.User{Issuer: "i", Subject: "1"}, policy.User{Issuer: "i", Subject: "2"}
	b := Binding{Fingerprint: "SHA256:k", Principal: u.Principal(), Created: t0, Expires: t0.Add(time.Hour)}
	if err := c.Bind(ctx, b); !errors.Is(err, ErrNotFound) {
		t.Errorf("Bind to an unknown user: %v, want ErrNotFound", err)
	}
	for _, x := range []policy.User{u, v} {
		if err := c.PutUser(ctx, x, t0); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []policy.Principal{u.Principal(), v.Principal()} {
		b.Principal = p
		if err := c.Bind(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := c.Binding(ctx, b.Fingerprint); err != nil || got.Principal != v.Principal() {
		t.Errorf("Binding = %+v, %v; want the later one", got, err)
	}
	for range 2 { // the second has nothing to forget
		if err := c.Unbind(ctx, b.Fingerprint); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Binding(ctx, b.Fingerprint); !errors.Is(err, ErrNotFound) {
		t.Errorf("forgotten binding: %v, want ErrNotFound", err)
	}
	if err := c.Bind(ctx, Binding{}); err == nil {
		t.Error("Bind of nothing succeeded")
	}
}

func TestSerialsAreNeverReused(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "catalog.db")
	// Two catalogs of one file stand for two processes.
	catalogs := []*Catalog{open(t, path), open(t, path)}
	var mu sync.Mutex
	seen := map[policy.Serial]bool{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				n, err := catalogs[i%2].NextSerial(ctx)
				mu.Lock()
				if err != nil || n == 0 || n>>63 != 0 || seen[n] {
					t.Errorf("serial %d, %v (seen: %v)", n, err, seen[n])
				}
				seen[n] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestSerialConflictIsRetried(t *testing.T) {
	c := fresh(t)
	numbers := []int64{7, 7, 0, 7, 9}
	next := func() int64 { n := numbers[0]; numbers = numbers[1:]; return n }
	for _, want := range []policy.Serial{7, 9} {
		if n, err := c.nextSerial(context.Background(), next); n != want || err != nil {
			t.Errorf("serial %d, %v; want %d", n, err, want)
		}
	}
	if n, err := c.nextSerial(context.Background(), func() int64 { return 7 }); err == nil {
		t.Errorf("serial %d from a broken random source", n)
	}
}

// TestConcurrentOpenAndWrite opens one new file many times at once, as several
// processes might, and writes and reads through all of them.
func TestConcurrentOpenAndWrite(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "catalog.db")
	var wg sync.WaitGroup
	const openers, each = 6, 15
	for i := range openers {
		wg.Go(func() {
			c, err := Open(ctx, path)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for j := range each {
				r := recording(i*each + j)
				if err := c.Begin(ctx, r.Session); err != nil {
					t.Error(err)
				}
				if err := c.Finish(ctx, r.Summary); err != nil {
					t.Error(err)
				}
				if _, err := c.Recordings(ctx, Filter{Limit: 5}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := open(t, path).Recordings(ctx, Filter{State: policy.RecordingComplete})
	if err != nil || len(got) != openers*each {
		t.Errorf("%d recordings, %v; want %d", len(got), err, openers*each)
	}
}

// TestWriteWaitsForAnotherProcess holds the write lock elsewhere for a while.
func TestWriteWaitsForAnotherProcess(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "catalog.db")
	c, other := open(t, path), open(t, path)
	tx, err := other.db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Begin(ctx, recording(1).Session) }()
	select {
	case err := <-done:
		t.Fatalf("Begin did not wait for the lock: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := c.Recordings(ctx, Filter{}); err != nil {
		t.Errorf("reading beside a writer: %v", err)
	}
	tx.Rollback()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCancelledWriterSaysWhy(t *testing.T) {
	c := fresh(t)
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("the server is stopping")
	cancel(why)
	if err := c.Unbind(ctx, "SHA256:k"); !errors.Is(err, why) {
		t.Errorf("Unbind = %v, want %v", err, why)
	}
}
