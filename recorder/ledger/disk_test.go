package ledger

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// disk models what of a ledger's directory survives a power failure: of a file
// what was fsynced, under names that an fsync of their directory covers. It
// wraps the calls that a Ledger makes and keeps a picture before each of them.
type disk struct {
	t        testing.TB
	dir      string
	exists   bool              // dir itself has a durable name
	names    map[string]bool   // durable names, relative to dir
	synced   map[string][]byte // content that was fsynced, by the name of then
	lasting  []byte            // the checkpoint under its durable name
	pending  [][]byte          // checkpoints under a name that is not durable yet
	pictures []picture

	mu    sync.Mutex
	acked []string // guarded by mu: entries that callers were told are durable
}

// ack notes that a caller was told.
func (d *disk) ack(entries ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.acked = append(d.acked, entries...)
}

// picture is what a power failure at one moment can leave.
type picture struct {
	acked       []string
	entries     []byte   // as written
	durable     int      // how much of them is on the disk for certain
	exists      bool     // the directory is
	named       bool     // entries.jsonl is
	bodies      [][]byte // the least and the most of the day's file
	checkpoints [][]byte // each is possible; nil is none
}

func newDisk(t testing.TB, dir string) *disk {
	return &disk{t: t, dir: dir, names: map[string]bool{}, synced: map[string][]byte{}}
}

// hooks puts the disk between a Ledger and its files. They do not
// overlap: whoever makes them holds the ledger's token.
func (d *disk) hooks(o *Options) {
	o.Write = func(f *os.File, p []byte) (int, error) {
		d.picture()
		n, err := f.Write(p)
		d.picture()
		return n, err
	}
	o.Sync = func(f *os.File) error {
		name := d.name(f.Name())
		if st, err := f.Stat(); err == nil && st.IsDir() {
			d.syncDir(name)
		} else {
			d.synced[name] = d.read(name)
		}
		d.picture()
		return nil
	}
	o.Rename = func(from, to string) error {
		staged := d.synced[d.name(from)] // nothing, where it was not fsynced
		if err := os.Rename(from, to); err != nil {
			return err
		}
		if staged == nil {
			staged = []byte{}
		}
		d.pending = append(d.pending, staged)
		d.picture()
		return nil
	}
}

func (d *disk) name(path string) string {
	rel, err := filepath.Rel(d.dir, path)
	if err != nil {
		d.t.Fatal(err)
	}
	return rel
}

func (d *disk) read(name string) []byte {
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	return b
}

func (d *disk) syncDir(name string) {
	if name == ".." {
		d.exists = true
		return
	}
	list, err := os.ReadDir(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range list {
		d.names[filepath.Join(name, e.Name())] = true
	}
	if name == "." && len(d.pending) > 0 {
		d.lasting, d.pending = d.pending[len(d.pending)-1], nil
	}
}

func (d *disk) picture() {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := picture{acked: slices.Clone(d.acked), entries: d.read(entriesName), durable: len(d.synced[entriesName]), exists: d.exists, named: d.names[entriesName]}
	if len(p.entries) < p.durable {
		p.durable = len(p.entries) // what was torn was cut off
	}
	p.checkpoints = append([][]byte{d.lasting}, d.pending...)
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		if strings.HasPrefix(name, bodiesDir+"/") {
			p.bodies = [][]byte{d.synced[name], d.read(name)}
		}
	}
	d.pictures = append(d.pictures, p)
}

// restart forgets nothing: the process has died, the machine runs on.
func (d *disk) restart() { d.pictures = nil }

// states calls f with a directory for each that a picture allows: the entries
// cut at every byte beyond what is durable, with each checkpoint.
func (p picture) states(t testing.TB, f func(dir string, cut int)) {
	if !p.exists {
		f(filepath.Join(t.TempDir(), "none"), 0)
		return
	}
	bodies := p.bodies
	if len(bodies) == 0 {
		bodies = [][]byte{nil}
	}
	if len(bodies) == 2 && bytes.Equal(bodies[0], bodies[1]) {
		bodies = bodies[:1]
	}
	for _, cp := range p.checkpoints {
		for _, body := range bodies {
			for cut := p.durable; cut <= len(p.entries); cut++ {
				dir, err := os.MkdirTemp(t.TempDir(), "")
				if err != nil {
					t.Fatal(err)
				}
				put := func(name string, data []byte) {
					if data == nil {
						return
					}
					path := filepath.Join(dir, name)
					if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if p.named {
					put(entriesName, append([]byte{}, p.entries[:cut]...))
				}
				put(checkpointName, cp)
				put(filepath.Join(bodiesDir, testDay+".jsonl"), body)
				f(dir, cut)
				os.RemoveAll(dir)
			}
		}
	}
}
