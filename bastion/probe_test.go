package bastion

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/policy"
)

// hostOf runs a command on c, as often as it takes, until the recording of it
// says something else about its host than that there was no time.
func (f *front) hostOf(c *ssh.Client) (policy.HostContext, []policy.Channel) {
	f.t.Helper()
	for n := 1; n < 500; n++ {
		word := fmt.Sprintf("echo run-%d", n)
		if got := run(f.t, c, word, nil); got.out != word[5:]+"\n" || got.err != "" || got.code != 0 {
			f.t.Fatalf("the session was harmed: %v", got)
		}
		rec := f.recordingThat(word)
		rec.mu.Lock()
		end := rec.end
		rec.mu.Unlock()
		if end.Host == nil {
			f.t.Fatalf("nothing about the host: %+v", end)
		}
		if !strings.Contains(end.Host.Error, "the session ended") {
			return *end.Host, end.Channels
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.t.Fatal("the probe never ends")
	panic("unreachable")
}

// checkProbe expects one channel of the probe's own in the list.
func checkProbe(t *testing.T, list []policy.Channel, note string) {
	t.Helper()
	for _, c := range find(list, "channel", "bastion", "session") {
		if c.Note == note && c.Count == 1 && !c.Captured {
			return
		}
	}
	t.Errorf("no %q in\n%s", note, rows(list))
}

const probeNote = "the bastion's own context probe; what it found is in the host context"

// The probe finds what Debian's sshd runs on, and its channel is listed.
func TestProbeOfOpenSSH(t *testing.T) {
	r := startRealWith(t, withProbe(true))
	key := newKey(t)
	r.bind(key.PublicKey(), alice)
	c := r.mustDial(r.login+"@db1", key)
	h, list := r.hostOf(c)
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if h.Error != "" || h.Hostname != name || !strings.HasPrefix(h.Kernel, "Linux ") || !filepath.IsAbs(h.Shell) || !filepath.IsAbs(h.Dir) {
		t.Errorf("%+v", h)
	}
	if strings.HasSuffix(h.Shell, "/bash") && !strings.HasPrefix(h.ShellVer, "GNU bash, version ") {
		t.Errorf("%+v", h)
	}
	if release, err := os.ReadFile("/etc/os-release"); err == nil && !strings.Contains(string(release), `PRETTY_NAME="`+h.OS+`"`) {
		t.Errorf("OS %q", h.OS)
	}
	checkProbe(t, list, probeNote)
	if keys := find(list, "global", "target", "hostkeys-00@openssh.com"); len(keys) != 1 || keys[0].Count != 1 {
		t.Errorf("%+v", keys)
	}
	again, list := r.hostOf(c) // the same, not another
	if again != h {
		t.Errorf("%+v, then %+v", h, again)
	}
	checkProbe(t, list, probeNote)
	if n := strings.Count(r.host.Log(), "Accepted publickey"); n != 1 {
		t.Errorf("%d connections to the target", n)
	}
}

// A command that the target forces, in the place of the probe too, is not taken
// for its answer.
func TestProbeUnderAForcedCommand(t *testing.T) {
	r := startRealWith(t, withProbe(true), "ForceCommand echo run-1")
	key := newKey(t)
	r.bind(key.PublicKey(), alice)
	c := r.mustDial(r.login+"@db1", key)
	for range 100 {
		if got := run(t, c, "whatever", nil); got.out != "run-1\n" || got.code != 0 {
			t.Fatal(got)
		}
		ends := r.waitEntries(policy.EntrySessionEnd, 1)
		host := r.recordingOf(ends[len(ends)-1].Session).end.Host
		if host.Error == "what the target printed is not the probe's answer" {
			if host.Hostname != "" || host.Kernel != "" {
				t.Errorf("%+v", host)
			}
			return
		}
	}
	t.Error("the forced command's output was never refused")
}

// The probe takes no session's place: it does without where there is none, and
// gives it back where one is needed.
func TestProbeTakesNoPlace(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		r := startRealWith(t, withProbe(true), "MaxSessions 1")
		key := newKey(t)
		r.bind(key.PublicKey(), alice)
		c := r.mustDial(r.login+"@db1", key)
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		in, _ := s.StdinPipe()
		out, _ := s.StdoutPipe()
		if err := s.Start("echo begun; cat"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("begun\n"))); err != nil {
			t.Fatal(err)
		}
		waitForLog(t, r.front, "", "the context of a target is not known")
		in.Close()
		if err := s.Wait(); err != nil {
			t.Error(err)
		}
		end := r.recordingOf(r.waitEntries(policy.EntrySessionEnd, 1)[0].Session).end
		if end.Host.Error != "the target opened no channel for the probe" {
			t.Errorf("%+v", end.Host)
		}
		checkProbe(t, end.Channels, "not opened: the target refused")
	})
	t.Run("two", func(t *testing.T) {
		if passwd, err := exec.Command("getent", "passwd", strconv.Itoa(os.Getuid())).Output(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(passwd)), "/bash") {
			t.Skip("the account's shell is not bash, whose start-up file the test makes slow")
		}
		home := t.TempDir()
		slow := "case $BASH_EXECUTION_STRING in *" + probeBegin + "*) while :; do echo slow; sleep 0.05; done;; esac\n"
		if err := os.WriteFile(filepath.Join(home, ".bashrc"), []byte(slow), 0o600); err != nil {
			t.Fatal(err)
		}
		r := startRealWith(t, func(c *Config) { withProbe(true)(c); c.Limits.Probe = time.Hour }, "MaxSessions 2", "SetEnv HOME="+home)
		key := newKey(t)
		r.bind(key.PublicKey(), alice)
		c := r.mustDial(r.login+"@db1", key)
		first, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		in, _ := first.StdinPipe()
		var out, errOut bytes.Buffer
		first.Stdout, first.Stderr = &out, &errOut
		if err := first.Start("cat"); err != nil {
			t.Fatal(err)
		}
		r.host.WaitLog("id 1") // the probe has begun
		if got := run(t, c, "echo second", nil); got.out != "second\n" {
			t.Errorf("the second session: %v", got)
		}
		in.Close()
		if got := finish(t, first, &out, &errOut); got.code != 0 {
			t.Error(got)
		}
		for _, e := range r.waitEntries(policy.EntrySessionEnd, 2) {
			if end := r.recordingOf(e.Session).end; end.Host.Error != "it gave its place to a session" {
				t.Errorf("%+v", end.Host)
			}
		}
	})
}

