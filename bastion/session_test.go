package bastion

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// aliceAt is a front and a connection of alice's under the user name.
func aliceAt(t *testing.T, w *fakeWorld, user string, change func(*Config)) (*front, *ssh.Client) {
	t.Helper()
	f := startFront(t, w, change)
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	return f, f.mustDial(user, key)
}

// T10: each session channel has its own recording, with all three streams.
func TestT10ExecOnTarget(t *testing.T) {
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", nil)
	if got := run(t, c, "both", nil); got.out != "to stdout\n" || got.err != "to stderr\n" || got.code != 7 {
		t.Fatal(got)
	}
	got := run(t, c, "cat", func(s *ssh.Session) { s.Stdin = strings.NewReader("through and through") })
	if got.out != "through and through" || got.code != 0 {
		t.Fatal(got)
	}
	ends := f.waitEntries(policy.EntrySessionEnd, 2)
	if n := len(f.connects); n != 1 {
		t.Errorf("%d connections to the target, want one for both sessions", n)
	}
	for i, e := range ends {
		if e.User == nil || e.User.Email != alice.Email || e.Target != "db1" || e.Login != "root" || e.Source == "" || e.Detail["connection"] == "" {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if ends[0].Detail["exit_status"] == "0" { // the entry comes after the exit
		ends[0], ends[1] = ends[1], ends[0]
	}
	if ends[0].Detail["exit_status"] != "7" || ends[0].Detail["state"] != "complete" {
		t.Errorf("%+v", ends[0])
	}
	rec := f.recordingOf(ends[0].Session)
	if string(rec.out[policy.StreamOutput]) != "to stdout\n" || string(rec.out[policy.StreamStderr]) != "to stderr\n" {
		t.Errorf("recorded %q", rec.out)
	}
	if s := rec.session; s.User.Email != alice.Email || s.Action != policy.ActionExec || s.Command != "both" || s.TTY || s.Key == "" || !strings.HasPrefix(s.Client, "SSH-2.0-") {
		t.Errorf("recorded as %+v", s)
	}
	if r := string(f.recordingOf(ends[1].Session).input); r != "through and through" {
		t.Errorf("recorded input %q", r)
	}
	if len(f.entriesOf(policy.EntryPermit)) != 2 || len(f.entriesOf(policy.EntrySessionStart)) != 2 {
		t.Error("permits and starts are not entered")
	}
}

func TestShellAndSFTPOnTarget(t *testing.T) {
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", nil)
	got := run(t, c, "", func(s *ssh.Session) {
		s.RequestPty("xterm-256color", 40, 120, ssh.TerminalModes{ssh.ECHO: 0})
		s.Stdin = strings.NewReader("typed\r")
	})
	if !strings.Contains(got.out, "welcome root pty=true xterm-256color 120x40") || !strings.Contains(got.out, `got "typed"`) {
		t.Error(got)
	}
	f.waitEntries(policy.EntrySessionEnd, 1)
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	pipe, _ := s.StdoutPipe()
	if err := s.RequestSubsystem("sftp"); err != nil {
		t.Fatal(err)
	}
	out.ReadFrom(pipe)
	if out.String() != "sftp here\n" {
		t.Errorf("%q", out.String())
	}
	e := f.waitEntries(policy.EntrySessionEnd, 2)
	if rec := f.recordingOf(e[0].Session); !rec.session.TTY || rec.session.Cols != 120 || rec.session.Rows != 40 || rec.session.Action != policy.ActionShell {
		t.Errorf("%+v", rec.session)
	}
	if rec := f.recordingOf(e[1].Session); rec.session.Action != policy.ActionSFTP || len(rec.session.Coverage) != 1 {
		t.Errorf("%+v", rec.session)
	}
}

// hostKeyError is what a target's changed host key looks like.
type hostKeyError struct{}

func (hostKeyError) Error() string         { return "dial 10.0.0.1" }
func (hostKeyError) UserMessage() string   { return "The host key of db1 is SHA256:new, not SHA256:old." }
func (hostKeyError) HostKeyMismatch() bool { return true }

// Every refusal is one line on stderr, exit status 1, an entry, and nothing
// that was started.
func TestRefusals(t *testing.T) {
	fail := func(kind policy.EntryKind) func(policy.Entry) error {
		return func(e policy.Entry) error {
			if e.Kind == kind {
				return errors.New("disk full")
			}
			return nil
		}
	}
	for _, tc := range []struct {
		name, user string
		change     func(*fakeWorld)
		want       string
		kind       policy.EntryKind
	}{
		{"unknown target", "root@db9", nil, `There is no target named "db9" here that you may use.`, policy.EntryDeny},
		{"login not listed", "toor@db1", nil, `The login "toor" is not among those of db1.`, policy.EntryDeny},
		{"bad name", "ro ot@db1", nil, `The login "ro ot" has a character that is not allowed; letters, digits and . _ - + @ \ $ are.`, policy.EntryDeny},
		{"policy", "root@db1", func(w *fakeWorld) { w.deny = func(r policy.Request) bool { return r.Action == policy.ActionExec } },
			"You are not allowed to use exec on db1 as root.", policy.EntryDeny},
		{"recorder", "root@db1", func(w *fakeWorld) { w.recordErr = errors.New("no space on /var") }, `The session is not started because it cannot be recorded \(session`, policy.EntryDeny},
		{"recorder with words", "root@db1", func(w *fakeWorld) { w.recordErr = sentence("The disk is full.") }, "The disk is full.", policy.EntryDeny},
		{"target down", "root@db1", func(w *fakeWorld) { w.connectErr = sentence("db1 cannot be reached.") }, "db1 cannot be reached.", policy.EntrySessionEnd},
		{"target without words", "root@db1", func(w *fakeWorld) { w.connectErr = errors.New("10.0.0.1 refused") }, "db1 cannot be reached from the bastion; its log has the reason under connection", policy.EntrySessionEnd},
		{"host key", "root@db1", func(w *fakeWorld) { w.connectErr = hostKeyError{} }, "The host key of db1 is SHA256:new, not SHA256:old.", policy.EntryHostKey},
		{"ledger, permit", "root@db1", func(w *fakeWorld) { w.auditErr = fail(policy.EntryPermit) }, "The session is not started because it cannot be entered in the ledger.", ""},
		{"ledger, start", "root@db1", func(w *fakeWorld) { w.auditErr = fail(policy.EntrySessionStart) }, "The session is not started because it cannot be entered in the ledger.", ""},
	} {
		for _, tty := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s tty=%v", tc.name, tty), func(t *testing.T) {
				w := newFakeWorld(t)
				if tc.change != nil {
					tc.change(w)
				}
				f, c := aliceAt(t, w, tc.user, nil)
				got := run(t, c, "true", func(s *ssh.Session) {
					if tty {
						s.RequestPty("xterm", 24, 80, nil)
					}
				})
				want := strings.NewReplacer(`\(`, "(").Replace(tc.want)
				if got.code != 1 || got.out != "" || !strings.HasPrefix(got.err, "sallyport: "+want) || strings.Count(got.err, "\n") != 1 {
					t.Error(got)
				}
				if strings.HasSuffix(got.err, "\r\n") != tty || strings.Contains(got.err, "10.0.0.1") || strings.Contains(got.err, "/var") {
					t.Errorf("%q", got.err)
				}
				if tc.kind != "" {
					e := f.waitEntries(tc.kind, 1)
					if len(e) != 1 || e[0].Detail["reason"] == "" {
						t.Errorf("%+v", e)
					}
				}
				for _, r := range f.recordings {
					if !r.closed || r.end.Reason == "" {
						t.Errorf("a recording is left open: %+v", r.end)
					}
				}
			})
		}
	}
}

