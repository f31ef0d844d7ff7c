package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/bastion/sshtest"
)

// patience bounds every wait of the end-to-end tests.
const patience = 30 * time.Second

// built is the folder with the binaries, made once.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sallyport-e2e-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir+"/", "sallyport/cmd/sallyport", "sallyport/cmd/demo").CombinedOutput()
	if err != nil {
		return dir, fmt.Errorf("%w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := built(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func binary(t testing.TB, name string) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// demoFile is demo.json, as scripts of our users read it.
type demoFile struct {
	SSHAddr    string `json:"ssh_addr"`
	WebURL     string `json:"web_url"`
	Issuer     string `json:"issuer"`
	SSHConfig  string `json:"ssh_config"`
	KnownHosts string `json:"known_hosts"`
	DataDir    string `json:"data_dir"`
	dir        string
}

// startDemo runs the demo until the test ends.
func startDemo(t testing.TB) demoFile {
	t.Helper()
	sshtest.Need(t, "ssh")
	dir := t.TempDir()
	startProcess(t, nil, binary(t, "demo"), "--dir", dir, "--sallyport", binary(t, "sallyport"))
	var d demoFile
	waitFor(t, "demo.json", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "demo.json"))
		return err == nil && json.Unmarshal(b, &d) == nil
	})
	d.dir = dir
	return d
}

// startProcess runs a program until the test ends, and shows its output when
// the test has failed.
func startProcess(t testing.TB, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			t.Errorf("%s did not end", filepath.Base(name))
		}
		if out, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(name), out)
		}
		log.Close()
	})
	return cmd
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

var (
	codeRE = regexp.MustCompile(`\b[A-Z0-9]{4}-[A-Z0-9]{4}\b`)
	urlRE  = regexp.MustCompile(`https?://[^\s?]+/device`)
)

// approve answers the device flow whose prompt stands in text.
func approve(text, login, action string) error {
	code, address := codeRE.FindString(text), urlRE.FindString(text)
	form := url.Values{"user_code": {code}, "login": {login}}
	if action != "" {
		form.Set("action", action)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the issuer answered %s", resp.Status)
	}
	return nil
}

// waitPrompt returns the content of a file once a device flow's prompt is there.
func waitPrompt(path string) (string, error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		b, _ := os.ReadFile(path)
		if strings.Contains(string(b), "Waiting") && codeRE.Match(b) && urlRE.Match(b) {
			return string(b), nil
		}
	}
	b, _ := os.ReadFile(path)
	return "", fmt.Errorf("no prompt in %s:\n%s", path, b)
}

// TestScripts drives the stock clients against one demo.
func TestScripts(t *testing.T) {
	d := startDemo(t)
	host, port, _ := strings.Cut(d.SSHAddr, ":")
	testscript.Run(t, testscript.Params{
		Dir:      filepath.Join("testdata", "script"),
		Deadline: time.Now().Add(4 * patience),
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(binary(t, "sallyport"))+":"+e.Getenv("PATH"))
			e.Setenv("DEMO", d.dir)
			e.Setenv("DATA", d.DataDir)
			e.Setenv("SSHADDR", d.SSHAddr)
			e.Setenv("SSHHOST", host)
			e.Setenv("SSHPORT", port)
			e.Setenv("SALLYPORT", binary(t, "sallyport"))
			return newClient(d, e.WorkDir)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"approve":  cmdApprove,
			"signin":   cmdSignin,
			"sameFile": cmdSameFile,
			"waitSocket": func(ts *testscript.TestScript, _ bool, args []string) {
				for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
					if c, err := net.Dial("unix", ts.MkAbs(args[0])); err == nil {
						c.Close()
						return
					}
				}
				ts.Fatalf("nothing listens on %s", args[0])
			},
		},
	})
}

// newClient gives a script a key of its own, which nobody has signed in with.
func newClient(d demoFile, dir string) error {
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "id_ed25519")).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	config, err := os.ReadFile(d.SSHConfig)
	if err != nil {
		return err
	}
	text := strings.ReplaceAll(string(config), filepath.Join(d.dir, "id_ed25519"), filepath.Join(dir, "id_ed25519"))
	return os.WriteFile(filepath.Join(dir, "ssh_config"), []byte(text), 0o600)
}

// approve LOGIN FILE [deny]: answers the prompt that appears in FILE.
func cmdApprove(ts *testscript.TestScript, _ bool, args []string) {
	text, err := waitPrompt(ts.MkAbs(args[1]))
	ts.Check(err)
	action := ""
	if len(args) > 2 {
		action = args[2]
	}
	ts.Check(approve(text, args[0], action))
}

// signin LOGIN: signs the script's key in and keeps its certificate.
func cmdSignin(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	prompt, err := os.Create(ts.MkAbs("signin.prompt"))
	ts.Check(err)
	defer prompt.Close()
	cmd := exec.CommandContext(ctx, "ssh", "-F", ts.MkAbs("ssh_config"), "demo-bastion", "cert")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, prompt
	ts.Check(cmd.Start())
	text, err := waitPrompt(prompt.Name())
	ts.Check(err)
	ts.Check(approve(text, args[0], ""))
	ts.Check(cmd.Wait())
	ts.Check(os.WriteFile(ts.MkAbs("id_ed25519-cert.pub"), []byte(out.String()), 0o600))
}

// sameFile A B: the two files have the same bytes.
func cmdSameFile(ts *testscript.TestScript, neg bool, args []string) {
	a, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	if (string(a) == string(b)) == neg {
		ts.Fatalf("%s (%d bytes) and %s (%d bytes)", args[0], len(a), args[1], len(b))
	}
}
