package bastion

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/policy"
)

// rawAt is a raw client that is signed in as alice.
func rawAt(t *testing.T, f *front, user string) *sshtest.Raw {
	t.Helper()
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	r := dialRaw(t, f)
	if a, err := r.Sign(user, key.PublicKey(), key); err != nil || !a.Success {
		t.Fatalf("%+v %v", a, err)
	}
	return r
}

func text(s string) []byte { return ssh.Marshal(struct{ S string }{s}) }

// clientAsks plays the hostile client's part of a session, from its opening to
// its end, among everything else on the connection. It returns what of the
// session's own channel it asked for.
func clientAsks(t *testing.T, f *front, r *sshtest.Raw) (requests map[string]int) {
	t.Helper()
	open := func(typ string, extra []byte, want bool) uint32 {
		t.Helper()
		id, ok, err := r.OpenChannel(typ, extra)
		if ok != want || err != nil {
			t.Fatalf("channel %.20q: %v %v", typ, ok, err)
		}
		return id
	}
	request := func(id uint32, typ string, payload []byte, want bool) {
		t.Helper()
		if ok, err := r.ChannelRequest(id, typ, payload); ok != want || err != nil {
			t.Fatalf("request %.20q: %v %v", typ, ok, err)
		}
	}
	tcp := func(host string) []byte {
		return ssh.Marshal(struct {
			Host string
			Port uint32
			From string
			Back uint32
		}{host, 22, "127.0.0.1", 1})
	}
	env := func(name, value string) []byte { return ssh.Marshal(envRequest{name, value}) }
	size := func(cols, rows uint32) []byte {
		return ssh.Marshal(struct{ C, R, W, H uint32 }{cols, rows, 0, 0})
	}
	pty := ssh.Marshal(struct {
		Term       string
		C, R, W, H uint32
		Modes      string
	}{"xterm", 80, 24, 0, 0, "\x00"})

	open("session", nil, true) // and nothing on it
	other := open("session", nil, true)
	request(other, "exec", text("true"), true)
	f.waitEntries(policy.EntrySessionEnd, 1)
	request(open("session", nil, true), "subsystem", text("made-up"), true)
	f.waitEntries(policy.EntryDeny, 1)
	for range 2 {
		for _, typ := range everyChannel {
			open(typ, nil, false)
		}
		open("direct-tcpip", tcp("127.0.0.1"), false)
		for _, typ := range everyGlobal {
			if ok, err := r.GlobalRequest(typ, nil); ok != (typ == "keepalive@openssh.com") || err != nil {
				t.Fatalf("global %q: %v %v", typ, ok, err)
			}
		}
	}
	open("direct-tcpip", tcp("db1"), true)

	id := open("session", nil, true)
	from := len(r.Asked)
	request(id, "pty-req", pty, true)
	request(id, "pty-req", pty, false)
	for _, v := range []string{"LANG", "LC_ALL", "LC_ALL"} {
		request(id, "env", env(v, "C"), true)
	}
	request(id, "env", env("LD_PRELOAD", "x"), false)
	request(id, "env", env("a\x1b[2J", "x"), false)
	request(id, "window-change", size(81, 25), true)
	request(id, "window-change", size(82, 26), true)
	for _, typ := range []string{"x11-req", "auth-agent-req@openssh.com", "signal", "break", "made-up@example.com"} {
		request(id, typ, nil, false)
	}
	request(id, "keepalive@openssh.com", nil, true)
	request(id, "exec", text("ask"), true)
	for !strings.Contains(f.shown("ask"), "asked") {
		// Output shows that the target has asked, and that the session runs.
		request(id, "keepalive@openssh.com", nil, true)
	}
	for range 2 {
		for _, typ := range everyRequest {
			payload, want := []byte(nil), false
			switch typ {
			case "window-change":
				payload, want = size(100, 40), true
			case "signal":
				payload, want = text("INT"), true
			case "break", "eow@openssh.com", "keepalive@openssh.com":
				want = true
			}
			request(id, typ, payload, want)
		}
		request(id, "window-change", size(0, 0), true)
	}
	requests = map[string]int{}
	for _, a := range r.Asked[from:] {
		requests[a.Type]++
	}
	if err := r.Data(id, []byte("x")); err != nil {
		t.Fatal(err)
	}
	return requests
}

