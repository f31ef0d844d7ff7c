package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/policy"
	"sallyport/recorder/redact"
)

var (
	nameRE  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	loginRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}$`) // what a certificate may name
	labelRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$`)
	envRE   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\*?$`)
)

func (c *Config) checkListeners() error {
	if err := checkHostPort(c.SSH.Listen); err != nil {
		return c.dec.at("ssh.listen", "%v", err)
	}
	if !nameRE.MatchString(c.SSH.Name) {
		return c.dec.at("ssh.name", "want a host name, found %q", c.SSH.Name)
	}
	if c.SSH.Suffix != "" && !nameRE.MatchString(c.SSH.Suffix) {
		return c.dec.at("ssh.suffix", "want a domain name such as bastion.example.com, found %q", c.SSH.Suffix)
	}
	for i, e := range c.SSH.Env {
		if !envRE.MatchString(e) {
			return c.dec.at(fmt.Sprintf("ssh.env[%d]", i), "want a variable's name, with * at the end to match any tail, found %q", e)
		}
	}
	if c.Web.Listen == "off" {
		return nil
	}
	if err := checkHostPort(c.Web.Listen); err != nil {
		return c.dec.at("web.listen", "%v, or off", err)
	}
	if (c.Web.TLS.Cert == "") != (c.Web.TLS.Key == "") {
		return c.dec.at("web.tls", "cert and key go together")
	}
	return c.checkURL("web.url", c.Web.URL)
}

// checkURL wants an absolute http or https address without query and fragment.
func (c *Config) checkURL(path, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return c.dec.at(path, "want an address such as https://login.example.com, found %q", raw)
	}
	return nil
}

func checkHostPort(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("want HOST:PORT, found %q", s)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("want a port from 0 to 65535, found %q", port)
	}
	return nil
}

func (c *Config) checkOIDC() error {
	if c.OIDC.Issuer == "" {
		return c.dec.at("oidc.issuer", "is needed: the address of your identity provider, exactly as its discovery document spells it")
	}
	if err := c.checkURL("oidc.issuer", c.OIDC.Issuer); err != nil {
		return err
	}
	if c.OIDC.ClientID == "" {
		return c.dec.at("oidc.client_id", "is needed: the client that you registered for the bastion at %s", c.OIDC.Issuer)
	}
	if c.OIDC.ClientSecret != "" && c.OIDC.ClientSecretFile != "" {
		return c.dec.at("oidc.client_secret_file", "client_secret is given too; keep one of them")
	}
	return nil
}

func (c *Config) checkCertificates() error {
	if l := c.Certificates.Lifetime; l < time.Minute || l > 24*time.Hour {
		return c.dec.at("certificates.lifetime", "want 1m to 24h, found %s", l)
	}
	list := c.Certificates.SourceAddress
	for i, a := range list {
		_, addrErr := netip.ParseAddr(a)
		_, prefixErr := netip.ParsePrefix(a)
		if addrErr != nil && prefixErr != nil && (a != sourceAny || len(list) > 1) {
			return c.dec.at(fmt.Sprintf("certificates.source_address[%d]", i), "want an address such as 192.0.2.7, a prefix such as 192.0.2.0/24, or any alone, found %q", a)
		}
	}
	return nil
}

func (c *Config) checkTargets() error {
	seen := map[string]bool{}
	for i, t := range c.Targets {
		path := fmt.Sprintf("targets[%d]", i)
		if !nameRE.MatchString(t.Name) {
			return c.dec.at(path+".name", "want letters, digits, dot, dash and underscore, found %q", t.Name)
		}
		if seen[strings.ToLower(t.Name)] {
			return c.dec.at(path+".name", "target %q is given twice", t.Name)
		}
		seen[strings.ToLower(t.Name)] = true
		if err := checkHostPort(t.Address); err != nil {
			return c.dec.at(path+".address", "%v", err)
		}
		if err := c.checkTarget(path, t); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkTarget(path string, t TargetYAML) error {
	if len(t.Logins) == 0 {
		return c.dec.at(path, "logins is needed: the accounts on %s that users may ask for", t.Name)
	}
	for i, l := range t.Logins {
		if !loginRE.MatchString(l) {
			return c.dec.at(fmt.Sprintf("%s.logins[%d]", path, i), "want an account name of letters, digits and ._@-, found %q", l)
		}
	}
	for k := range t.Labels {
		if !labelRE.MatchString(k) {
			return c.dec.at(path+".labels."+k, "want a label name of letters, digits and ._/-, found %q", k)
		}
	}
	if len(t.HostKeys)+len(t.HostCA) == 0 {
		return c.dec.at(path, "host_keys or host_ca is needed: Sallyport never trusts a host key on first use (see ssh-keyscan and README)")
	}
	if err := c.checkKeys(path+".host_keys", t.HostKeys, false); err != nil {
		return err
	}
	return c.checkKeys(path+".host_ca", t.HostCA, true)
}

func (c *Config) checkKeys(path string, keys []string, self bool) error {
	for i, k := range keys {
		if self && k == hostSelf {
			continue
		}
		pub, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(k))
		if err != nil || len(strings.TrimSpace(string(rest))) > 0 {
			return c.dec.at(fmt.Sprintf("%s[%d]", path, i), "want one public key such as \"ssh-ed25519 AAAA…\", as a .pub file has it")
		}
		if _, isCert := pub.(*ssh.Certificate); isCert {
			return c.dec.at(fmt.Sprintf("%s[%d]", path, i), "want a public key, found a certificate")
		}
	}
	return nil
}

func (c *Config) checkRedact() error {
	if _, err := redact.Compile(c.redactConfig()); err != nil {
		return c.dec.at("redact", "%v", err)
	}
	return nil
}

func (c *Config) redactConfig() redact.Config {
	rc := redact.Config{Disable: c.Redact.Disable}
	for _, r := range c.Redact.Rules {
		rc.Custom = append(rc.Custom, redact.CustomRule{Name: r.Name, Pattern: r.Pattern})
	}
	return rc
}

func (c *Config) checkLog() error {
	switch c.Log.Format {
	case "text", "json":
	default:
		return c.dec.at("log.format", "want text or json, found %q", c.Log.Format)
	}
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		return c.dec.at("log.level", "want debug, info, warn or error, found %q", c.Log.Level)
	}
	return nil
}

// checkFiles checks the files that the configuration names.
func (c *Config) checkFiles() error {
	for _, f := range []struct{ path, file string }{
		{"policy", c.Policy}, {"web.tls.cert", c.Web.TLS.Cert}, {"web.tls.key", c.Web.TLS.Key},
		{"oidc.client_secret_file", c.OIDC.ClientSecretFile}, {"oidc.ca_file", c.OIDC.CAFile},
	} {
		if f.file == "" {
			continue
		}
		if _, err := os.Stat(f.file); err != nil {
			return c.dec.at(f.path, "%s: %s", f.file, fileErrorText(err))
		}
	}
	for _, check := range []func() error{c.checkIdentities, c.checkCheckpointFolders} {
		if err := check(); err != nil {
			return err
		}
	}
	if _, err := policy.Load(c.Policy); err != nil {
		return err // names its own file, line and column
	}
	return nil
}

// sourceAddress is the source-address option of a certificate for a target
// that the bastion reaches from local; "" for none.
func (c *Config) sourceAddress(local netip.Addr) string {
	list := c.Certificates.SourceAddress
	switch {
	case len(list) == 1 && list[0] == sourceAny:
		return ""
	case len(list) > 0:
		return strings.Join(list, ",")
	case local.IsValid():
		return netip.PrefixFrom(local, local.BitLen()).String()
	}
	return ""
}

// clientSecret returns the secret itself or the content of its file.
func (c *Config) clientSecret() (string, error) {
	if c.OIDC.ClientSecretFile == "" {
		return c.OIDC.ClientSecret, nil
	}
	b, err := os.ReadFile(c.OIDC.ClientSecretFile)
	if err != nil {
		return "", c.dec.at("oidc.client_secret_file", "%s: %s", c.OIDC.ClientSecretFile, fileErrorText(err))
	}
	return strings.TrimSpace(string(b)), nil
}