// Rights and the sign-in's end are checked for each channel.
func TestEachChannelIsCheckedAgain(t *testing.T) {
	w := newFakeWorld(t)
	var later time.Duration
	w.now = func() time.Time { return time.Now().Add(later) }
	f, c := aliceAt(t, w, "root@db1", nil)
	if got := run(t, c, "echo 1", nil); got.code != 0 {
		t.Fatal(got)
	}
	f.deny = func(r policy.Request) bool { return r.Action == policy.ActionSignIn }
	if got := run(t, c, "echo 2", nil); got.code != 1 || !strings.Contains(got.err, "is not allowed to sign in here.") {
		t.Error(got)
	}
	f.deny = func(policy.Request) bool { return false }
	later = 2 * time.Hour
	if got := run(t, c, "echo 3", nil); got.code != 1 || !strings.Contains(got.err, "Your sign-in has expired; connect again to renew it.") {
		t.Error(got)
	}
	if _, err := c.Dial("tcp", "db1:22"); err == nil || !strings.Contains(err.Error(), "has expired") {
		t.Errorf("%v", err)
	}
}

// T37: only variables on the list reach a target.
func TestT37Environment(t *testing.T) {
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", nil)
	var accepted []string
	got := run(t, c, "env", func(s *ssh.Session) {
		for _, v := range [][2]string{
			{"LANG", "C.UTF-8"}, {"LC_ALL", "de_DE"}, {"LC_", "x"}, {"LD_PRELOAD", "/tmp/x.so"}, {"BASH_ENV", "/tmp/x"}, {"PATH", "/tmp"},
			{"LANGUAGE", "x"}, {"lang", "x"}, {"LC_X=Y", "x"}, {"LC_NUL", "a\x00b"}, {"LC_NL", "a\nb"}, {"", "x"},
			{"LC_LONG", strings.Repeat("x", 5000)}, {"LC_ALL", "en_US"},
		} {
			if s.Setenv(v[0], v[1]) == nil {
				accepted = append(accepted, v[0])
			}
		}
	})
	if got.out != "LANG=C.UTF-8 LC_ALL=en_US LC_=x\n" {
		t.Errorf("the target has %v", got)
	}
	if len(accepted) != 4 {
		t.Errorf("accepted %q", accepted)
	}
	s := f.recordingOf(f.waitEntries(policy.EntrySessionEnd, 1)[0].Session).session
	if len(s.Env) != 3 || s.Env["LC_ALL"] != "en_US" {
		t.Errorf("recorded %v", s.Env)
	}
}

