package proxy_test

import (
	"cmp"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/proxy"
	"sallyport/policy"
)

// counted is what End.Channels says, by sender and type.
func counted(list []policy.Channel) []policy.Channel {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b policy.Channel) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Note, b.Note))
	})
	return list
}

// withSeen has the requests counted, and the list put into the end.
func withSeen(o *proxy.Options) {
	var seen policy.Coverage
	o.Seen = func(r *ssh.Request, from string, o policy.Outcome) policy.Seen {
		return seen.Add(policy.KindRequest, r.Type, from, o)
	}
	o.Complete = func(e *policy.End) { e.Channels = seen.List() }
}

// I3: every request of both sides is counted once, and only what the recording
// was given counts as captured.
func TestEveryRequestIsCounted(t *testing.T) {
	r := newRig(t, nil, func(o *proxy.Options) { withTerminal(o); withSeen(o) })
	r.grant(2)
	time.Sleep(50 * time.Millisecond)
	go func() { // the target answers whatever reaches it
		for q := range r.targetReqs {
			q.Reply(true, nil)
		}
	}()
	client := r.see()
	send := func(ch ssh.Channel, name string, payload []byte) {
		if _, err := ch.SendRequest(name, true, payload); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	int3 := []byte("\x00\x00\x00\x03INT")
	for range 2 {
		send(r.user, "window-change", sizePayload(100, 30))
		send(r.user, "window-change", sizePayload(0, 30))
		send(r.user, "window-change", []byte{1})
		send(r.user, "signal", int3)
		send(r.user, "signal", []byte("\x00\x00\x00\x03\x1b[A"))
		send(r.user, "break", nil)
		send(r.user, "keepalive@openssh.com", nil)
		send(r.user, "x11-req", nil)
		send(r.user, "made up", nil)
		send(r.target, "xon-xoff", []byte{1})
		send(r.target, "keepalive@openssh.com", nil)
		send(r.target, "window-change", sizePayload(1, 1))
		send(r.target, "exit-status", []byte{1})
	}
	send(r.target, "exit-signal", ssh.Marshal(struct {
		Name          string
		Core          bool
		Message, Lang string
	}{"KILL", false, "m", ""}))
	r.exit(3)
	res := r.wait()
	<-client
	req := func(from, typ string, n int, captured bool, note string) policy.Channel {
		return policy.Channel{Kind: "request", Type: typ, From: from, Count: n, Captured: captured, Note: note}
	}
	want := counted([]policy.Channel{
		req("client", "window-change", 2, true, "columns and rows"),
		req("client", "window-change", 2, false, "passed on unrecorded: no terminal, or a size of zero"),
		req("client", "window-change", 2, false, "refused: not allowed here, or malformed"),
		req("client", "signal", 2, true, ""), req("client", "signal", 2, false, "refused: not allowed here, or malformed"),
		req("client", "break", 2, true, "that it came, not its length"),
		req("client", "keepalive@openssh.com", 2, false, "passed on unrecorded; it carries nothing"),
		req("client", "x11-req", 2, false, "refused: nothing is forwarded"), req("client", `made\x20up`, 2, false, "refused: unknown type"),
		req("target", "xon-xoff", 2, false, "passed on unrecorded"),
		req("target", "keepalive@openssh.com", 2, false, "passed on unrecorded; it carries nothing"),
		req("target", "window-change", 2, false, "refused: not allowed here, or malformed"),
		req("target", "exit-status", 2, false, "dropped: it cannot be read"),
		req("target", "exit-signal", 1, true, "the signal's name, not its message"),
		req("target", "exit-status", 1, false, "dropped: the session had an exit already"),
	})
	if got := counted(res.end.Channels); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if end := r.rec.ended[0]; !reflect.DeepEqual(end.Channels, res.end.Channels) || end.ExitSignal != "KILL" {
		t.Errorf("the recording was closed with %+v", end)
	}
	if len(r.rec.sizes) != 2 || len(r.rec.marks) != 4 {
		t.Errorf("recorded %v and %v", r.rec.sizes, r.rec.marks)
	}
}

// What never reached a target that hangs is not claimed, and all is counted.
func TestFloodIsCounted(t *testing.T) {
	r := newRig(t, nil, withSeen) // nobody reads r.targetReqs
	const n = 900
	for range n / 3 {
		r.user.SendRequest("window-change", false, sizePayload(80, 24))
		r.user.SendRequest("signal", false, []byte("\x00\x00\x00\x03INT"))
		r.user.SendRequest("break", false, nil)
	}
	if ok, err := r.user.SendRequest("made-up", true, nil); ok || err != nil { // all before it have been taken
		t.Fatal(ok, err)
	}
	go func() {
		for q := range r.userReqs {
			q.Reply(false, nil)
		}
	}()
	go io.Copy(io.Discard, r.user)
	r.cancel(nil)
	res := r.wait()
	sum, captured := map[string]int{}, map[string]int{}
	for _, c := range res.end.Channels {
		sum[c.Type] += c.Count
		if c.Captured {
			captured[c.Type] += c.Count
		}
	}
	if sum["window-change"] != n/3 || sum["signal"] != n/3 || sum["break"] != n/3 || sum["made-up"] != 1 {
		t.Errorf("counted %v", sum)
	}
	marks := map[string]int{}
	for _, m := range r.rec.marks {
		marks[m]++
	}
	if captured["window-change"] != len(r.rec.sizes) || captured["signal"] != marks["signal INT"] || captured["break"] != marks["break"] {
		t.Errorf("claimed %v, recorded %v and %v", captured, r.rec.sizes, marks)
	}
}

// Complete is heard at every end, once, and an Await that never comes holds up
// none.
func TestCompleteIsHeardOnce(t *testing.T) {
	for name, end := range map[string]func(*rig){
		"exit": func(r *rig) { r.exit(0) }, "cancel": func(r *rig) { r.cancel(nil) },
		"vanish": func(r *rig) { r.userConn.Close() }, "fail": func(r *rig) { r.rec.fail() },
	} {
		t.Run(name, func(t *testing.T) {
			heard := 0
			r := newRig(t, nil, func(o *proxy.Options) {
				o.Await = make(chan struct{})
				o.Complete = func(e *policy.End) {
					heard++
					e.Address = "reached"
				}
			})
			client := r.see()
			end(r)
			res := r.wait()
			<-client
			if heard != 1 || len(r.rec.ended) != 1 || r.rec.ended[0].Address != "reached" || !reflect.DeepEqual(r.rec.ended[0], res.end) {
				t.Errorf("heard %d times; ended with %+v, closed with %+v", heard, res.end, r.rec.ended)
			}
		})
	}
}
