package bastion

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
)

// nextSignIn waits for a device flow to begin.
func (f *front) nextSignIn() *fakeSignIn {
	f.t.Helper()
	select {
	case p := <-f.pending:
		return p
	case <-time.After(10 * time.Second):
		f.t.Fatalf("no sign-in began; log:\n%s", f.log)
		return nil
	}
}

// A stock client with a key that nobody knows signs in, without Enter, and the
// second time needs nothing.
func TestDeviceFlowWithStockClient(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key, raw := newKeyFile(t)
	c := f.stock(key, raw)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := c.command(ctx, "root@db1@bastion", "echo hello")
	var out, errOut syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := f.nextSignIn()
	fp := ssh.FingerprintSHA256(key.PublicKey())
	if p.request.Key == nil || ssh.FingerprintSHA256(p.request.Key) != fp {
		t.Fatalf("the sign-in is for %v", p.request.Key)
	}
	wants := []string{"https://idp.example/device?user_code=ABCD-EFGH\r\n", "https://idp.example/device and", "    ABCD-EFGH\r\n", fp, p.request.Source.String(), "until: "}
	shown := waitForText(t, &out, &errOut, "Waiting")
	for _, w := range wants {
		if !strings.Contains(strings.ReplaceAll(strings.ReplaceAll(shown, "\r\n", "\n"), "\n", "\r\n"), w) {
			t.Errorf("the prompt lacks %q:\n%s", w, shown)
		}
	}
	p.answer <- nil
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errOut.String())
	}
	if !strings.HasSuffix(out.String(), "hello\n") {
		t.Errorf("output %q", out.String())
	}
	e := f.waitEntries(policy.EntrySignIn, 1)[0]
	if e.User.Subject != alice.Subject || e.Detail["key"] != fp || e.Source != p.request.Source.String() {
		t.Errorf("entry %+v", e)
	}
	if got := c.run("", "-o", "BatchMode=yes", "root@db1@bastion", "echo again"); got.out != "again\n" || got.code != 0 {
		t.Errorf("bound key: %v", got)
	}
}

func waitForText(t *testing.T, out, errOut *syncBuffer, want string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s := errOut.String() + out.String()
		if strings.Contains(s, want) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q did not appear in %q", want, s)
		}
	}
}

func TestBatchModeIsToldHowToSignIn(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key, raw := newKeyFile(t)
	got := f.stock(key, raw).run("", "-o", "BatchMode=yes", "root@db1@bastion", "true")
	if got.code != 255 {
		t.Error(got)
	}
	want := "sallyport: This key (" + ssh.FingerprintSHA256(key.PublicKey()) + ") is not signed in. If no prompt follows (BatchMode), sign in with: ssh -p 2222 bastion.test\n"
	if !strings.Contains(strings.ReplaceAll(got.err, "\r", ""), want) {
		t.Errorf("stderr %q lacks %q", got.err, want)
	}
}

// A client without a key signs in for this connection only.
func TestSignInWithoutKey(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	var key ssh.PublicKey = newKey(t).PublicKey()
	f.console = func(_ context.Context, c ConsoleCall) int { key = c.Key; return 0 }
	go func() { f.nextSignIn().answer <- nil }()
	got := f.stock(nil, nil).run("", "bastion", "status")
	if got.code != 0 {
		t.Fatal(got)
	}
	if key != nil {
		t.Errorf("the console got key %v", key)
	}
	if !strings.Contains(got.out+got.err, "key:   none") {
		t.Errorf("the prompt does not say that no key signed: %s", got)
	}
	if len(f.bound) != 0 {
		t.Errorf("a key was bound: %v", f.bound)
	}
}

// sentence is an error with words for the user.
type sentence string

func (s sentence) Error() string       { return "internal 10.0.0.1: " + string(s) }
func (s sentence) UserMessage() string { return string(s) }