// Terminals of any size, and a size that changes while the target is reached.
func TestTerminalSizes(t *testing.T) {
	for _, size := range [][2]int{{0, 0}, {5000, 5000}, {1 << 31, 1 << 31}, {80, 24}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			f, c := aliceAt(t, newFakeWorld(t), "root@db1", nil)
			got := run(t, c, "echo ok", func(s *ssh.Session) { s.RequestPty("xterm", size[1], size[0], nil) })
			if strings.TrimSpace(got.out) != "ok" {
				t.Error(got)
			}
			s := f.recordingOf(f.waitEntries(policy.EntrySessionEnd, 1)[0].Session).session
			if s.Cols < 1 || s.Rows < 1 || s.Cols > 10000 || s.Rows > 10000 {
				t.Errorf("recorded %dx%d", s.Cols, s.Rows)
			}
		})
	}
	t.Run("changes while connecting", func(t *testing.T) {
		reached := make(chan struct{})
		_, c := aliceAt(t, newFakeWorld(t), "root@db1", func(cfg *Config) {
			connect := cfg.Connect
			cfg.Connect = func(ctx context.Context, r ConnectRequest) (Upstream, error) {
				<-reached
				return connect(ctx, r)
			}
		})
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		var out, errOut bytes.Buffer
		s.Stdout, s.Stderr = &out, &errOut
		s.RequestPty("xterm", 24, 80, nil)
		if err := s.Start("size"); err != nil {
			t.Fatal(err)
		}
		for i := range 200 { // far more than any queue holds
			s.WindowChange(30, 100+i)
		}
		if _, _, err := c.SendRequest("keepalive@openssh.com", true, nil); err != nil {
			t.Error("the connection is stalled while the target is being reached")
		}
		close(reached)
		if got := finish(t, s, &out, &errOut); strings.ReplaceAll(got.out, "\r", "") != "80x24\n299x30\n" {
			t.Error(got)
		}
	})
}