// A target that answers the probe with anything at all harms no session, and
// keeps neither session nor connection from ending.
func TestProbeOfAHostileTarget(t *testing.T) {
	flood := func(w io.Writer) {
		for {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}
	honest := probeBegin + "\nhost=h1\nkernel=Linux 6\nos=PRETTY_NAME=\"D 12\"\nshell=/bin/sh\ndir=/root\n" + probeEnd + "\n"
	for name, tc := range map[string]struct {
		behave hostileProbe
		says   string
		finds  string
	}{
		"honest":          {hostileProbe{exec: func(ch ssh.Channel) { io.WriteString(ch, "motd\r\n"+honest); ch.Close() }}, "", "h1"},
		"never closes":    {hostileProbe{exec: func(ch ssh.Channel) { io.WriteString(ch, honest); ch.CloseWrite() }}, "", "h1"},
		"answers, hangs":  {hostileProbe{exec: func(ch ssh.Channel) { io.WriteString(ch, honest) }}, "", "h1"},
		"half an answer":  {hostileProbe{exec: func(ch ssh.Channel) { io.WriteString(ch, honest[:40]); ch.Close() }}, "the target's answer is cut off", "h1"},
		"hangs half-way":  {hostileProbe{exec: func(ch ssh.Channel) { io.WriteString(ch, honest[:40]) }}, "the target did not answer in time", "h1"},
		"hangs":           {hostileProbe{exec: func(ssh.Channel) {}}, "the target did not answer in time", ""},
		"floods":          {hostileProbe{exec: func(ch ssh.Channel) { flood(ch) }}, "the target's answer is longer than 64 KiB", ""},
		"floods stderr":   {hostileProbe{exec: func(ch ssh.Channel) { flood(ch.Stderr()) }}, "the target's answer is longer than 64 KiB", ""},
		"garbage":         {hostileProbe{exec: func(ch ssh.Channel) { io.WriteString(ch, "\x00\xff\x1b[2J=\n==\n"); ch.Close() }}, "what the target printed is not the probe's answer", ""},
		"closes":          {hostileProbe{exec: func(ch ssh.Channel) { ch.Close() }}, "what the target printed is not the probe's answer", ""},
		"no exec":         {hostileProbe{refuse: true}, "the target refused to run the probe", ""},
		"mute":            {hostileProbe{mute: true}, "the target did not answer in time", ""},
		"no channel":      {hostileProbe{noChannel: true}, "the target opened no channel for the probe", ""},
		"mute on channel": {hostileProbe{muteChannel: true}, "the target did not answer in time", ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			w := newFakeWorld(t)
			f := startFront(t, w, tc.behave.use(w, 300*time.Millisecond))
			key := newKey(t)
			f.bind(key.PublicKey(), alice)
			c := f.mustDial("root@db1", key)
			h, _ := f.hostOf(c)
			if h.Error != tc.says || h.Hostname != tc.finds {
				t.Errorf("%+v", h)
			}
			c.Close()
			waitForGoroutines(t, f, before)
		})
	}
	t.Run("for ever", func(t *testing.T) { // neither session nor connection waits for it
		w := newFakeWorld(t)
		behave := hostileProbe{exec: func(ssh.Channel) {}}
		f := startFront(t, w, behave.use(w, time.Hour))
		key := newKey(t)
		f.bind(key.PublicKey(), alice)
		c := f.mustDial("root@db1", key)
		for i := range 3 {
			if got := run(t, c, fmt.Sprintf("echo %d", i), nil); got.out != fmt.Sprintln(i) {
				t.Error(got)
			}
		}
		c.Close()
		for _, e := range f.waitEntries(policy.EntrySessionEnd, 3) {
			if end := f.recordingOf(e.Session).end; end.Host.Error != "the session ended before the target had answered" {
				t.Errorf("%+v", end.Host)
			}
		}
		waitForLog(t, f, "", "a connection ended")
		f.stop()
		if strings.Contains(f.log.String(), "sessions are left") {
			t.Error("the probe outlives its connection")
		}
	})
}

