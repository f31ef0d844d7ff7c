package main

import (
	"crypto/ed25519"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

const testCALine = "@cert-authority bastion.example.com,*.bastion.example.com " + testHostKey

func TestKnownHostsTouchesOnlyItsOwnLine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "known_hosts")
	theirs := "# mine\nhost1 " + testHostKey + " someone\n@cert-authority *.other " + testHostKey + " theirs"
	if err := os.WriteFile(path, []byte(theirs), 0o640); err != nil {
		t.Fatal(err)
	}
	f := &sshFiles{dir: dir}
	saved := savedBastion{Name: "bastion.example.com", CALine: testCALine}
	for range 2 { // the second changes nothing
		if err := f.knownHost(saved); err != nil {
			t.Fatal(err)
		}
	}
	saved.CALine = strings.Replace(testCALine, "AIJb3", "AIJb4", 1) // a rotated CA replaces our line
	if err := f.knownHost(saved); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := theirs + "\n" + saved.CALine + " sallyport:bastion.example.com\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o640 {
		t.Errorf("mode changed to %v", st.Mode())
	}
}

func TestKnownHostsRefusesWhatABastionMayNotAsk(t *testing.T) {
	for _, line := range []string{
		"@cert-authority * " + testHostKey,
		"@cert-authority bastion,* " + testHostKey,
		"bastion " + testHostKey,
		"@cert-authority bastion " + testHostKey + "\n@cert-authority * " + testHostKey,
		"@revoked bastion " + testHostKey,
		"@cert-authority ** " + testHostKey,
		"@cert-authority bastion,?* " + testHostKey,
		"@cert-authority bastion,*.* " + testHostKey,
		"@cert-authority bastion,*.com " + testHostKey,
		"@cert-authority bastion,*.example.* " + testHostKey,
		"@cert-authority bastion,github.com " + testHostKey,
		"@cert-authority bastion,!x,*.example.com " + testHostKey,
		"nonsense",
	} {
		dir := t.TempDir()
		if err := (&sshFiles{dir: dir}).knownHost(savedBastion{Name: "bastion", CALine: line}); err == nil {
			t.Errorf("%q was accepted", line)
		}
		if _, err := os.Stat(filepath.Join(dir, "known_hosts")); err == nil {
			t.Errorf("%q was written", line)
		}
	}
}

func TestTheAuthorityMustBeTheOneThatWasTrusted(t *testing.T) {
	key, err := checkCALine("@cert-authority bastion,*.bastion,*.example.com "+testHostKey, "bastion")
	if err != nil {
		t.Fatal(err)
	}
	if trust := (&hostTrust{}); trust.is(key) {
		t.Error("nothing was trusted")
	}
	if trust := (&hostTrust{authority: key}); !trust.is(key) {
		t.Error("the authority is not itself")
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if trust := (&hostTrust{authority: other.PublicKey()}); trust.is(key) {
		t.Error("another authority passes")
	}
}

func TestIncludeKeepsTheRestAndSSHReadsIt(t *testing.T) {
	dir := t.TempDir()
	f := &sshFiles{dir: dir}
	theirs := "Host mine\n  User me\n"
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(theirs), 0o600); err != nil {
		t.Fatal(err)
	}
	state := &loginState{Default: "127.0.0.1:2222", Bastions: map[string]savedBastion{
		"127.0.0.1:2222": {Name: "bastion.example.com", Identity: dir + "/with space/k", Certificate: dir + "/with space/k-cert.pub", CALine: testCALine}}}
	for range 2 {
		if err := f.writeConfig(state); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, "config"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(got), "Include "); n != 1 || !strings.HasSuffix(string(got), theirs) {
		t.Errorf("configuration:\n%s", got)
	}
	for host, want := range map[string][]string{
		"bastion.example.com":     {"hostname 127.0.0.1", "port 2222", "hostkeyalias bastion.example.com", "identitiesonly yes", "certificatefile " + dir + "/with space/k-cert.pub"},
		"db1.bastion.example.com": {"proxyjump bastion.example.com", "hostname db1.bastion.example.com"},
		"mine":                    {"user me"},
	} {
		out, err := exec.Command("ssh", "-G", "-F", filepath.Join(dir, "config"), host).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh -G: %v\n%s", err, out)
		}
		for _, w := range want {
			if !strings.Contains(string(out), w+"\n") {
				t.Errorf("ssh -G %s lacks %q", host, w)
			}
		}
	}
}

func TestStateDamagedIsOneClearError(t *testing.T) {
	dir := t.TempDir()
	f := &sshFiles{dir: dir}
	if err := writeFileAtomic(f.own("state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.readState(); err == nil || !strings.Contains(err.Error(), "remove it and sign in again") {
		t.Errorf("damaged state: %v", err)
	}
}

func TestResolveBastion(t *testing.T) {
	s := &loginState{Default: "a:1", Bastions: map[string]savedBastion{"b:2": {Name: "bb"}}}
	for give, want := range map[string]string{"": "a:1", "bb": "b:2", "c": "c:22", "c:3": "c:3", "::1": "[::1]:22"} {
		if got, err := s.resolve(give); err != nil || got != want {
			t.Errorf("resolve(%q) = %q, %v; want %q", give, got, err, want)
		}
	}
	if _, err := (&loginState{}).resolve(""); err == nil {
		t.Error("no bastion at all was accepted")
	}
}

func TestPrintableLinesDropsControls(t *testing.T) {
	if got := printableLines("a\x1b]0;x\x07b\r\nc\u009b"); got != "a]0;xb\nc" {
		t.Errorf("%q", got)
	}
}
