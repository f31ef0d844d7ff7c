package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxConfigSize bounds a configuration file, in bytes.
const maxConfigSize = 4 << 20

// Config is the configuration file. Every field but oidc.issuer and
// oidc.client_id has a default.
type Config struct {
	Data         string       `yaml:"data"`
	SSH          SSHConfig    `yaml:"ssh"`
	Web          WebConfig    `yaml:"web"`
	OIDC         OIDCConfig   `yaml:"oidc"`
	Certificates CertsConfig  `yaml:"certificates"`
	Policy       string       `yaml:"policy"`
	Targets      []TargetYAML `yaml:"targets"`
	Redact       RedactConfig `yaml:"redact"`
	Log          LogConfig    `yaml:"log"`

	Recordings RecordingsConfig `yaml:"recordings"`
	Disk       DiskConfig       `yaml:"disk"`
	Ledger     LedgerConfig     `yaml:"ledger"`

	dec    strictDecoder // places, for errors found later
	digest string        // SHA-256 of the file, in hex
}

// SSHConfig is the front door.
type SSHConfig struct {
	Listen string   `yaml:"listen"` // HOST:PORT
	Name   string   `yaml:"name"`   // what users call the bastion; in its host certificate
	Suffix string   `yaml:"suffix"` // targets are known as NAME and NAME.SUFFIX
	Env    []string `yaml:"env"`    // names that pass to targets; "*" at the end matches any tail
}

// WebConfig is the web listener.
type WebConfig struct {
	Listen string    `yaml:"listen"` // HOST:PORT, or "off"
	URL    string    `yaml:"url"`    // as browsers see it
	TLS    TLSConfig `yaml:"tls"`
	// Metrics is on or off; on, /metrics answers those on this machine and in
	// MetricsAllow (addresses or prefixes).
	Metrics      string   `yaml:"metrics"`
	MetricsAllow []string `yaml:"metrics_allow"`
}

// TLSConfig names PEM files.
type TLSConfig struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// OIDCConfig is the issuer that signs people in.
type OIDCConfig struct {
	Issuer           string   `yaml:"issuer"`
	ClientID         string   `yaml:"client_id"`
	ClientSecret     string   `yaml:"client_secret"`
	ClientSecretFile string   `yaml:"client_secret_file"`
	Scopes           []string `yaml:"scopes"`
	GroupsClaim      string   `yaml:"groups_claim"`
	CAFile           string   `yaml:"ca_file"`
}

// CertsConfig bounds what the client CA and the target CA sign.
type CertsConfig struct {
	Lifetime time.Duration `yaml:"lifetime"`
	// SourceAddress are the addresses from which targets see the bastion;
	// only from there are its certificates for them good. Empty: the address
	// that the bastion dials from. "any" for no such bound.
	SourceAddress []string `yaml:"source_address"`
}

// sourceAny lifts the bound of certificates for targets to an address.
const sourceAny = "any"

// TargetYAML is one target as the file writes it.
type TargetYAML struct {
	Name     string            `yaml:"name"`
	Address  string            `yaml:"address"`
	Labels   map[string]string `yaml:"labels"`
	Logins   []string          `yaml:"logins"`
	HostKeys []string          `yaml:"host_keys"`
	HostCA   []string          `yaml:"host_ca"` // "self" is the bastion's own host CA
}

// RedactConfig changes the masks of the live view.
type RedactConfig struct {
	Disable []string     `yaml:"disable"`
	Rules   []RedactRule `yaml:"rules"`
}

// RedactRule is the administrator's own expression.
type RedactRule struct {
	Name    string `yaml:"name"`
	Pattern string `yaml:"pattern"`
}

// LogConfig is the structured log.
type LogConfig struct {
	Format string `yaml:"format"` // text or json
	Level  string `yaml:"level"`  // debug, info, warn, error
	File   string `yaml:"file"`   // empty: standard error
}

// hostSelf stands for the bastion's own host CA in host_ca.
const hostSelf = "self"

// LoadConfig reads, decodes and checks the file at path. Relative paths in it
// are taken from the file's own folder. Any mistake is one *ConfigError.
func LoadConfig(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &ConfigError{File: path, Msg: fileErrorText(err)}
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.IsDir() || st.Size() > maxConfigSize {
		return nil, &ConfigError{File: path, Msg: fmt.Sprintf("want a file of at most %d bytes", maxConfigSize)}
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, &ConfigError{File: path, Msg: fileErrorText(err)}
	}
	c, err := ParseConfig(path, src)
	if err != nil {
		return nil, err
	}
	return c, c.checkFiles()
}

// fileErrorText drops the path that the caller names already.
func fileErrorText(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// ParseConfig decodes src and checks everything that needs no other file.
func ParseConfig(path string, src []byte) (*Config, error) {
	sum := sha256.Sum256(src)
	c := &Config{dec: strictDecoder{file: path, places: map[string]place{}}, digest: hex.EncodeToString(sum[:])}
	if err := c.dec.decode(src, c); err != nil {
		return nil, err
	}
	c.setDefaults(filepath.Dir(path))
	for _, check := range []func() error{c.checkListeners, c.checkOIDC, c.checkCertificates, c.checkTargets, c.checkRedact, c.checkLog, c.checkStorage} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Config) setDefaults(dir string) {
	def := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	def(&c.Data, defaultDataDir())
	def(&c.SSH.Listen, ":2222")
	def(&c.SSH.Name, "bastion")
	def(&c.SSH.Suffix, c.SSH.Name)
	def(&c.Web.Listen, "127.0.0.1:8080")
	if c.Web.URL == "" && c.Web.Listen != "off" {
		c.Web.URL = "http://" + c.Web.Listen
		if c.Web.TLS.Cert != "" {
			c.Web.URL = "https://" + c.Web.Listen
		}
	}
	c.Web.URL = strings.TrimRight(c.Web.URL, "/")
	def(&c.OIDC.GroupsClaim, "groups")
	def(&c.Policy, "policy.cedar")
	def(&c.Log.Format, "text")
	def(&c.Log.Level, "info")
	if c.SSH.Env == nil {
		c.SSH.Env = []string{"LANG", "LC_*"}
	}
	if c.Certificates.Lifetime == 0 {
		c.Certificates.Lifetime = time.Hour
	}
	paths := []*string{&c.Data, &c.Policy, &c.Web.TLS.Cert, &c.Web.TLS.Key, &c.OIDC.ClientSecretFile, &c.OIDC.CAFile, &c.Log.File,
		&c.Recordings.Archive, &c.Recordings.ViewIdentity, &c.Recordings.RawIdentity}
	for i := range c.Ledger.Checkpoints {
		paths = append(paths, &c.Ledger.Checkpoints[i].File)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	c.storageDefaults(def)
}

// defaultDataDir is /var/lib/sallyport for root and below the home otherwise.
func defaultDataDir() string {
	if os.Geteuid() != 0 {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, ".local", "share", "sallyport")
		}
	}
	return "/var/lib/sallyport"
}
