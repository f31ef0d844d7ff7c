package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestClientConfiguration asks the stock client how it reads what we write.
func TestClientConfiguration(t *testing.T) {
	need(t, "ssh")
	d := &demo{sshAddr: "127.0.0.1:2222"}
	d.dir = t.TempDir()
	config, err := d.writeClient("")
	if err != nil {
		t.Fatal(err)
	}
	for host, wants := range map[string][]string{
		bastionName: {"hostname 127.0.0.1", "port 2222", "hostkeyalias demo-bastion", "identityagent none", "stricthostkeychecking true", "identityfile " + d.path("id_ed25519"), "userknownhostsfile " + d.path("known_hosts")},
		hostName:    {"user demo", "proxyjump demo-bastion", "identitiesonly yes"},
	} {
		out, err := exec.Command("ssh", "-G", "-F", config, host).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, want := range wants {
			if !strings.Contains("\n"+string(out), "\n"+want+"\n") {
				t.Errorf("%s: no %q in\n%s", host, want, out)
			}
		}
	}
	before, _ := os.ReadFile(d.path("id_ed25519"))
	if _, err := d.writeClient(""); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(d.path("id_ed25519")); !bytes.Equal(before, after) {
		t.Error("the key was made anew")
	}
	if st, _ := os.Stat(d.path("id_ed25519")); st.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v", st.Mode())
	}
}

func TestPortsAreKept(t *testing.T) {
	d := &demo{sshAddr: "127.0.0.1:1", idp: &issuer{url: "http://127.0.0.1:1"}}
	d.dir = t.TempDir()
	addr, err := d.reserve("web", 0)
	if err != nil {
		t.Fatal(err)
	}
	d.webURL = "http://" + addr
	if err := d.writeDescription(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, err := d.reserve("web", 0); err != nil || again != addr {
		t.Errorf("got %s, want %s: %v", again, addr, err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if other, err := d.reserve("web", 0); err != nil || other == addr {
		t.Errorf("a port in use: %s, %v", other, err)
	}
	if _, err := d.reserve("web", l.Addr().(*net.TCPAddr).Port); err == nil {
		t.Error("a given port in use was traded for another")
	}
}

func TestPromptIsReadAndApproved(t *testing.T) {
	var got string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r.PostFormValue("user_code") + " " + r.PostFormValue("login")
	}))
	defer srv.Close()
	text := fmt.Sprintf("(u@h) To sign in, open\r\n\r\n    %[1]s/device?user_code=ABCD-EFGH\r\n\r\nor open %[1]s/device and enter the code\r\n\r\n    ABCD-EFGH\r\n\r\n  from:  127.0.0.1:5\r\n", srv.URL)
	p, err := approveWhenAsked(t.Context(), strings.NewReader(text), "alice")
	if err != nil || p.url != srv.URL+"/device" || p.code != "ABCD-EFGH" || got != "ABCD-EFGH alice" {
		t.Errorf("read %q, posted %q, %v", p, got, err)
	}
	if p, err := approveWhenAsked(t.Context(), strings.NewReader("Permission denied\n"), "alice"); err != nil || p.code != "" {
		t.Errorf("read %q, %v", p, err)
	}
}

func TestFindRecording(t *testing.T) {
	line := func(id, state string, status int) string {
		return fmt.Sprintf(`{"session":{"id":%q,"target":"demo-host"},"summary":{"state":%q,"end":{"exit_status":%d}}}`, id, state, status)
	}
	a, b, c := line("a", "open", 7), line("b", "complete", 0), line("c", "complete", 7)
	for _, list := range []string{"[" + a + "," + b + "," + c + "]", a + "\n" + b + "\n" + c + "\n"} {
		if got := findRecording(list); got != "c" {
			t.Errorf("found %q", got)
		}
	}
	if got := findRecording("[" + a + "]"); got != "" {
		t.Errorf("found %q", got)
	}
}

func TestChildrenEnd(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		script string
		want   string
	}{
		{"trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done", ""},
		{"trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done", "exit status 3"},
		{"trap '' TERM; echo up; while :; do sleep 0.05; done", "was killed"},
		{"echo up; exit 5", ""},
	} {
		child, err := startChild(exec.Command("sh", "-c", c.script), out)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(5 * time.Second); lastLines(out, 1) != "up\n" && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
		if strings.HasSuffix(c.script, "5") {
			<-child.done
		}
		err = child.stop(500 * time.Millisecond)
		if got := fmt.Sprint(err); (c.want == "") != (err == nil) || !strings.Contains(got, c.want) {
			t.Errorf("%s: %v, want %q", c.script, err, c.want)
		}
		if err := syscall.Kill(child.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s: it is still there", c.script)
		}
	}
	if _, err := startChild(exec.Command("/nonexistent"), out); err == nil {
		t.Error("a missing program started")
	}
}

func TestMisuse(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, 0, "Usage: demo"},
		{[]string{"--nonsense"}, 2, "nonsense"},
		{[]string{"extra"}, 2, `"extra"`},
		{[]string{"--sallyport", "/nonexistent"}, 1, "prepare the folder: no sallyport binary"},
		{[]string{"--sallyport", "/bin/true", "--dir", "/tmp/a b"}, 1, "spaces"},
	} {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), c.args, &out, &errOut); code != c.code || !strings.Contains(errOut.String(), c.want) {
			t.Errorf("%q: %d %s", c.args, code, errOut.String())
		}
	}
}

func TestExplanationFits(t *testing.T) {
	var out strings.Builder
	d := &demo{out: &out, webURL: "http://127.0.0.1:8080"}
	d.dir = "/srv/d"
	d.explain()
	if n := strings.Count(out.String(), "\n"); n > 17 || strings.Contains(out.String(), "%!") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
	for _, want := range []string{
		"\n  ssh -F /srv/d/ssh_config demo-bastion\n",
		"\n  ssh -F /srv/d/ssh_config demo-bastion cert > /srv/d/id_ed25519-cert.pub\n",
		"\n  ssh -F /srv/d/ssh_config -J demo-bastion demo@demo-host\n",
		"\n  http://127.0.0.1:8080\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
