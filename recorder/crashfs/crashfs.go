// Package crashfs is a file system for tests that knows what a power cut would
// leave. It lives in memory behind FUSE. A power cut loses every write that no
// fsync of the file has covered, and every name (made, renamed, linked, removed)
// that no fsync of its directory has: the worst that POSIX allows. SIGKILL alone
// shows nothing of that, since the kernel keeps what was written.
package crashfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// FS is a mounted file system.
type FS struct {
	dir    string
	server *fuse.Server
	root   *directory
	syncs  atomic.Int64
}

// Mount mounts a file system on the directory dir, with a durable copy of what
// from holds. It skips the test where FUSE is not to be had, unless
// SALLYPORT_TEST_REQUIRE=1.
func Mount(t testing.TB, dir, from string) *FS {
	t.Helper()
	f := &FS{dir: dir}
	f.root = &directory{fs: f}
	oneSecond := time.Second
	server, err := fusefs.Mount(dir, f.root, &fusefs.Options{
		AttrTimeout: &oneSecond, EntryTimeout: &oneSecond,
		OnAdd:        func(ctx context.Context) { f.load(ctx, t, f.root, from) },
		MountOptions: fuse.MountOptions{FsName: "crashfs", DirectMount: true, MaxWrite: 1 << 20},
	})
	if err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatalf("no FUSE file system can be mounted: %v", err)
		}
		t.Skipf("no FUSE file system can be mounted: %v", err)
	}
	f.server = server
	t.Cleanup(func() { _ = f.unmount() })
	return f
}

// Syncs is how many fsyncs there were.
func (f *FS) Syncs() int64 { return f.syncs.Load() }

// Cut is a power cut: the file system goes, and what was durable in it is
// written to the directory to. No process may use it any more.
func (f *FS) Cut(to string) error {
	if err := f.unmount(); err != nil {
		return err
	}
	return f.root.save(to)
}

// Snapshot writes what is in the file system now, durable or not, to the
// directory to, but for the directory without at its top. The process that
// serves the file system must not look at it by any other way: a page fault or a
// fork could wait for itself for ever.
func (f *FS) Snapshot(to, without string) error { return f.root.copy(to, without) }

// unmount tries for a while: a process that was killed may not have gone quite.
func (f *FS) unmount() error {
	if f.server == nil {
		return nil
	}
	var err error
	for range 200 {
		if err = f.server.Unmount(); err == nil {
			f.server = nil
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s cannot be unmounted: %w", f.dir, err)
}

// load makes the nodes of what is in the directory from, durable.
func (f *FS) load(ctx context.Context, t testing.TB, d *directory, from string) {
	if from == "" {
		return
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Error(err)
		return
	}
	for _, e := range entries {
		path := filepath.Join(from, e.Name())
		if e.IsDir() {
			child := &directory{fs: f}
			d.AddChild(e.Name(), d.NewPersistentInode(ctx, child, fusefs.StableAttr{Mode: syscall.S_IFDIR}), true)
			f.load(ctx, t, child, path)
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			return
		}
		child := &file{fs: f, data: data, durable: append([]byte(nil), data...)}
		d.AddChild(e.Name(), d.NewPersistentInode(ctx, child, fusefs.StableAttr{Mode: syscall.S_IFREG}), true)
	}
	d.sync()
}

// directory is one directory: its Inode has the names of now.
type directory struct {
	fusefs.Inode
	fs *FS

	mu      sync.Mutex
	durable map[string]fusefs.InodeEmbedder // guarded by mu: the names of the last fsync
}

var (
	_ = (fusefs.NodeMkdirer)((*directory)(nil))
	_ = (fusefs.NodeCreater)((*directory)(nil))
	_ = (fusefs.NodeLinker)((*directory)(nil))
	_ = (fusefs.NodeUnlinker)((*directory)(nil))
	_ = (fusefs.NodeRmdirer)((*directory)(nil))
	_ = (fusefs.NodeRenamer)((*directory)(nil))
	_ = (fusefs.NodeFsyncer)((*directory)(nil))
	_ = (fusefs.NodeGetattrer)((*directory)(nil))
	_ = (fusefs.NodeSetattrer)((*directory)(nil))
	_ = (fusefs.NodeStatfser)((*directory)(nil))
)

func (d *directory) sync() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable = map[string]fusefs.InodeEmbedder{}
	for name, child := range d.Children() {
		d.durable[name] = child.Operations()
	}
}

// Fsync makes the names durable.
func (d *directory) Fsync(context.Context, fusefs.FileHandle, uint32) syscall.Errno {
	d.fs.syncs.Add(1)
	d.sync()
	return 0
}

func (d *directory) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Nlink = 0o700, 2
	return 0
}

func (d *directory) Setattr(ctx context.Context, h fusefs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return d.Getattr(ctx, h, out)
}

func (d *directory) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.Blocks, out.Bfree, out.Bavail = 4096, 4096, 1<<24, 1<<23, 1<<23 // 64 GiB, half of them free
	return 0
}