// Long commands go through to the target; a packet that no implementation
// takes ends the connection.
func TestLongCommands(t *testing.T) {
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", nil)
	long := "length " + strings.Repeat("x", 200<<10-7)
	if got := run(t, c, long, nil); got.out != fmt.Sprintln(len(long)) {
		t.Error(got.code, got.err)
	}
	if e := f.waitEntries(policy.EntrySessionEnd, 1); f.recordingOf(e[0].Session).session.Command != long {
		t.Error("the recording does not have the whole command")
	}
	for _, e := range f.entriesOf(policy.EntryPermit) {
		if len(e.Detail["command"]) > 1100 {
			t.Errorf("an entry has %d bytes of command", len(e.Detail["command"]))
		}
	}
	if got := run(t, c, "echo a\x00b", nil); got.code != 1 || !strings.Contains(got.err, "NUL byte") {
		t.Error(got)
	}
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(strings.Repeat("x", 1<<20)); err == nil {
		t.Error("a command of 1 MiB was accepted")
	}
	waitForLog(t, f, "", "max packet length exceeded")
}

// One connection holds so many sessions, and is told when there are more.
func TestSessionsPerConnection(t *testing.T) {
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", func(cfg *Config) { cfg.Limits.SessionsPerConnection = 3 })
	var open []*ssh.Session
	for range 3 {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	_, err := c.NewSession()
	var e *ssh.OpenChannelError
	if !errors.As(err, &e) || e.Reason != ssh.ResourceShortage || !strings.Contains(e.Message, "already 3 sessions") {
		t.Errorf("%v", err)
	}
	open[0].Close()
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if s, err := c.NewSession(); err == nil {
			s.Close()
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if n := len(f.entriesOf(policy.EntryChannelDenied)); n < 1 {
		t.Error("no entry")
	}
}

// An address holds so many connections, and the next one is told.
func TestConnectionsPerAddress(t *testing.T) {
	f, first := aliceAt(t, newFakeWorld(t), "root@db1", func(cfg *Config) { cfg.Limits.ConnectionsPerAddress = 1 })
	if got := run(t, first, "echo in", nil); got.code != 0 {
		t.Fatal(got)
	}
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	if got := run(t, f.mustDial("root@db1", key), "true", nil); got.code != 1 || got.err != "sallyport: There are too many connections from your address; close some and try again.\n" {
		t.Error(got)
	}
	first.Close()
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if got := run(t, f.mustDial("root@db1", key), "echo in", nil); got.code == 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(got)
		}
	}
}

// A client that is refused without end is cut off.
func TestRefusalsEndAConnection(t *testing.T) {
	f, c := aliceAt(t, newFakeWorld(t), "x", nil)
	for i := 0; ; i++ {
		if _, _, err := c.OpenChannel("nonsense", nil); err == nil {
			t.Fatal("it was opened")
		}
		if _, _, err := c.SendRequest("keepalive@openssh.com", true, nil); err != nil {
			break
		}
		if i > 2*maxRefusals {
			t.Fatal("it goes on")
		}
	}
	if n := len(f.entriesOf(policy.EntryChannelDenied)); n != maxRefusals {
		t.Errorf("%d entries", n)
	}
}

// A session that never says what it wants is closed.
func TestSessionWithoutStart(t *testing.T) {
	_, c := aliceAt(t, newFakeWorld(t), "root@db1", func(cfg *Config) { cfg.Limits.Setup = 200 * time.Millisecond })
	ch, reqs, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	go ssh.DiscardRequests(reqs)
	errOut.ReadFrom(ch.Stderr())
	if !strings.Contains(errOut.String(), "No shell, command or subsystem was asked for in time.") {
		t.Errorf("%q", errOut.String())
	}
}
