package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"sallyport/recorder/ledger"
	"sallyport/recorder/sealed"
)

// RecordingsConfig says where recordings lie, who can open them, and for how
// long they are kept.
type RecordingsConfig struct {
	Archive string `yaml:"archive"` // directory
	// The age recipients of the two keys of a recording (DESIGN section 5).
	// Without any, a pair is made on first start and kept in keys/.
	ViewRecipients []string `yaml:"view_recipients"`
	RawRecipients  []string `yaml:"raw_recipients"`
	// Files with the identities that this server opens recordings with.
	ViewIdentity string   `yaml:"view_identity"`
	RawIdentity  string   `yaml:"raw_identity"`
	Retention    Lifetime `yaml:"retention"`
}

// DiskConfig says how much space must stay free.
type DiskConfig struct {
	RefuseBelow Space `yaml:"refuse_below"` // then no session begins
	EndBelow    Space `yaml:"end_below"`    // then running ones end
}

// LedgerConfig is the signed log of this node.
type LedgerConfig struct {
	Node          string           `yaml:"node"` // its name in checkpoints
	Checkpoints   []CheckpointYAML `yaml:"checkpoints"`
	BodyRetention Lifetime         `yaml:"body_retention"` // of personal details
}

// CheckpointYAML is one place outside that signed checkpoints are sent to:
// exactly one of its fields is given.
type CheckpointYAML struct {
	File   string `yaml:"file"`   // a path, best on another machine's disk
	HTTP   string `yaml:"http"`   // an address that takes a POST
	Syslog string `yaml:"syslog"` // unix:///dev/log, udp://HOST:514 or tcp://HOST:514
}

// place is where p leads. v is the ledger's public key.
func (p CheckpointYAML) place(v note.Verifier) (ledger.Place, error) {
	switch {
	case p.HTTP != "":
		return ledger.HTTPPlace(p.HTTP)
	case p.Syslog != "":
		return ledger.SyslogPlace(p.Syslog)
	}
	return ledger.FilePlace(p.File, v), nil
}

// storageDefaults fills in what the storage part of the file leaves out.
func (c *Config) storageDefaults(def func(p *string, v string)) {
	keys := dataDir(c.Data).keys()
	def(&c.Recordings.Archive, dataDir(c.Data).archive())
	def(&c.Recordings.ViewIdentity, keys.view())
	if len(c.Recordings.RawRecipients) == 0 {
		def(&c.Recordings.RawIdentity, keys.raw())
	}
	def(&c.Ledger.Node, c.SSH.Name)
	def(&c.Web.Metrics, "on")
	if !c.Disk.RefuseBelow.given {
		c.Disk.RefuseBelow = Space{bytes: 2 << 30, percent: 5, least: true}
	}
	if !c.Disk.EndBelow.given {
		c.Disk.EndBelow = Space{bytes: 256 << 20, percent: 1, least: true}
	}
}

// hardened says that this server can open no raw view: the raw key goes to
// others, and no identity is configured.
func (c *Config) hardened() bool { return c.Recordings.RawIdentity == "" }

