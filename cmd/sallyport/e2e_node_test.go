package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
	"sallyport/certs"
	"sallyport/policy"
	"sallyport/recorder/catalog"
)

// dora is signed in from the start, so that tests of sessions need no issuer.
var dora = policy.User{Issuer: "http://127.0.0.1:1", Subject: "dora", Email: "dora@example.com", Groups: []string{"ops"}}

const nodePolicy = `permit(principal, action == Action::"signIn", resource);
permit(principal in Group::"ops", action in [Action::"shell", Action::"exec", Action::"sftp"], resource);
permit(principal, action == Action::"replay", resource) when { context has owner && context.owner == principal };
`

// ownNode is a bastion of one test, with its own data.
type ownNode struct {
	t       testing.TB
	dir     string
	data    string
	addr    string
	web     string // address of its pages
	key     string // dora's, with a certificate beside it
	process *exec.Cmd
}

// nodeOptions change what newNode writes.
type nodeOptions struct {
	issuer, clientID string
	data             string
	web              string // listener; none by default
	targets          string // YAML list items
}

// newNode writes a configuration and signs dora in, but does not start.
func newNode(t testing.TB, o nodeOptions) *ownNode {
	t.Helper()
	sshtest.Need(t, "ssh")
	n := &ownNode{t: t, dir: t.TempDir()}
	if o.issuer == "" {
		o.issuer = dora.Issuer
	}
	if o.clientID == "" {
		o.clientID = "sallyport"
	}
	if o.data == "" {
		o.data = filepath.Join(n.dir, "data")
	}
	if o.web == "" {
		o.web = "off"
	}
	n.data = o.data
	n.write("policy.cedar", nodePolicy)
	n.write("sallyport.yaml", fmt.Sprintf("data: %s\nssh: {listen: '127.0.0.1:0', name: bastion, suffix: test.internal}\nweb: {listen: '%s'}\noidc: {issuer: '%s', client_id: %s}\ntargets:\n%s", o.data, o.web, o.issuer, o.clientID, o.targets))
	n.enroll(o.data)
	return n
}

func (n *ownNode) path(name string) string { return filepath.Join(n.dir, name) }

func (n *ownNode) write(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(n.path(name), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// enroll gives dora a certificate, as if she had signed in.
func (n *ownNode) enroll(data string) {
	n.t.Helper()
	ctx := context.Background()
	private := sshtest.NewKey(n.t)
	n.key = sshtest.WriteKey(n.t, n.dir, "id", private)
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		n.t.Fatal(err)
	}
	cas, err := certs.LoadOrCreate(dataDir(data).cas())
	if err != nil {
		n.t.Fatal(err)
	}
	cat, err := catalog.Open(ctx, dataDir(data).catalog())
	if err != nil {
		n.t.Fatal(err)
	}
	defer cat.Close()
	if err := cat.PutUser(ctx, dora, time.Now()); err != nil {
		n.t.Fatal(err)
	}
	cert, err := (&certs.Issuer{CAs: cas, Serial: cat.NextSerial}).User(ctx, signer.PublicKey(), dora, time.Hour)
	if err != nil {
		n.t.Fatal(err)
	}
	n.write("id-cert.pub", string(ssh.MarshalAuthorizedKey(cert)))
	n.write("known_hosts", fmt.Sprintf("@cert-authority bastion,*.test.internal,t1 %s\n", sshtest.AuthorizedKey(cas.Host.PublicKey())))
	n.write("target_ca.pub", sshtest.AuthorizedKey(cas.Target.PublicKey()))
}

// targetCA is what targets have to trust.
func (n *ownNode) targetCA() ssh.PublicKey {
	n.t.Helper()
	line, err := os.ReadFile(n.path("target_ca.pub"))
	if err != nil {
		n.t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		n.t.Fatal(err)
	}
	return key
}

// target adds a target named t1 to the configuration.
func (n *ownNode) target(addr, login string, hostKey ssh.PublicKey) {
	n.t.Helper()
	text, err := os.ReadFile(n.path("sallyport.yaml"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.write("sallyport.yaml", string(text)+fmt.Sprintf("  - {name: t1, address: '%s', logins: [%s], host_keys: ['%s']}\n", addr, login, sshtest.AuthorizedKey(hostKey)))
}

var readyRE = regexp.MustCompile(`msg=ready ssh=(\S+) web=(\S+)`)

// start runs the bastion until the test ends, and writes dora's ssh_config.
func (n *ownNode) start(flags ...string) {
	n.t.Helper()
	config := n.path("sallyport.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		n.t.Fatal(err)
	}
	log := n.path(fmt.Sprintf("log-%d", time.Now().UnixNano()))
	n.write("sallyport.yaml", regexp.MustCompile(`(?m)^log: .*\n`).ReplaceAllString(string(text), "")+"log: {level: debug, file: "+log+"}\n")
	n.process = startProcess(n.t, nil, binary(n.t, "sallyport"), append([]string{"serve", "--config", config}, flags...)...)
	waitFor(n.t, "the bastion", func() bool {
		b, _ := os.ReadFile(log)
		m := readyRE.FindSubmatch(b)
		if m != nil {
			n.addr, n.web = string(m[1]), "http://"+string(m[2])
		}
		return m != nil
	})
	n.t.Cleanup(func() {
		if b, _ := os.ReadFile(log); n.t.Failed() {
			n.t.Logf("log:\n%s", b)
		}
	})
	host, port, _ := strings.Cut(n.addr, ":")
	n.write("ssh_config", fmt.Sprintf(`Host bastion
  HostName %s
  Port %s
  HostKeyAlias bastion
Host t1
  ProxyJump bastion
Host *
  IdentityFile %s
  CertificateFile %s-cert.pub
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile %s
  StrictHostKeyChecking yes
  BatchMode yes
`, host, port, n.key, n.key, n.path("known_hosts")))
}

func (n *ownNode) log() string {
	var all []byte
	files, _ := filepath.Glob(n.path("log-*"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		all = append(all, b...)
	}
	return string(all)
}

// answer is what a command printed and returned.
type answer struct {
	out, err string
	code     int
}

// ssh runs the stock client as dora.
func (n *ownNode) ssh(stdin string, args ...string) answer {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", append([]string{"-F", n.path("ssh_config")}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	cmd.WaitDelay = time.Second
	_ = cmd.Run()
	return answer{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// recordings lists what the catalog holds, through the product's own verb.
func (n *ownNode) recordings(state string) string {
	n.t.Helper()
	out, err := exec.Command(binary(n.t, "sallyport"), "ls", "--dir", n.data, "--state", state, "--json").CombinedOutput()
	if err != nil {
		n.t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// end stops the bastion with a signal and waits until it has gone.
func (n *ownNode) end(sig syscall.Signal) {
	n.t.Helper()
	if err := n.process.Process.Signal(sig); err != nil {
		n.t.Fatal(err)
	}
	waitFor(n.t, "the bastion's end", func() bool { return n.process.Process.Signal(syscall.Signal(0)) != nil })
}
