package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/cast"
	"sallyport/recorder/catalog"
	"sallyport/recorder/crashfs"
	"sallyport/recorder/ledger"
	"sallyport/recorder/sealed"
	"sallyport/replay"
)

// crashRounds is how often the bastion is killed: SALLYPORT_CRASH_ROUNDS, or
// 200 where everything is required, or a few.
func crashRounds(t *testing.T) int {
	t.Helper()
	if s := os.Getenv("SALLYPORT_CRASH_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("SALLYPORT_CRASH_ROUNDS: %q is no count", s)
		}
		return n
	}
	if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
		return 200
	}
	return 4
}

// witness is a client that remembers every byte it was given.
type witness struct {
	tag   string // in its command line, by which its recording is found
	typed bool   // what it is given is what it typed

	mu  sync.Mutex
	got []byte // guarded by mu
}

// Write is its standard output.
func (w *witness) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, p...)
	return len(p), nil
}

func (w *witness) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.got)
}

// run holds a session until the connection breaks: one that prints without end,
// or one in which every key comes back.
func (w *witness) run(client *ssh.Client) error {
	s, err := client.NewSession()
	if err != nil {
		return err
	}
	defer s.Close()
	s.Stdout = w
	if !w.typed {
		return s.Run(fmt.Sprintf("i=0; while :; do i=$((i+1)); echo \"%s naïve $i\"; done", w.tag))
	}
	in, err := s.StdinPipe()
	if err != nil {
		return err
	}
	if err := s.Start("cat # " + w.tag); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if _, err := fmt.Fprintf(in, "%s key %d\n", w.tag, i); err != nil {
			return err
		}
		time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
	}
}

// crowd runs witnesses against the bastion, two on each of two connections. wait
// returns when the bastion has gone.
func (n *ownNode) crowd(round int, signer ssh.Signer) (all []*witness, wait func()) {
	n.t.Helper()
	var wg sync.WaitGroup
	for c := range 2 {
		client, err := ssh.Dial("tcp", n.addr, &ssh.ClientConfig{User: "demo@t1", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
			HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience})
		if err != nil {
			n.t.Fatalf("round %d: %v", round, err)
		}
		for s := range 2 {
			w := &witness{tag: fmt.Sprintf("round-%d-%d-%d.", round, c, s), typed: s == 1}
			all = append(all, w)
			wg.Go(func() { _ = w.run(client) }) // it ends with the bastion
		}
		wg.Go(func() { _ = client.Wait(); client.Close() })
	}
	return all, wg.Wait
}

// record is what a node has on its disk, as an auditor opens it.
type record struct {
	t       testing.TB
	data    dataDir
	catalog *catalog.Catalog
	archive *archive.Dir
	keys    replay.Keys
}

func openRecord(t testing.TB, data dataDir) *record {
	t.Helper()
	r := &record{t: t, data: data}
	var err error
	if r.catalog, err = catalog.Open(context.Background(), data.catalog()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.catalog.Close() })
	if r.archive, err = archive.OpenDir(data.archive(), archive.DirOptions{}); err != nil {
		t.Fatal(err)
	}
	if r.keys.View, err = readIdentities(data.keys().view()); err != nil {
		t.Fatal(err)
	}
	if r.keys.Raw, err = readIdentities(data.keys().raw()); err != nil {
		t.Fatal(err)
	}
	return r
}

// holds fails unless a recording holds every byte that w was given, and what it
// typed to be given that.
func (r *record) holds(w *witness) {
	r.t.Helper()
	got := w.bytes()
	found, err := r.catalog.Recordings(context.Background(), catalog.Filter{Text: w.tag})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(found) == 0 && len(got) == 0 {
		return // it was killed before the session began
	}
	if len(found) != 1 || found[0].Summary.State != policy.RecordingInterrupted {
		r.t.Fatalf("%s: %d recordings, %+v", w.tag, len(found), found)
	}
	out, in := r.read(found[0].Session.ID)
	if !bytes.HasPrefix(out, got) {
		r.t.Errorf("%s was given %d bytes, and %s holds %d others", w.tag, len(got), found[0].Session.ID, len(out))
	}
	if w.typed && !bytes.HasPrefix(in, got) {
		r.t.Errorf("%s was given back %d bytes, and %s holds %d typed ones", w.tag, len(got), found[0].Session.ID, len(in))
	}
}