func (c *Config) checkStorage() error {
	for _, check := range []func() error{c.checkRecordings, c.checkDisk, c.checkLedger, c.checkMetrics} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkRecordings() error {
	if _, err := c.recipients("recordings.view_recipients", c.Recordings.ViewRecipients); err != nil {
		return err
	}
	if _, err := c.recipients("recordings.raw_recipients", c.Recordings.RawRecipients); err != nil {
		return err
	}
	return nil
}

// recipients parses a list of age recipients, none for an empty one. The error
// names the one that is wrong.
func (c *Config) recipients(path string, list []string) ([]age.Recipient, error) {
	for i, r := range list {
		if strings.ContainsAny(r, "\r\n") || strings.TrimSpace(r) == "" {
			return nil, c.dec.at(fmt.Sprintf("%s[%d]", path, i), "want one age recipient (age1…), found %q", r)
		}
		if _, err := sealed.ParseRecipients(strings.NewReader(r), ""); err != nil {
			return nil, c.dec.at(fmt.Sprintf("%s[%d]", path, i), "%s", strings.TrimPrefix(err.Error(), ": line 1: "))
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	all, err := sealed.ParseRecipients(strings.NewReader(strings.Join(list, "\n")), path)
	if err != nil {
		return nil, c.dec.at(path, "%s", strings.TrimPrefix(err.Error(), path+": "))
	}
	return all, nil
}

func (c *Config) checkDisk() error {
	r, e := c.Disk.RefuseBelow, c.Disk.EndBelow
	if r.given && e.given && r.limit(1<<40) < e.limit(1<<40) && (r.percent == 0) == (e.percent == 0) {
		return c.dec.at("disk.end_below", "%s is above refuse_below (%s); sessions are refused first and ended later", e, r)
	}
	return nil
}

func (c *Config) checkLedger() error {
	if !nameRE.MatchString(c.Ledger.Node) {
		return c.dec.at("ledger.node", "want a name of letters, digits, dot, dash and underscore, found %q", c.Ledger.Node)
	}
	for i, p := range c.Ledger.Checkpoints {
		path := fmt.Sprintf("ledger.checkpoints[%d]", i)
		var given []string
		for field, value := range map[string]string{"file": p.File, "http": p.HTTP, "syslog": p.Syslog} {
			if value != "" {
				given = append(given, field)
			}
		}
		if len(given) != 1 {
			return c.dec.at(path, "want exactly one of file, http and syslog")
		}
		if _, err := p.place(nil); err != nil {
			return c.dec.at(path+"."+given[0], "%v", err)
		}
	}
	return nil
}

func (c *Config) checkMetrics() error {
	if m := c.Web.Metrics; m != "on" && m != "off" {
		return c.dec.at("web.metrics", "want on or off, found %q", m)
	}
	for i, a := range c.Web.MetricsAllow {
		if _, err := prefixOf(a); err != nil {
			return c.dec.at(fmt.Sprintf("web.metrics_allow[%d]", i), "%v", err)
		}
	}
	return nil
}

// metricsAllow are the addresses elsewhere that may read the metrics.
func (c *Config) metricsAllow() []netip.Prefix {
	var out []netip.Prefix
	for _, a := range c.Web.MetricsAllow {
		if p, err := prefixOf(a); err == nil { // checked when the file was read
			out = append(out, p)
		}
	}
	return out
}

// prefixOf reads an address or a prefix.
func prefixOf(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("want an address such as 192.0.2.7 or a prefix such as 192.0.2.0/24, found %q", s)
	}
	return p.Masked(), nil
}

// checkIdentities reads the identity files that exist: the defaults are made
// on first start.
func (c *Config) checkIdentities() error {
	keys := dataDir(c.Data).keys()
	for _, f := range []struct{ path, file, made string }{
		{"recordings.view_identity", c.Recordings.ViewIdentity, keys.view()},
		{"recordings.raw_identity", c.Recordings.RawIdentity, keys.raw()},
	} {
		if f.file == "" {
			continue
		}
		_, err := readIdentities(f.file)
		if os.IsNotExist(err) && f.file == f.made {
			continue
		}
		if err != nil {
			return c.dec.at(f.path, "%v", err)
		}
	}
	return nil
}

// checkCheckpointFolders wants the folders that checkpoints are written to: a
// mount that is missing must not be mistaken for an empty one.
func (c *Config) checkCheckpointFolders() error {
	for i, p := range c.Ledger.Checkpoints {
		if p.File == "" {
			continue
		}
		dir := filepath.Dir(p.File)
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			return c.dec.at(fmt.Sprintf("ledger.checkpoints[%d].file", i), "%s is no folder; is it mounted?", dir)
		}
	}
	return nil
}
