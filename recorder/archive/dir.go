package archive

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// DirOptions are replaced by tests that inject faults; nil is what the
// operating system does.
type DirOptions struct {
	Write  func(*os.File, []byte) (int, error)
	Sync   func(*os.File) error // of files and directories
	Link   func(old, new string) error
	Remove func(name string) error
}

// Dir is a Store in a directory of a file system that has hard links: an object
// is a file of mode 0600, staged under a name that begins with a dot and linked
// to its own once it is durable.
type Dir struct {
	root string
	o    DirOptions

	mu      sync.Mutex
	durable map[string]bool // directories whose names are durable; guarded by mu
}

const stagedPrefix = ".staged-"

// OpenDir opens the store in the directory path, which it makes with mode 0700.
func OpenDir(path string, o DirOptions) (*Dir, error) {
	if o.Write == nil {
		o.Write = (*os.File).Write
	}
	if o.Sync == nil {
		o.Sync = (*os.File).Sync
	}
	if o.Link == nil {
		o.Link = os.Link
	}
	if o.Remove == nil {
		o.Remove = os.Remove
	}
	d := &Dir{root: filepath.Clean(path), o: o, durable: map[string]bool{}}
	if err := d.mkdir(path); err != nil {
		return nil, fmt.Errorf("the archive cannot be opened: %w", err)
	}
	return d, nil
}

// Clean removes what a crash left of objects that were being created. Nothing
// else may use the store meanwhile.
func (d *Dir) Clean() error {
	return filepath.WalkDir(d.root, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && strings.HasPrefix(e.Name(), stagedPrefix) {
			return d.o.Remove(name)
		}
		return err
	})
}

// mkdir makes a directory and those above it, durably. One that is there may
// have been made just now by somebody who has not made it durable yet, so that
// is left out only for those that this Dir has seen to.
func (d *Dir) mkdir(path string) error {
	d.mu.Lock()
	known := d.durable[path]
	d.mu.Unlock()
	if known {
		return nil
	}
	parent := filepath.Dir(path)
	if path != d.root && len(parent) >= len(d.root) {
		if err := d.mkdir(parent); err != nil {
			return err
		}
	} else if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if st, err := os.Stat(path); err != nil || !st.IsDir() {
		return errors.Join(err, fmt.Errorf("%s is no directory", path))
	}
	if err := d.syncDir(parent); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.durable) >= maxKnown {
		clear(d.durable)
	}
	d.durable[path] = true
	return nil
}

// maxKnown is how many directories are remembered.
const maxKnown = 4096

func (d *Dir) syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.o.Sync(f)
}

func (d *Dir) path(name string) (string, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	return filepath.Join(d.root, filepath.FromSlash(name)), nil
}

// Create is that of Store.
func (d *Dir) Create(ctx context.Context, name string, data []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	path, err := d.path(name)
	if err == nil {
		err = d.create(path, data)
	}
	if err != nil {
		return fmt.Errorf("the object %s cannot be stored: %w", name, err)
	}
	return nil
}

func (d *Dir) create(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := d.mkdir(dir); err != nil {
		return err
	}
	staged := filepath.Join(dir, stagedPrefix+rand.Text())
	if err := d.stage(staged, data); err != nil {
		return errors.Join(err, d.remove(staged))
	}
	err := d.o.Link(staged, path)
	if errors.Is(err, fs.ErrExist) {
		err = d.same(path, data)
	}
	if err == nil {
		err = d.syncDir(dir)
	}
	return errors.Join(err, d.remove(staged))
}

// stage writes a file and makes its content durable.
func (d *Dir) stage(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := d.o.Write(f, data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = d.o.Sync(f)
	}
	return errors.Join(err, f.Close())
}

func (d *Dir) remove(path string) error {
	if err := d.o.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// same is nil when the file at path holds data, durably.
func (d *Dir) same(path string, data []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != int64(len(data)) {
		return ErrExists
	}
	there, err := io.ReadAll(io.LimitReader(f, int64(len(data))+1))
	if err != nil {
		return err
	}
	if !bytes.Equal(there, data) {
		return ErrExists
	}
	return d.o.Sync(f)
}

type dirObject struct {
	*os.File
	size int64
}

func (o dirObject) Size() int64 { return o.size }

// Open is that of Store.
func (d *Dir) Open(ctx context.Context, name string) (Object, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	path, err := d.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("the object %s cannot be read: %w", name, err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("the object %s cannot be read: %w", name, err)
	}
	return dirObject{f, st.Size()}, nil
}

// List is that of Store. Files whose names no object can have are left out.
func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		d.list(ctx, "", prefix, yield)
	}
}

// list lists the directory dir, which is "" or ends with a slash.
func (d *Dir) list(ctx context.Context, dir, prefix string, yield func(Entry, error) bool) bool {
	if ctx.Err() != nil {
		yield(Entry{}, context.Cause(ctx))
		return false
	}
	entries, err := os.ReadDir(filepath.Join(d.root, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return true // it was deleted meanwhile
	}
	if err != nil {
		yield(Entry{}, fmt.Errorf("the archive cannot be listed: %w", err))
		return false
	}
	// A directory sorts by its name with the slash.
	key := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(key(a), key(b)) })
	for _, e := range entries {
		name := dir + key(e)
		if e.IsDir() {
			if strings.HasPrefix(name, prefix) || strings.HasPrefix(prefix, name) {
				if !d.list(ctx, name, prefix, yield) {
					return false
				}
			}
			continue
		}
		if !e.Type().IsRegular() || !strings.HasPrefix(name, prefix) || CheckName(name) != nil {
			continue
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			yield(Entry{}, fmt.Errorf("the archive cannot be listed: %w", err))
			return false
		}
		if !yield(Entry{Name: name, Size: st.Size()}, nil) {
			return false
		}
	}
	return true
}

// Delete is that of Store. What the file held is overwritten first, as far as
// the file system lets that reach the disk.
func (d *Dir) Delete(ctx context.Context, name string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	path, err := d.path(name)
	if err == nil {
		err = d.destroy(path)
	}
	if err != nil {
		return fmt.Errorf("the object %s cannot be deleted: %w", name, err)
	}
	return nil
}

func (d *Dir) destroy(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return nil
		}
		return d.syncDir(filepath.Dir(path)) // an earlier try may have come so far
	}
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && st.Size() <= overwriteMost {
		if _, err = d.o.Write(f, make([]byte, st.Size())); err == nil {
			err = d.o.Sync(f)
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.remove(path); err != nil {
		return err
	}
	return d.syncDir(filepath.Dir(path))
}

// overwriteMost is the size up to which objects are overwritten, in bytes. Key
// objects are small; segments are worth nothing without them.
const overwriteMost = 64 << 10

// Free returns the free space for this process and the size, in bytes, of the
// file system that holds path.
func Free(path string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}