// Every failed sign-in is one sentence and exit code 1 for the stock client,
// with and without a terminal, and the connection ends.
func TestFailedSignInIsOneSentence(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer error // of the identity provider
		change func(*fakeWorld)
		want   string
		kind   policy.EntryKind
	}{
		{"denied", sentence("The sign-in was denied."), nil, "The sign-in was denied.", policy.EntrySignInFailed},
		{"no words", errors.New("dial 10.0.0.1"), nil, `The sign-in failed; the bastion's log has the reason under connection [0-9a-z]{26}\.`, policy.EntrySignInFailed},
		{"unreachable", nil, func(w *fakeWorld) { w.signInErr = sentence("The identity provider cannot be reached.") }, "The identity provider cannot be reached.", policy.EntrySignInFailed},
		{"policy", nil, func(w *fakeWorld) {
			w.deny = func(r policy.Request) bool { return r.Action == policy.ActionSignIn }
		}, "alice@example.com is not allowed to sign in here.", policy.EntrySignInFailed},
		{"ledger", nil, func(w *fakeWorld) {
			w.auditErr = func(e policy.Entry) error {
				if e.Kind == policy.EntrySignIn {
					return errors.New("disk full")
				}
				return nil
			}
		}, "The sign-in could not be entered in the ledger, so it does not count.", ""},
		{"binding", nil, func(w *fakeWorld) { w.keepErr = errors.New("disk full at 10.0.0.1") },
			`The sign-in failed; the bastion's log has the reason under connection [0-9a-z]{26}\.`, policy.EntrySignInFailed},
	} {
		for _, args := range [][]string{{"root@db1@bastion", "true"}, {"root@db1@bastion"}, {"-tt", "bastion"}, {"-tt", "root@db1@bastion", "id"}} {
			t.Run(tc.name+" "+strings.Join(args, " "), func(t *testing.T) {
				w := newFakeWorld(t)
				if tc.change != nil {
					tc.change(w)
				}
				f := startFront(t, w, nil)
				key, raw := newKeyFile(t)
				if w.signInErr == nil {
					go func() { f.nextSignIn().answer <- tc.answer }()
				}
				begun := time.Now()
				got := f.stock(key, raw).run("", args...)
				if got.code != 1 {
					t.Errorf("exit code %d", got.code)
				}
				tail := got.err
				if i := strings.LastIndex(tail, "Waiting ..."); i >= 0 {
					tail = tail[i+len("Waiting ..."):]
				} else {
					tail = tail[strings.Index(tail, "bastion.test")+len("bastion.test"):]
				}
				tail = strings.TrimSpace(regexp.MustCompile(`(?m)^Connection to .* closed\.\r?$`).ReplaceAllString(tail, ""))
				if !regexp.MustCompile(`^sallyport: ` + tc.want + `$`).MatchString(tail) {
					t.Errorf("the user read %q, want %q", tail, tc.want)
				}
				if strings.Contains(got.err, "10.0.0.1") {
					t.Errorf("an internal address was shown: %s", got.err)
				}
				if d := time.Since(begun); d > 5*time.Second {
					t.Errorf("it took %v", d)
				}
				if tc.kind != "" && len(f.entriesOf(tc.kind)) != 1 {
					t.Errorf("%d entries of kind %s", len(f.entriesOf(tc.kind)), tc.kind)
				}
				if len(f.connects) != 0 || len(f.recordings) != 0 {
					t.Error("something was started")
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				if len(f.bound) != 0 {
					t.Errorf("a sign-in that failed bound a key: %v", f.bound)
				}
			})
		}
	}
}

// A client that goes away while it waits cancels the sign-in at once.
func TestClientVanishesDuringSignIn(t *testing.T) {
	f := startFront(t, newFakeWorld(t), nil)
	key, raw := newKeyFile(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := f.stock(key, raw).command(ctx, "root@db1@bastion", "true")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := f.nextSignIn()
	time.Sleep(50 * time.Millisecond)
	begun := time.Now()
	cancel()
	cmd.Wait()
	select {
	case err := <-p.ended:
		if !errors.Is(err, errClientGone) {
			t.Errorf("it ended with %v", err)
		}
		if d := time.Since(begun); d > time.Second {
			t.Errorf("that took %v", d)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the sign-in goes on without its client")
	}
	f.waitEntries(policy.EntrySignInFailed, 1)
}
