package recorder

import (
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/recorder/journal"
)

// disk is a Sync that can be held up, fail, and tell what is durable.
type disk struct {
	gate    chan struct{} // nil: open
	opened  sync.Once
	entered chan struct{} // gets a token for each Sync that reaches the gate
	fail    atomic.Pointer[error]
	persist bool // a Sync that fails has done its work
	durable atomic.Int64
	syncs   atomic.Int64
}

func newDisk() *disk {
	return &disk{gate: make(chan struct{}), entered: make(chan struct{}, 1000)}
}

// open lets every Sync pass from now on.
func (d *disk) open() {
	if d.gate != nil {
		d.opened.Do(func() { close(d.gate) })
	}
}

func (d *disk) sync(f *os.File) error {
	d.syncs.Add(1)
	if d.gate != nil {
		d.entered <- struct{}{}
		<-d.gate
	}
	err := d.fail.Load()
	if err != nil && !d.persist {
		return *err
	}
	if info, e := f.Stat(); e == nil {
		d.durable.Store(info.Size())
	}
	if err != nil {
		return *err
	}
	return nil
}

// slowed opens a recording on a healthy disk which then becomes d.
func slowed(t *testing.T, o Options, d *disk) *Recording {
	t.Helper()
	return slowedWrite(t, o, d, nil)
}

func slowedWrite(t *testing.T, o Options, d *disk, write func(*os.File, []byte) (int, error)) *Recording {
	t.Helper()
	var hook atomic.Pointer[disk]
	g := newRig(t, o, journal.Options{Write: write, Sync: func(f *os.File) error {
		if d := hook.Load(); d != nil {
			return d.sync(f)
		}
		return nil
	}})
	rec := open(t, g, shell())
	hook.Store(d)
	t.Cleanup(d.open) // before the recording is closed
	return rec
}

// TestNothingIsReleasedBeforeItIsDurable is invariant I1: while the disk is
// busy with a byte, the byte is not given out, however long that takes.
func TestNothingIsReleasedBeforeItIsDurable(t *testing.T) {
	d := newDisk()
	rec := slowed(t, Options{}, d)
	out, errs := take(rec, policy.StreamOutput), take(rec, policy.StreamStderr)
	for round, p := range []string{"a", "bc", "def"} {
		before := len(out.bytes())
		check(t, rec.Output(policy.StreamOutput, []byte(p)))
		check(t, rec.Output(policy.StreamStderr, []byte(p)))
		await(t, d.entered, "the sync")
		time.Sleep(20 * time.Millisecond)
		if got := len(out.bytes()); got != before || len(errs.bytes()) != before {
			t.Fatalf("round %d: %d bytes were given out before the sync, %d after %d syncs", round, before, got, d.syncs.Load())
		}
		d.gate <- struct{}{}
		// The second stream may have missed that sync.
		until(t, "the bytes", func() bool {
			select {
			case d.gate <- struct{}{}:
			default:
			}
			return len(out.bytes()) == before+len(p) && len(errs.bytes()) == before+len(p)
		})
		for len(d.entered) > 0 {
			<-d.entered
		}
	}
	d.open()
}

// image is a disk that loses all that was not synced: each Sync copies the file
// to a directory.
type image struct{ dir string }

func (m image) sync(f *os.File) error {
	data, err := os.ReadFile(f.Name())
	if err != nil {
		return nil // a directory
	}
	staged := filepath.Join(m.dir, "staged")
	if err := os.WriteFile(staged, data, 0o600); err != nil {
		return err
	}
	return os.Rename(staged, filepath.Join(m.dir, filepath.Base(f.Name())))
}

// durable returns how many bytes of each kind of records are on the disk, and of
// output only those about which a decision is there too.
func (m image) durable(t *testing.T) map[byte]int {
	t.Helper()
	dir := t.TempDir()
	check(t, os.CopyFS(dir, os.DirFS(m.dir)))
	j, err := journal.Open(journal.Options{Dir: dir, Key: [32]byte{1, 2, 3}, FileSize: 64 << 10, Reserve: 4 << 10})
	check(t, err)
	defer j.Close()
	found := map[byte]int{}
	_, err = j.Replay(func(rec journal.Record, _ journal.LSN) error {
		if rec.Kind != 'o' {
			found[rec.Kind] += len(rec.Data)
			return nil
		}
		a, err := parseAccount(rec.Data)
		for _, d := range a.decisions {
			found['o'] += d.n
		}
		return err
	})
	check(t, err)
	return found
}

// TestReleasedBytesAreDurable looks at what is given out: it, what was decided
// about it, and all input before it survive a power cut.
func TestReleasedBytesAreDurable(t *testing.T) {
	m := image{t.TempDir()}
	g := newRig(t, Options{}, journal.Options{Sync: m.sync, FileSize: 256 << 10, Reserve: 16 << 10})
	rec := open(t, g, shell())
	const rounds = 60
	go func() {
		for range rounds {
			rec.Input([]byte("key"))
			rec.Output(policy.StreamOutput, []byte("echo"))
		}
		rec.CloseOutput(policy.StreamOutput)
	}()
	got := 0
	for {
		p, err := rec.Next(policy.StreamOutput)
		if err == io.EOF {
			break
		}
		check(t, err)
		got += len(p)
		if d := m.durable(t); d['o'] < got || d['i'] < got/4*3 {
			t.Fatalf("%d bytes were given out while %d of output and %d of input were durable", got, d['o'], d['i'])
		}
	}
	if got != 4*rounds {
		t.Errorf("%d bytes were given out", got)
	}
}

// TestInputIsInTheJournal holds Input to having written when it returns, while
// the disk is busy with something else.
func TestInputIsInTheJournal(t *testing.T) {
	d := newDisk()
	var mu sync.Mutex
	written := 0
	rec := slowedWrite(t, Options{}, d, func(f *os.File, p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		written += len(p)
		return f.Write(p)
	})
	size := func() int { mu.Lock(); defer mu.Unlock(); return written }
	check(t, rec.Output(policy.StreamOutput, []byte("$ ")))
	await(t, d.entered, "a sync")
	for _, key := range []string{"l", "s", "\r", "\xff"} {
		before := size()
		check(t, rec.Input([]byte(key)))
		if size() <= before {
			t.Errorf("input %q was accepted and not written", key)
		}
	}
}

func TestInputIsDurableSoon(t *testing.T) {
	m := image{t.TempDir()}
	g := newRig(t, Options{}, journal.Options{Sync: m.sync, FileSize: 256 << 10, Reserve: 16 << 10})
	check(t, open(t, g, shell()).Input([]byte("x")))
	until(t, "input to be durable", func() bool { return m.durable(t)['i'] == 1 })
}

// TestGroupCommit holds output that comes during a sync to sharing the next.
func TestGroupCommit(t *testing.T) {
	d := newDisk()
	rec := slowed(t, Options{}, d)
	k := take(rec, policy.StreamOutput)
	check(t, rec.Output(policy.StreamOutput, []byte("x")))
	await(t, d.entered, "the first sync")
	for range 1000 {
		check(t, rec.Output(policy.StreamOutput, []byte("x")))
	}
	d.open()
	until(t, "all output", func() bool { return len(k.bytes()) == 1001 })
	if n := d.syncs.Load(); n > 3 {
		t.Errorf("%d syncs for 1 and 1000 pieces of output", n)
	}
}
