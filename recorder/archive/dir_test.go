package archive

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

var ctx = context.Background()

func openDir(t testing.TB, o DirOptions) *Dir {
	t.Helper()
	d, err := OpenDir(filepath.Join(t.TempDir(), "a", "b"), o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func names(t *testing.T, s Store, prefix string) string {
	t.Helper()
	var all []string
	for e, err := range s.List(ctx, prefix) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e.Name)
	}
	return strings.Join(all, " ")
}

func TestCreateOnce(t *testing.T) {
	d := openDir(t, DirOptions{})
	if _, err := d.Open(ctx, "x/y"); !errors.Is(err, ErrNotFound) {
		t.Errorf("open: %v", err)
	}
	for range 2 { // the same content again is fine
		if err := d.Create(ctx, "x/y", []byte("one")); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []string{"two", "on", "longer"} {
		if err := d.Create(ctx, "x/y", []byte(other)); !errors.Is(err, ErrExists) {
			t.Errorf("%q: %v", other, err)
		}
	}
	if b, err := ReadAll(ctx, d, "x/y", 10); err != nil || string(b) != "one" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := ReadAll(ctx, d, "x/y", 2); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if st, err := os.Stat(filepath.Join(d.root, "x", "y")); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	for range 2 {
		if err := d.Delete(ctx, "x/y"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Open(ctx, "x/y"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

func TestOneOfManyCreators(t *testing.T) {
	d := openDir(t, DirOptions{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 20 {
		wg.Go(func() {
			err := d.Create(ctx, "r/k", []byte{byte(i)})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || names(t, d, "") != "r/k" {
		t.Errorf("%d creators won: %s", won, names(t, d, ""))
	}
}

func TestListIsSorted(t *testing.T) {
	d := openDir(t, DirOptions{})
	for _, n := range []string{"b/2", "a", "b/10", "b.c", "b/1", "c/d/e"} {
		if err := d.Create(ctx, n, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(d.root, "b", stagedPrefix+"x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := names(t, d, ""); got != "a b.c b/1 b/10 b/2 c/d/e" {
		t.Error(got)
	}
	if got := names(t, d, "b/1"); got != "b/1 b/10" {
		t.Error(got)
	}
	if err := d.Clean(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.root, "b", stagedPrefix+"x")); err == nil {
		t.Error("what a crash left is still there")
	}
}

func TestNames(t *testing.T) {
	d := openDir(t, DirOptions{})
	for _, n := range []string{"", "/x", "x/", "../x", "x/../y", ".x", "x/.y", "x//y", "x y", "x\x00", "é", strings.Repeat("x", 600), `x\y`} {
		if err := d.Create(ctx, n, nil); err == nil {
			t.Errorf("%q was taken", n)
		}
		if _, err := d.Open(ctx, n); err == nil {
			t.Errorf("%q was opened", n)
		}
		if err := d.Delete(ctx, n); err == nil {
			t.Errorf("%q was deleted", n)
		}
	}
	// A link in the store leads nowhere.
	if err := os.Symlink("/etc/passwd", filepath.Join(d.root, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open(ctx, "link"); err == nil {
		t.Error("a link was followed")
	}
}

// Each fault is injected twice: not persisted, and persisted although it said
// that it failed. A second try must come through in both cases.
func TestFaults(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		for at := range 8 {
			n, on := 0, false
			fault := func(do func() error) error {
				if on {
					if n++; n == at+1 {
						if persisted {
							_ = do()
						}
						return syscall.EIO
					}
				}
				return do()
			}
			d := openDir(t, DirOptions{
				Write: func(f *os.File, p []byte) (w int, err error) {
					return w, fault(func() error { w, err = f.Write(p); return err })
				},
				Sync:   func(f *os.File) error { return fault(f.Sync) },
				Link:   func(a, b string) error { return fault(func() error { return os.Link(a, b) }) },
				Remove: func(name string) error { return fault(func() error { return os.Remove(name) }) },
			})
			on = true
			err := d.Create(ctx, "r/1", []byte("content"))
			if n > at && err == nil {
				t.Errorf("fault %d, persisted %v: no error", at, persisted)
			}
			on = false
			if err := d.Create(ctx, "r/1", []byte("content")); err != nil {
				t.Errorf("fault %d, persisted %v: the second try: %v", at, persisted, err)
			}
			on, n = true, 0
			err = d.Delete(ctx, "r/1")
			if n > at && err == nil {
				t.Errorf("delete, fault %d, persisted %v: no error", at, persisted)
			}
			on = false
			if err := d.Delete(ctx, "r/1"); err != nil {
				t.Errorf("delete, fault %d, persisted %v: the second try: %v", at, persisted, err)
			}
			if _, err := d.Open(ctx, "r/1"); !errors.Is(err, ErrNotFound) {
				t.Errorf("fault %d, persisted %v: %v", at, persisted, err)
			}
		}
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" && os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skipf("no file system can be mounted: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	d, err := OpenDir(dir, DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Create(ctx, "r/big", make([]byte, 1<<20)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if err := d.Create(ctx, "r/small", make([]byte, 100<<10)); err != nil {
		t.Errorf("what the failed object took is not free again: %v", err)
	}
	if got := names(t, d, ""); got != "r/small" {
		t.Error(got)
	}
	free, total, err := Free(dir)
	if err != nil || total != 256<<10 || free <= 0 || free > 156<<10 {
		t.Errorf("%d of %d: %v", free, total, err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := d.Create(ctx, "r/other", []byte("x")); !errors.Is(err, syscall.EROFS) {
		t.Errorf("%v", err)
	}
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "recordings/06h0hfa12a828mcyt43zpmdp00/000000.seg", ".", "a//b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if !filepath.IsLocal(name) || strings.Contains(name, `\`) {
			t.Errorf("%q is allowed", name)
		}
	})
}
