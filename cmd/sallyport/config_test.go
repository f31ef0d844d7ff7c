package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

const testHostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJb3zGdOZc2WmSNGxvHhBbyNCWlWDgTAQqAZwMdoeOyi"

const minimalConfig = `oidc:
  issuer: https://login.example.com
  client_id: sallyport
`

func TestConfigDefaults(t *testing.T) {
	c, err := ParseConfig("/etc/sallyport/sallyport.yaml", []byte(minimalConfig))
	if err != nil {
		t.Fatal(err)
	}
	if c.SSH.Listen != ":2222" || c.Web.URL != "http://127.0.0.1:8080" || c.Certificates.Lifetime != time.Hour {
		t.Errorf("defaults: %+v", c)
	}
	if c.Policy != "/etc/sallyport/policy.cedar" {
		t.Errorf("a relative path is taken from the file's folder, got %s", c.Policy)
	}
}

func TestConfigErrorsNamePlaceAndRemedy(t *testing.T) {
	target := "targets:\n  - name: db1\n    address: db1:22\n    logins: [root]\n"
	for _, tc := range []struct{ name, src, want string }{
		{"unknown field", "oidc:\n  isuer: x\n", `f.yaml:2:3: oidc: unknown field "isuer"; allowed here: ca_file, client_id`},
		{"unknown top field", "lisen: 1\n", `f.yaml:1:1: unknown field "lisen"; allowed here: certificates, data`},
		{"bad duration", minimalConfig + "certificates:\n  lifetime: soon\n", `f.yaml:5:13: certificates.lifetime: want a duration such as 45s, 30m or 1h30m, found "soon"`},
		{"duration without unit", minimalConfig + "certificates:\n  lifetime: 60\n", `f.yaml:5:13: certificates.lifetime: want a duration`},
		{"source address", minimalConfig + "certificates: {source_address: [any, 10.0.0.1]}\n", `f.yaml:4:33: certificates.source_address[0]: want an address such as`},
		{"lifetime too long", minimalConfig + "certificates:\n  lifetime: 48h\n", `f.yaml:5:13: certificates.lifetime: want 1m to 24h, found 48h0m0s`},
		{"no issuer", "data: /x\n", `f.yaml: oidc.issuer: is needed`},
		{"no client", "oidc:\n  issuer: https://a\n", `f.yaml:2:3: oidc.client_id: is needed`},
		{"issuer is no URL", "oidc:\n  issuer: login.example.com\n", `f.yaml:2:11: oidc.issuer: want an address such as`},
		{"twice", "data: a\ndata: b\n", `f.yaml:2:1: field "data" is given twice`},
		{"tabs", "ssh:\n\tlisten: x\n", `f.yaml:2:1: not valid YAML: found character that cannot start any token`},
		{"list for value", "data: [a]\n", `f.yaml:1:7: data: want a single value, found a list`},
		{"value for fields", "ssh: yes\n", `f.yaml:1:6: ssh: want fields (env, listen, name, suffix), found "yes"`},
		{"value for list", "targets: db1\n", `f.yaml:1:10: targets: want a list, found "db1"`},
		{"two documents", "data: a\n---\ndata: b\n", `a second YAML document`},
		{"port", minimalConfig + "ssh: {listen: '127.0.0.1'}\n", `f.yaml:4:15: ssh.listen: want HOST:PORT, found "127.0.0.1"`},
		{"port range", minimalConfig + "ssh: {listen: '127.0.0.1:99999'}\n", `ssh.listen: want a port from 0 to 65535, found "99999"`},
		{"no host key", minimalConfig + target, `f.yaml:5:5: targets[0]: host_keys or host_ca is needed`},
		{"bad host key", minimalConfig + target + "    host_keys: [nonsense]\n", `targets[0].host_keys[0]: want one public key`},
		{"self is no host key", minimalConfig + target + "    host_keys: [self]\n", `targets[0].host_keys[0]: want one public key`},
		{"no logins", minimalConfig + "targets:\n  - name: a\n    address: a:22\n    host_ca: [self]\n", `targets[0]: logins is needed`},
		{"hostile login", minimalConfig + "targets:\n  - name: a\n    address: a:22\n    logins: ['-oProxyCommand=x']\n    host_ca: [self]\n", `targets[0].logins[0]: want an account name`},
		{"login that no certificate can name", minimalConfig + "targets:\n  - name: a\n    address: a:22\n    logins: ['CORP\\alice']\n    host_ca: [self]\n", `targets[0].logins[0]: want an account name of letters, digits and ._@-, found`},
		{"same target", minimalConfig + target + "    host_ca: [self]\n  - name: DB1\n    address: x:1\n", `target "DB1" is given twice`},
		{"bad expression", minimalConfig + "redact:\n  rules:\n    - name: mine\n      pattern: '('\n", `f.yaml:5:3: redact: `},
		{"log level", minimalConfig + "log: {level: loud}\n", `log.level: want debug, info, warn or error, found "loud"`},
		{"two secrets", minimalConfig + "  client_secret: a\n  client_secret_file: b\n", `f.yaml:5:23: oidc.client_secret_file: client_secret is given too`},
		{"half TLS", minimalConfig + "web: {tls: {cert: a}}\n", `web.tls: cert and key go together`},
		{"metrics", minimalConfig + "web: {metrics: yes}\n", `web.metrics: want on or off, found "yes"`},
		{"metrics_allow", minimalConfig + "web: {metrics_allow: [10.0.0.0/8, lan]}\n", `f.yaml:4:35: web.metrics_allow[1]: want an address such as`},
		{"recipient", minimalConfig + "recordings: {view_recipients: [age1x]}\n", `f.yaml:4:32: recordings.view_recipients[0]: `},
		{"identity as recipient", minimalConfig + "recordings: {raw_recipients: [AGE-SECRET-KEY-1QQ]}\n", `recordings.raw_recipients[0]: this is an identity, which must stay secret`},
		{"two recipients in one", minimalConfig + "recordings: {raw_recipients: [\"a\\nb\"]}\n", `recordings.raw_recipients[0]: want one age recipient`},
		{"kinds mixed", minimalConfig + "recordings: {view_recipients: [" + testRecipient(t, false) + ", " + testRecipient(t, true) + "]}\n", `recordings.view_recipients: line 2: a post-quantum recipient`},
		{"retention", minimalConfig + "recordings: {retention: soon}\n", `f.yaml:4:25: recordings.retention: want days such as 90d, or a duration such as 12h, found "soon"`},
		{"no retention", minimalConfig + "recordings: {retention: 0d}\n", `want days such as 90d`},
		{"list for retention", minimalConfig + "recordings: {retention: [1d]}\n", `recordings.retention: want a single value, found a list`},
		{"space", minimalConfig + "disk: {refuse_below: 2 gigs}\n", `f.yaml:4:22: disk.refuse_below: want a size such as 512MiB or 2GiB, or a part such as 5%, found "2 gigs"`},
		{"negative space", minimalConfig + "disk: {end_below: -1GiB}\n", `disk.end_below: want a size`},
		{"more than all", minimalConfig + "disk: {end_below: 101%}\n", `disk.end_below: want a size`},
		{"limits reversed", minimalConfig + "disk: {refuse_below: 1GiB, end_below: 2GiB}\n", `f.yaml:4:39: disk.end_below: 2 GiB is above refuse_below (1 GiB)`},
		{"node", minimalConfig + "ledger: {node: 'a b'}\n", `ledger.node: want a name`},
		{"two places in one", minimalConfig + "ledger: {checkpoints: [{file: a, http: 'http://b'}]}\n", `f.yaml:4:24: ledger.checkpoints[0]: want exactly one of file, http and syslog`},
		{"no place", minimalConfig + "ledger: {checkpoints: [{}]}\n", `want exactly one of`},
		{"http place", minimalConfig + "ledger: {checkpoints: [{http: witness}]}\n", `ledger.checkpoints[0].http: want an address that begins with https:// or http://`},
		{"syslog place", minimalConfig + "ledger: {checkpoints: [{syslog: 'udp://log'}]}\n", `f.yaml:4:33: ledger.checkpoints[0].syslog: want unix:///PATH, udp://HOST:PORT or tcp://HOST:PORT`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseConfig("f.yaml", []byte(tc.src))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

// testRecipient makes a key to seal for.
func testRecipient(t *testing.T, hybrid bool) string {
	t.Helper()
	if hybrid {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			t.Fatal(err)
		}
		return id.Recipient().String()
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id.Recipient().String()
}

func TestConfigOfTheRecord(t *testing.T) {
	c, err := ParseConfig("/etc/sp/f.yaml", []byte(minimalConfig+"data: /d\nssh: {name: b.example}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Recordings.Archive != "/d/archive" || c.Recordings.RawIdentity != "/d/keys/raw.agekey" || c.hardened() || c.Ledger.Node != "b.example" || c.Web.Metrics != "on" {
		t.Errorf("defaults: %+v %+v", c.Recordings, c.Ledger)
	}
	for total, want := range map[int64][2]int64{1 << 40: {2 << 30, 256 << 20}, 20 << 30: {1 << 30, 214748364}, 10 << 20: {524288, 104857}} {
		if r, e := c.Disk.RefuseBelow.limit(total), c.Disk.EndBelow.limit(total); r != want[0] || e != want[1] {
			t.Errorf("a disk of %d bytes: refuse below %d, end below %d; want %v", total, r, e, want)
		}
	}
	c, err = ParseConfig("/etc/sp/f.yaml", []byte(minimalConfig+`recordings: {archive: a, raw_recipients: [`+testRecipient(t, true)+`], retention: 90d}
disk: {refuse_below: 1.5GiB, end_below: 3%}
ledger: {body_retention: 12h, checkpoints: [{file: w/cp}, {http: 'https://w.example/cp'}, {syslog: 'unix:///dev/log'}]}
web: {metrics: off, metrics_allow: [192.0.2.7, '2001:db8::/32']}
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Recordings.Archive != "/etc/sp/a" || !c.hardened() || time.Duration(c.Recordings.Retention) != 90*24*time.Hour ||
		c.Ledger.Checkpoints[0].File != "/etc/sp/w/cp" || time.Duration(c.Ledger.BodyRetention) != 12*time.Hour || c.digest == "" {
		t.Errorf("%+v %+v", c.Recordings, c.Ledger)
	}
	if r, e := c.Disk.RefuseBelow.limit(100<<30), c.Disk.EndBelow.limit(100<<30); r != 3<<29 || e != 3<<30 {
		t.Errorf("limits %d %d", r, e)
	}
}

// What the configuration names and is not there, or not a key, is found before
// the start.
func TestConfigFilesOfTheRecord(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f.yaml")
	for name, text := range map[string]string{"policy.cedar": "", "good": "AGE-SECRET-KEY-1", "bad": "hello\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for more, want := range map[string]string{
		"":                                    "",
		"recordings: {view_identity: gone}\n": "f.yaml:4:29: recordings.view_identity: open " + dir + "/gone: no such file",
		"recordings: {raw_identity: bad}\n":   "recordings.raw_identity: " + dir + "/bad: line 1: this is no age identity",
		"ledger: {checkpoints: [{file: m/cp}]}\n": "ledger.checkpoints[0].file: " + dir + "/m is no folder; is it mounted?",
		"ledger: {checkpoints: [{file: cp}]}\n":   "",
	} {
		if err := os.WriteFile(path, []byte(minimalConfig+more), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadConfig(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", more, err, want)
		}
	}
}

func TestConfigMissingFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sallyport.yaml")
	if _, err := LoadConfig(path); err == nil || !strings.Contains(err.Error(), path+": no such file") {
		t.Errorf("missing configuration: %v", err)
	}
	if err := os.WriteFile(path, []byte(minimalConfig+"policy: gone.cedar\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadConfig(path); err == nil || !strings.Contains(err.Error(), path+":4:9: policy: "+dir+"/gone.cedar: no such file") {
		t.Errorf("missing policy: %v", err)
	}
}

func TestConfigTarget(t *testing.T) {
	c, err := ParseConfig("f.yaml", []byte(minimalConfig+`targets:
  - name: db1
    address: db1.internal:22
    labels: {env: prod}
    logins: [root, postgres]
    host_keys: ["`+testHostKey+`"]
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Targets[0]; got.Labels["env"] != "prod" || len(got.Logins) != 2 {
		t.Errorf("target: %+v", got)
	}
}

// FuzzConfig holds that no file makes the decoder panic, and that a refusal is
// one line that names the file.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(minimalConfig))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("targets: [{name: x, labels: {a: b}}]\nredact: {rules: [{name: n, pattern: 'x+'}]}\n"))
	f.Add([]byte("ssh: {<<: {listen: x}}\n"))
	f.Add([]byte("certificates: {lifetime: -1h}\noidc: ~\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 1<<16 {
			return
		}
		_, err := ParseConfig("f.yaml", src)
		if err != nil && (!strings.HasPrefix(err.Error(), "f.yaml") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("error: %q", err)
		}
	})
}

func TestSourceAddressOfTargetCertificates(t *testing.T) {
	local := netip.MustParseAddr("192.0.2.7")
	for _, tc := range []struct {
		list []string
		want string
	}{{nil, "192.0.2.7/32"}, {[]string{"10.0.0.0/8", "2001:db8::1"}, "10.0.0.0/8,2001:db8::1"}, {[]string{"any"}, ""}} {
		c := &Config{Certificates: CertsConfig{SourceAddress: tc.list}}
		if got := c.sourceAddress(local); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.list, got, tc.want)
		}
	}
}
