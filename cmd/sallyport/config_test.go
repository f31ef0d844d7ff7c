package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