// waitForGoroutines waits until no more run than before the test.
func waitForGoroutines(t *testing.T, f *front, before int) {
	t.Helper()
	f.stop()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// hostileProbe is a target with sessions that work, and a probe that does not.
type hostileProbe struct {
	exec         func(ssh.Channel) // once the target has granted it
	refuse, mute bool              // the target's answer to exec
	noChannel    bool              // it opens no channel, but for the first
	muteChannel  bool              // it never answers, but for the first
}

func (h *hostileProbe) use(w *fakeWorld, d time.Duration) func(*Config) {
	target := &hostileTarget{t: w.t.(*testing.T), HostileTarget: sshtest.StartHostileTarget(w.t, h.serve)}
	change := target.use(w, true)
	return func(c *Config) { change(c); c.Limits.Probe = d }
}

func (h *hostileProbe) serve(_ ssh.Conn, chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) {
	go ssh.DiscardRequests(reqs)
	second := 0
	for nc := range chans {
		if second++; second == 2 && (h.noChannel || h.muteChannel) {
			if h.noChannel {
				nc.Reject(ssh.ResourceShortage, "no")
			}
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		go h.session(ch, reqs)
	}
}

func (h *hostileProbe) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	for r := range reqs {
		var m struct{ Command string }
		if r.Type != "exec" || ssh.Unmarshal(r.Payload, &m) != nil {
			r.Reply(false, nil)
			continue
		}
		if m.Command == probeCommand {
			if !h.mute {
				r.Reply(!h.refuse, nil)
			}
			if h.exec != nil {
				go h.exec(ch)
			}
			continue
		}
		r.Reply(true, nil)
		io.WriteString(ch, strings.TrimPrefix(m.Command, "echo ")+"\n")
		ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
		ch.Close()
	}
}