// shown is what the session of a command has printed so far.
func (f *front) shown(command string) string {
	rec := f.recordingThat(command)
	if rec == nil {
		return ""
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return string(rec.out[policy.StreamOutput])
}

// recordingThat is the recording of a command.
func (f *front) recordingThat(runs string) *fakeRecording {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, rec := range f.recordings {
		if rec.session.Command == runs {
			return rec
		}
	}
	return nil
}

// I3: every type of channel and request, of both sides, is in the coverage list
// with the number that was on the wire, and what is said to be captured is.
func TestCoverageIsWhatWasOnTheWire(t *testing.T) {
	w, target := newFakeWorld(t), startHostileTarget(t)
	f := startFront(t, w, target.use(w, true))
	r := rawAt(t, f, "root@db1")
	requests := clientAsks(t, f, r)
	f.waitEntries(policy.EntrySessionEnd, 2)
	rec := f.recordingThat("ask")
	list := rec.end.Channels

	// The numbers are those of the wire.
	wire := map[string]int{}
	for _, a := range r.Asked {
		if a.Kind != "request" { // those of the session's own channel follow
			wire[a.Kind+" client "+policy.ShowType(a.Type)]++
		}
	}
	for typ, n := range requests {
		wire["request client "+policy.ShowType(typ)] = n
	}
	target.mu.Lock()
	for a, n := range target.asked {
		wire[a.Kind+" target "+policy.ShowType(a.Type)] += n
	}
	for a, n := range target.got {
		wire[a.Kind+" bastion "+policy.ShowType(a.Type)] += n
	}
	target.mu.Unlock()
	sum := map[string]int{}
	for _, c := range list {
		sum[c.Kind+" "+c.From+" "+c.Type] += c.Count
	}
	for name, n := range wire {
		if sum[name] != n {
			t.Errorf("%s: %d in the list, %d on the wire", name, sum[name], n)
		}
		delete(sum, name)
	}
	if len(sum) > 0 {
		t.Errorf("never on the wire: %v", sum)
	}
	if n := wire["request target exit-status"]; n != 3 || wire["channel bastion session"] != 3 || len(wire) < 60 {
		t.Errorf("the wire had too little: %v", wire)
	}
	checkCaptured(t, list, rec, requests["keepalive@openssh.com"])
}

// checkCaptured holds the rows that claim something, and those that say why
// not, against what was recorded.
func checkCaptured(t *testing.T, list []policy.Channel, rec *fakeRecording, keepalives int) {
	t.Helper()
	got := slices.DeleteFunc(slices.Clone(list), func(c policy.Channel) bool {
		return !c.Captured && strings.HasPrefix(c.Note, "refused: ") && c.Type != "env" && c.Type != "direct-tcpip" && c.Type != "session"
	})
	row := func(kind, from, typ string, n int, captured bool, note string) policy.Channel {
		return policy.Channel{Kind: kind, Type: typ, From: from, Count: n, Captured: captured, Note: note}
	}
	want := []policy.Channel{
		row("channel", "client", "session", 1, true, "this session"),
		row("channel", "client", "session", 1, true, "in a recording of its own"),
		row("channel", "client", "session", 1, false, "opened; nothing was started on it"),
		row("channel", "client", "session", 1, false, "refused: nothing was started on it"),
		row("channel", "client", "direct-tcpip", 1, false, "an SSH connection that ends here and has not been authenticated"),
		row("global", "client", "keepalive@openssh.com", 2, false, "answered here; it carries nothing"),
		row("request", "client", "pty-req", 1, true, "type and size; its modes are passed on unrecorded"),
		row("channel", "client", "direct-tcpip", 2, false, "refused: it leads to no target that the user may use"),
		row("channel", "target", "direct-tcpip", 2, false, "refused: nothing is forwarded"),
		row("channel", "target", "session", 2, false, "refused: not allowed here, or malformed"),
		row("request", "client", "env", 2, false, "refused: not among the variables that may pass"),
		row("request", "client", "env", 2, false, "refused: not allowed here, or malformed"),
		row("request", "target", "env", 2, false, "refused: not allowed here, or malformed"),
		row("request", "client", "env", 2, true, ""),
		row("request", "client", "env", 1, false, "not passed on: a newer one followed"),
		row("request", "client", "window-change", 1, false, "not passed on: a newer one followed"),
		row("request", "client", "window-change", 1, true, "columns and rows, as those of the start"),
		row("request", "client", "window-change", 2, true, "columns and rows"),
		row("request", "client", "window-change", 2, false, "passed on unrecorded: no terminal, or a size of zero"),
		row("request", "client", "keepalive@openssh.com", 1, false, "answered here; it carries nothing"),
		row("request", "client", "keepalive@openssh.com", keepalives-1, false, "passed on unrecorded; it carries nothing"),
		row("request", "client", "eow@openssh.com", 2, false, "passed on unrecorded; it carries nothing"),
		row("request", "client", "exec", 1, true, ""),
		row("request", "client", "signal", 2, true, ""),
		row("request", "client", "break", 2, true, "that it came, not its length"),
		row("channel", "bastion", "session", 1, true, "this session, at the target"),
		row("channel", "bastion", "session", 1, true, "in a recording of its own"),
		row("channel", "bastion", "session", 1, false, "the bastion's own context probe; what it found is in the host context"),
		row("global", "target", "hostkeys-00@openssh.com", 2, false, "ignored: host keys are configured, not learned"),
		row("global", "target", "keepalive@openssh.com", 2, false, "answered here; it carries nothing"),
		row("request", "target", "xon-xoff", 2, false, "passed on unrecorded"),
		row("request", "target", "eow@openssh.com", 2, false, "passed on unrecorded; it carries nothing"),
		row("request", "target", "keepalive@openssh.com", 2, false, "passed on unrecorded; it carries nothing"),
		row("request", "target", "exit-status", 2, false, "dropped: it cannot be read"),
		row("request", "target", "exit-signal", 2, false, "dropped: it cannot be read"),
		row("request", "target", "exit-status", 1, true, ""),
	}
	for _, l := range [][]policy.Channel{got, want} {
		slices.SortFunc(l, func(a, b policy.Channel) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", rows(got), rows(want))
	}
	s := rec.session
	if !reflect.DeepEqual(rec.sizes, [][2]int{{100, 40}, {100, 40}}) || !slices.Equal(rec.marks, []string{"signal INT", "break", "signal INT", "break"}) ||
		s.Term != "xterm" || s.Cols != 82 || s.Rows != 26 || len(s.Env) != 2 || s.Command != "ask" || rec.end.ExitStatus == nil || *rec.end.ExitStatus != 3 {
		t.Errorf("what is claimed was not recorded: %v %v %+v %+v", rec.sizes, rec.marks, s, rec.end)
	}
	if want := []string{"LANG", "LC_ALL", "LD_PRELOAD", `a\x1b[2J`}; !slices.Equal(s.AskedEnv, want) {
		t.Errorf("asked for %q, want %q", s.AskedEnv, want)
	}
}

func rows(list []policy.Channel) string {
	var b strings.Builder
	for _, c := range list {
		fmt.Fprintf(&b, "%+v\n", c)
	}
	return b.String()
}

// find returns the rows of a type.
func find(list []policy.Channel, kind, from, wireType string) (found []policy.Channel) {
	for _, c := range list {
		if c.Kind == kind && c.From == from && c.Type == wireType {
			found = append(found, c)
		}
	}
	return found
}

// What is on the connection that a jump came through is listed with it.
func TestCoverageInsideAJump(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key := newKey(t)
	f.bind(key.PublicKey(), alice)
	outer := f.mustDial("x", key)
	outer.OpenChannel("x11", nil)
	inner, err := jump(f, outer, "db1:22", "root", ssh.PublicKeys(key))
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	again, err := jump(f, outer, "web1:22", "www", ssh.PublicKeys(key))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	inner.OpenChannel("x11", nil)
	if got := run(t, inner, "user", nil); got.out != "root\n" {
		t.Fatal(got)
	}
	list := f.recordingOf(f.waitEntries(policy.EntrySessionEnd, 1)[0].Session).end.Channels
	for _, want := range []struct {
		typ   string
		notes []string
	}{
		{"session", []string{"this session"}},
		{"x11", []string{"refused: nothing is forwarded", "outer connection: refused: nothing is forwarded"}},
		{"direct-tcpip", []string{"outer connection: carries this connection, which ends here",
			"outer connection: an SSH connection that ends here; its sessions are in recordings of their own"}},
	} {
		var notes []string
		for _, c := range find(list, "channel", "client", want.typ) {
			if notes = append(notes, c.Note); c.Count != 1 {
				t.Errorf("%+v", c)
			}
		}
		if !slices.Equal(notes, want.notes) {
			t.Errorf("%s: %q, want %q", want.typ, notes, want.notes)
		}
	}
}

// What no recording holds is not claimed: what was asked for while the target
// was reached in vain, and what the bastion's menu was told.
func TestCoverageClaimsNothingThatIsNotThere(t *testing.T) {
	t.Run("unreached", func(t *testing.T) {
		asked := make(chan struct{})
		f := startFront(t, newFakeWorld(t), func(c *Config) {
			c.Connect = func(context.Context, ConnectRequest) (Upstream, error) {
				<-asked
				return nil, sentence("db1 is down.")
			}
			withProbe(true)(c)
		})
		r := rawAt(t, f, "root@db1")
		id, _, err := r.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := r.ChannelRequest(id, "exec", text("true")); !ok || err != nil {
			t.Fatal(ok, err)
		}
		for range maxQueued + 10 {
			r.Send(ssh.Marshal(struct {
				Channel uint32 `sshtype:"98"`
				Type    string
				Reply   bool
			}{id, "signal", false}))
		}
		if ok, err := r.GlobalRequest("keepalive@openssh.com", nil); !ok || err != nil {
			t.Fatal(ok, err)
		}
		close(asked)
		end := f.recordingOf(f.waitEntries(policy.EntrySessionEnd, 1)[0].Session).end
		own, signals := find(end.Channels, "channel", "client", "session"), find(end.Channels, "request", "client", "signal")
		if len(own) != 1 || own[0].Captured || !strings.Contains(own[0].Note, "the target was not reached") {
			t.Errorf("%+v", own)
		}
		want := []policy.Channel{
			{Kind: "request", Type: "signal", From: "client", Count: maxQueued, Note: "not passed on: the session ended first"},
			{Kind: "request", Type: "signal", From: "client", Count: 10, Note: "refused: too many were waiting"},
		}
		if !reflect.DeepEqual(signals, want) {
			t.Errorf("%+v", signals)
		}
		if end.Address != "" || end.HostKey != "" || end.Host == nil || end.Host.Error != "the target was not reached" {
			t.Errorf("%+v", end)
		}
	})
	t.Run("menu", func(t *testing.T) {
		f, c := aliceAt(t, newFakeWorld(t), "alice", nil)
		got := run(t, c, "", func(s *ssh.Session) {
			s.RequestPty("xterm", 24, 80, nil)
			s.Stdin = strings.NewReader("root@db1\rx\r")
		})
		if !strings.Contains(got.out, "welcome root") {
			t.Fatal(got)
		}
		list := f.recordingOf(f.waitEntries(policy.EntrySessionEnd, 1)[0].Session).end.Channels
		own := find(list, "channel", "client", "session")
		if len(own) != 1 || !own[0].Captured || !strings.Contains(own[0].Note, "in the bastion's menu, is not recorded") {
			t.Errorf("%+v", own)
		}
	})
}

// A client that makes up types gets a list of bounded size.
func TestCoverageStaysSmall(t *testing.T) {
	f, c := aliceAt(t, newFakeWorld(t), "root@db1", nil)
	const many = 2000
	for i := range many {
		if _, _, err := c.SendRequest(fmt.Sprintf("made-up-%d@example.com", i), false, nil); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	for i := range many {
		if _, err := s.SendRequest(fmt.Sprintf("made-up-%d@example.com", i), i%20 == 19, nil); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := s.Output("echo hi"); err != nil || string(out) != "hi\n" {
		t.Fatalf("%q %v", out, err)
	}
	list := f.recordingOf(f.waitEntries(policy.EntrySessionEnd, 1)[0].Session).end.Channels
	sum := map[string]int{}
	for _, r := range list {
		sum[r.Kind] += r.Count
	}
	if len(list) > 100 || sum["global"] != many || sum["request"] != many+2 {
		t.Errorf("%d rows, %v", len(list), sum)
	}
}
