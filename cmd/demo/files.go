package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// description is demo.json, for programs that use the demo.
type description struct {
	SSHAddr    string            `json:"ssh_addr"`
	WebURL     string            `json:"web_url"`
	Issuer     string            `json:"issuer"`
	SSHConfig  string            `json:"ssh_config"`
	KnownHosts string            `json:"known_hosts"`
	Targets    []describedTarget `json:"targets"`
	Users      []account         `json:"users"`
	DataDir    string            `json:"data_dir"`
}

type describedTarget struct {
	Name   string   `json:"name"`
	Logins []string `json:"logins"`
}

// writeDescription comes last: whoever waits for the file finds all ready.
func (d *demo) writeDescription(context.Context) error {
	b, err := json.MarshalIndent(description{
		SSHAddr: d.sshAddr, WebURL: d.webURL, Issuer: d.idp.url, SSHConfig: d.path("ssh_config"), KnownHosts: d.path("known_hosts"),
		Targets: []describedTarget{{hostName, []string{hostLogin}}}, Users: accounts, DataDir: d.path("data"),
	}, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	// The ports outlive demo.json, which goes when the next run starts.
	return errors.Join(writeFile(d.path("ports.json"), b), writeFile(d.path("demo.json"), b))
}

// lastPort is the port of the last run in this folder, or 0. Keeping it keeps
// the issuer's name, and with it who is who.
func (d *demo) lastPort(which string) int {
	var last description
	b, err := os.ReadFile(d.path("ports.json"))
	if err != nil || json.Unmarshal(b, &last) != nil {
		return 0
	}
	addr := map[string]string{"ssh": last.SSHAddr, "web": hostOf(last.WebURL), "idp": hostOf(last.Issuer)}[which]
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}

func hostOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Host
}

// listen takes the port, or for 0 that of the last run, or a free one.
func (d *demo) listen(which string, port int) (net.Listener, error) {
	if port == 0 {
		if last := d.lastPort(which); last != 0 {
			if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", last)); err == nil {
				return l, nil
			}
		}
	}
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

// reserve finds an address for a listener of the bastion's.
func (d *demo) reserve(which string, port int) (string, error) {
	l, err := d.listen(which, port)
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

const configuration = `# Written by the demo at each start.
data: %s
ssh:
  listen: %s
  name: %s
  suffix: %s
web:
  listen: %s
  url: %s
oidc:
  issuer: %s
  client_id: %s
policy: %s
targets:
  - name: %s
    address: %s
    labels: {env: demo}
    logins: [%s]
    host_ca: [self]
log: {format: text, level: info, file: %s}
`

const policyText = `// Written by the demo when it is missing; change it and send SIGHUP.

// Whoever the issuer knows may sign in, for an hour.
@id("everybody-signs-in")
@cert_ttl("1h")
permit (principal, action == Action::"signIn", resource);

// Engineers use the demo host.
@id("engineers-on-demo-host")
permit (
  principal in Group::"engineers",
  action in [Action::"shell", Action::"exec", Action::"sftp"],
  resource == Target::"demo-host"
) when { context has login && context.login == "demo" };

// Everybody sees their own recordings, with secrets masked.
@id("own-recordings")
permit (principal, action == Action::"replay", resource)
when { context has owner && context.owner == principal };

// Auditors see all recordings, and what was masked.
@id("auditors")
permit (
  principal in Group::"auditors",
  action in [Action::"replay", Action::"replayRaw"],
  resource
);
`

// configure writes what the bastion reads.
func (d *demo) configure(context.Context) error {
	var err error
	if d.sshAddr, err = d.reserve("ssh", d.ports.ssh); err != nil {
		return err
	}
	webAddr, err := d.reserve("web", d.ports.web)
	if err != nil {
		return err
	}
	d.webURL = "http://" + webAddr
	if d.hostListener, err = d.listen("host", d.ports.host); err != nil {
		return err
	}
	q := strconv.Quote
	text := fmt.Sprintf(configuration, q(d.path("data")), d.sshAddr, bastionName, suffix, webAddr, d.webURL, d.idp.url, clientID,
		q(d.path("policy.cedar")), hostName, d.hostListener.Addr(), hostLogin, q(d.path("sallyport.log")))
	if err := writeFile(d.path("sallyport.yaml"), []byte(text)); err != nil {
		return err
	}
	if _, err := os.Stat(d.path("policy.cedar")); errors.Is(err, fs.ErrNotExist) {
		return writeFile(d.path("policy.cedar"), []byte(policyText))
	}
	return nil
}

const clientConfiguration = `# Use with: ssh -F THIS-FILE %[1]s
Host %[1]s
  HostName %[2]s
  Port %[3]s
  HostKeyAlias %[1]s
Host %[4]s %[4]s.%[5]s
  User %[6]s
  ProxyJump %[1]s
Host *
  IdentityFile %[7]s
  CertificateFile %[7]s-cert.pub
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile %[8]s
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  PreferredAuthentications publickey,keyboard-interactive
`

// writeClientFiles writes what the stock client reads.
func (d *demo) writeClientFiles(ctx context.Context) error {
	ca, err := d.sallyportOutput(ctx, "ca", "show", "--config", d.path("sallyport.yaml"), "host")
	if err != nil {
		return err
	}
	line := fmt.Sprintf("@cert-authority %s,%s,*.%s %s\n", bastionName, hostName, suffix, strings.TrimSpace(ca))
	if err := writeFile(d.path("known_hosts"), []byte(line)); err != nil {
		return err
	}
	_, err = d.writeClient("")
	return err
}

// writeClient gives the folder sub a key and an ssh_config, and returns the
// latter's path.
func (d *demo) writeClient(sub string) (string, error) {
	key, err := ensureKey(d.path(sub, "id_ed25519"))
	if err != nil {
		return "", err
	}
	ip, port, err := net.SplitHostPort(d.sshAddr)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf(clientConfiguration, bastionName, ip, port, hostName, suffix, hostLogin, key, d.path("known_hosts"))
	config := d.path(sub, "ssh_config")
	return config, writeFile(config, []byte(text))
}

// ensureKey makes an Ed25519 key at path, and path.pub, unless it is there.
func ensureKey(path string) (string, error) {
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, "sallyport demo")
	if err != nil {
		return "", err
	}
	err = errors.Join(writeFile(path+".pub", ssh.MarshalAuthorizedKey(sshPub)), writeFile(path, pem.EncodeToMemory(block)))
	return path, err
}

// loadCertified reads a private key and the certificate beside it.
func loadCertified(path string) (ssh.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(b)
	if err != nil {
		return nil, err
	}
	if b, err = os.ReadFile(path + "-cert.pub"); err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil, err
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("%s-cert.pub is no certificate", path)
	}
	return ssh.NewCertSigner(cert, signer)
}

// writeHome makes a home folder with a plain prompt.
func writeHome(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	const profile = "PS1='demo@demo-host:\\w\\$ '\nalias ls='ls --color=auto'\n"
	return errors.Join(writeFile(filepath.Join(dir, ".bash_profile"), []byte(profile)),
		writeFile(filepath.Join(dir, ".profile"), []byte("PS1='demo@demo-host$ '\n")),
		writeFile(filepath.Join(dir, "welcome.txt"), []byte("This host is part of the Sallyport demo.\n")))
}

// writeFile replaces path in one step; nobody sees a half of it.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