// read returns the raw output and input of a recording.
func (r *record) read(id policy.SessionID) (out, in []byte) {
	r.t.Helper()
	rd, err := recorder.OpenRecording(context.Background(), r.archive, id, func(o *sealed.KeyObject) (sealed.Keys, error) { return o.Unwrap(r.keys.View, r.keys.Raw) })
	if err != nil {
		r.t.Fatal(err)
	}
	defer rd.Close()
	for {
		f, err := rd.Next()
		if err == io.EOF {
			return out, in
		}
		if err != nil {
			r.t.Fatal(err)
		}
		switch f.Code {
		case cast.CodeOutput:
			out = append(out, f.Raw...)
		case cast.CodeInput:
			in = append(in, f.Raw...)
		}
	}
}

// verify wants the one verdict for every recording of a bastion that has ended.
func (r *record) verify(want replay.Result) (n int) {
	r.t.Helper()
	v, err := ledger.ReadVerifier(r.data.keys().ledgerPublic())
	if err != nil {
		r.t.Fatal(err)
	}
	o := replay.VerifyOptions{Archive: r.archive, View: r.keys.View, Raw: r.keys.Raw}
	if o.Log, err = ledger.Load(r.data.ledger(), v); err != nil {
		r.t.Fatal(err)
	}
	for verdict, err := range replay.Verify(context.Background(), o) {
		if err != nil {
			r.t.Fatal(err)
		}
		if verdict.Result != want || !verdict.Content {
			r.t.Errorf("%+v, want %s", verdict, want)
		}
		n++
	}
	return n
}

// TestKilledAtAnyMoment is THREATS T15: whenever the bastion is killed, every
// byte that any client was given is in a recording that verifies as interrupted.
func TestKilledAtAnyMoment(t *testing.T) {
	n := newNode(t, nodeOptions{})
	host := sshtest.StartHost(t, sshtest.Options{UserCAs: []ssh.PublicKey{n.targetCA()}})
	n.target(host.Addr, "demo", host.HostKey)
	rounds := crashRounds(t)
	var r *record
	var before []*witness
	var given int
	for round := range rounds + 1 {
		n.start()
		if r == nil {
			r = openRecord(t, dataDir(filepath.Join(n.dir, "data")))
		}
		for _, w := range before {
			r.holds(w)
			given += len(w.bytes())
		}
		if t.Failed() || round == rounds {
			break
		}
		all, wait := n.crowd(round, n.signer())
		time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond)
		n.end(syscall.SIGKILL)
		wait()
		before = all
	}
	n.end(syscall.SIGTERM)
	if t.Failed() {
		return
	}
	found := r.verify(replay.Interrupted)
	if given == 0 || found < rounds {
		t.Errorf("%d bytes were given and %d recordings made in %d rounds: that shows nothing", given, found, rounds)
	}
	t.Logf("%d rounds, %d recordings, %d bytes", rounds, found, given)
}

// TestPowerCutAtAnyMoment is the same with the power instead of the process:
// the data lies in a file system that loses, at each cut, whatever no fsync had
// covered. SIGKILL alone proves no fsync, since the kernel keeps what was
// written.
func TestPowerCutAtAnyMoment(t *testing.T) {
	mount := t.TempDir()
	n := newNode(t, nodeOptions{data: mount})
	host := sshtest.StartHost(t, sshtest.Options{UserCAs: []ssh.PublicKey{n.targetCA()}})
	n.target(host.Addr, "demo", host.HostKey)
	state := t.TempDir()
	if err := os.CopyFS(state, os.DirFS(mount)); err != nil {
		t.Fatal(err)
	}
	rounds := min(crashRounds(t), 30)
	var before []*witness
	given := 0
	for round := range rounds + 1 {
		fs := crashfs.Mount(t, mount, state)
		n.start()
		if round == rounds {
			n.end(syscall.SIGTERM)
		}
		now := filepath.Join(t.TempDir(), "now")
		if err := fs.Snapshot(now, "journal"); err != nil {
			t.Fatal(err)
		}
		r := openRecord(t, dataDir(now))
		for _, w := range before {
			r.holds(w)
			given += len(w.bytes())
		}
		if round == rounds && !t.Failed() {
			r.verify(replay.Interrupted)
		}
		r.catalog.Close()
		if round == rounds || t.Failed() {
			break
		}
		all, wait := n.crowd(round, n.signer())
		time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond)
		n.end(syscall.SIGKILL)
		wait()
		before, state = all, t.TempDir()
		if err := fs.Cut(state); err != nil {
			t.Fatal(err)
		}
	}
	if given == 0 {
		t.Error("no byte was given: that shows nothing")
	}
	t.Logf("%d rounds, %d bytes", rounds, given)
}