func (d *directory) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	out.Mode, out.Nlink = 0o700, 2
	return d.NewPersistentInode(ctx, &directory{fs: d.fs}, fusefs.StableAttr{Mode: syscall.S_IFDIR}), 0
}

func (d *directory) Create(ctx context.Context, name string, flags, _ uint32, out *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	out.Mode, out.Nlink = 0o600, 1
	return d.NewPersistentInode(ctx, &file{fs: d.fs}, fusefs.StableAttr{Mode: syscall.S_IFREG}), nil, 0, 0
}

func (d *directory) Link(_ context.Context, target fusefs.InodeEmbedder, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	if d.GetChild(name) != nil {
		return nil, syscall.EEXIST
	}
	f, ok := target.(*file)
	if !ok {
		return nil, syscall.EPERM
	}
	f.attr(&out.Attr)
	return f.EmbeddedInode(), 0
}

func (d *directory) Unlink(context.Context, string) syscall.Errno { return 0 }

func (d *directory) Rmdir(_ context.Context, name string) syscall.Errno {
	if child := d.GetChild(name); child != nil && len(child.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	return 0
}

func (d *directory) Rename(context.Context, string, fusefs.InodeEmbedder, string, uint32) syscall.Errno {
	return 0 // the library moves the node
}

// save writes what is durable to a directory.
func (d *directory) save(to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, child := range d.durable {
		path := filepath.Join(to, name)
		var err error
		switch c := child.(type) {
		case *directory:
			err = c.save(path)
		case *file:
			c.mu.Lock()
			err = os.WriteFile(path, c.durable, 0o600)
			c.mu.Unlock()
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// copy writes what is there now to a directory.
func (d *directory) copy(to, without string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for name, child := range d.Children() {
		if name == without {
			continue
		}
		path := filepath.Join(to, name)
		var err error
		switch c := child.Operations().(type) {
		case *directory:
			err = c.copy(path, "")
		case *file:
			c.mu.Lock()
			err = os.WriteFile(path, c.data, 0o600)
			c.mu.Unlock()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file is one file.
type file struct {
	fusefs.Inode
	fs *FS

	mu      sync.Mutex
	data    []byte // as it is now
	durable []byte // as the last fsync left it
	pending []change
	times   [2]time.Time // access, modification
}

// change is what happened to a file since its last fsync: data at an offset or,
// without data, a new size.
type change struct {
	at   int64
	data []byte
}

var (
	_ = (fusefs.NodeOpener)((*file)(nil))
	_ = (fusefs.NodeReader)((*file)(nil))
	_ = (fusefs.NodeWriter)((*file)(nil))
	_ = (fusefs.NodeFsyncer)((*file)(nil))
	_ = (fusefs.NodeFlusher)((*file)(nil))
	_ = (fusefs.NodeGetattrer)((*file)(nil))
	_ = (fusefs.NodeSetattrer)((*file)(nil))
	_ = (fusefs.NodeAllocater)((*file)(nil))
)

func (f *file) attr(out *fuse.Attr) {
	out.Mode, out.Size, out.Nlink = 0o600, uint64(len(f.data)), 1
	out.Blocks = (out.Size + 511) / 512
	out.SetTimes(nil, &f.times[1], nil)
}

func (f *file) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, 0
}

func (f *file) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attr(&out.Attr)
	return 0
}

func (f *file) Setattr(_ context.Context, _ fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		f.data = resize(f.data, int64(size))
		f.pending = append(f.pending, change{at: int64(size)})
	}
	if at, ok := in.GetMTime(); ok {
		f.times[1] = at
	}
	f.attr(&out.Attr)
	return 0
}

func (f *file) Allocate(_ context.Context, _ fusefs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	const keepSize = 1
	if end := int64(off + size); mode&keepSize == 0 && end > int64(len(f.data)) {
		f.data = resize(f.data, end)
		f.pending = append(f.pending, change{at: end})
	}
	return 0
}

func (f *file) Read(_ context.Context, _ fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	off = min(off, int64(len(f.data)))
	return fuse.ReadResultData(dest[:copy(dest, f.data[off:])]), 0
}

func (f *file) Write(_ context.Context, _ fusefs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data = write(f.data, data, off)
	f.pending = append(f.pending, change{off, append([]byte{}, data...)})
	f.times[1] = time.Now()
	return uint32(len(data)), 0
}

func (f *file) Flush(context.Context, fusefs.FileHandle) syscall.Errno { return 0 }

// Fsync makes the content durable.
func (f *file) Fsync(context.Context, fusefs.FileHandle, uint32) syscall.Errno {
	f.fs.syncs.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.pending {
		if c.data == nil {
			f.durable = resize(f.durable, c.at)
		} else {
			f.durable = write(f.durable, c.data, c.at)
		}
	}
	f.pending = nil
	return 0
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		clear(b[size:]) // what grows again has zeros
		return b[:size]
	}
	if size <= int64(cap(b)) {
		return b[:size]
	}
	grown := make([]byte, size, size+size/4)
	copy(grown, b)
	return grown
}

func write(b, data []byte, at int64) []byte {
	if end := at + int64(len(data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[at:], data)
	return b
}
