package console_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"sallyport/policy"
)

// whole is a recording with everything that there is to say about one.
func whole() policy.Recording {
	status := uint32(0)
	return policy.Recording{
		Session: policy.Session{
			ID: "06h0gxk000000000000000000a", User: policy.User{Issuer: "https://idp", Subject: "a", Email: "alice@example.com", Groups: []string{"sre", "dba"}},
			Source: "192.0.2.7:50022", Client: "SSH-2.0-OpenSSH_9.2", Key: "SHA256:key", Serial: 42, Target: "db1", Login: "root", Action: policy.ActionExec, Command: "psql",
			Start: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC), Env: map[string]string{"LC_ALL": "C", "LANG": "C"},
			Labels: map[string]string{"env": "prod", "app": "shop"}, Address: "db1.example.com:22", AskedEnv: []string{"LANG", "LC_ALL", "LD_PRELOAD"},
			PolicyDigest: strings.Repeat("ab", 32), ConfigDigest: strings.Repeat("cd", 32), Policies: []string{"policy.cedar:3 @dba"},
			Retention: 90 * 24 * time.Hour, Coverage: []string{"sftp: recorded as a byte stream, files are not parsed"},
		},
		Summary: policy.Summary{
			ID: "06h0gxk000000000000000000a", State: policy.RecordingComplete, Duration: time.Minute, OutputBytes: 5,
			End: policy.End{ExitStatus: &status, Address: "192.0.2.10:22", HostKey: "SHA256:host",
				Host: &policy.HostContext{Hostname: "db1", Kernel: "Linux 6.1.0", OS: "Debian GNU/Linux 12 (bookworm)", Shell: "/bin/bash", ShellVer: "GNU bash, version 5.2",
					Dir: "/root", Container: strings.Repeat("0f", 32), ImageDigest: "sha256:" + strings.Repeat("1e", 32)},
				Channels: []policy.Channel{
					{Kind: "channel", Type: "session", From: "client", Count: 1, Captured: true, Note: "this session"},
					{Kind: "channel", Type: "x11", From: "client", Count: 12, Note: "refused: nothing is forwarded"},
					{Kind: "request", Type: "exec", From: "client", Count: 1, Captured: true},
					{Kind: "global", Type: "hostkeys-00@openssh.com", From: "target", Count: 1, Note: "ignored: host keys are configured, not learned"},
				}},
		},
	}
}

func TestShowTellsTheContext(t *testing.T) {
	d := newDesk(t)
	r := whole()
	if err := d.catalog.PutRecording(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if code := d.run("show", string(r.Session.ID)); code != 0 {
		t.Fatalf("exit %d: %s", code, d.err.String())
	}
	file := filepath.Join("testdata", "show-context.golden")
	if *update {
		if err := os.WriteFile(file, d.out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.out.String(); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if code := d.run("show", string(r.Session.ID), "--json"); code != 0 {
		t.Fatalf("exit %d: %s", code, d.err.String())
	}
	var got policy.Recording
	if err := json.Unmarshal(d.out.Bytes(), &got); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%v: %+v\nwant %+v", err, got, r)
	}
}

// Whatever a target or a client made these words, printing them does nothing.
func TestShowIsInert(t *testing.T) {
	d := newDesk(t)
	const bad = "\x1b]0;x\x07\u202e\n\t\u009b\xff"
	r := whole()
	r.Session.Labels, r.Session.Env = map[string]string{bad: bad}, map[string]string{bad: bad}
	r.Session.AskedEnv, r.Session.Policies, r.Session.Coverage = []string{bad, "other" + bad}, []string{bad}, []string{bad}
	r.Session.PolicyDigest, r.Session.ConfigDigest, r.Session.Address = bad, bad, bad
	r.Session.User.Groups = []string{bad}
	e := &r.Summary.End
	e.Address, e.HostKey = bad, bad
	e.Host = &policy.HostContext{Hostname: bad, Kernel: bad, OS: bad, Shell: bad, ShellVer: bad, Dir: bad, Container: bad, ImageDigest: bad, Error: bad}
	e.Channels = []policy.Channel{{Kind: bad, Type: bad, From: bad, Count: 1, Note: bad}}
	if err := d.catalog.PutRecording(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"show", string(r.Session.ID)}, {"show", string(r.Session.ID), "--json"}} {
		if code := d.run(args...); code != 0 {
			t.Fatalf("exit %d: %s", code, d.err.String())
		}
		for _, c := range d.out.String() {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Errorf("%q prints %q", args, c)
			}
		}
		if n := strings.Count(d.out.String(), "\n"); args[len(args)-1] != "--json" && n > 45 {
			t.Errorf("%d lines:\n%s", n, d.out.String())
		}
	}
}
