package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"sallyport/certs"
	"sallyport/certs/signin"
	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/archive"
	"sallyport/recorder/catalog"
	"sallyport/recorder/journal"
	"sallyport/recorder/ledger"
	"sallyport/replay"
)

// dataDir names the files of one node below its data directory.
type dataDir string

func (d dataDir) cas() string     { return filepath.Join(string(d), "ca") }
func (d dataDir) hostKey() string { return filepath.Join(string(d), "host_key") }
func (d dataDir) catalog() string { return filepath.Join(string(d), "catalog.sqlite") }
func (d dataDir) lock() string    { return filepath.Join(string(d), "lock") }

// node is one running bastion: everything that its listeners share.
type node struct {
	cfg      *Config
	o        startOptions
	log      *slog.Logger
	metrics  *metrics
	cas      *certs.Authorities
	hostKey  ssh.Signer
	issuer   *certs.Issuer
	keys     *recordKeys
	catalog  *catalog.Catalog
	ledger   *ledger.Ledger
	archive  archive.Store
	journal  *journal.Journal
	recorder *recorder.Recorder
	keeper   *archive.Keeper
	places   []ledger.Place // that remember checkpoints
	// What the archive has a copy of, used by one goroutine at a time: so many
	// entries, after so many changes of recordings, at that time.
	copied, copiedAfter int64
	copiedAt            time.Time
	disk                *diskWatch
	live                liveSessions
	policy              *policy.Store
	idp                 *signin.Provider
	library             *replay.Library
	targets             atomic.Pointer[targetSet]
	digest              atomic.Pointer[string] // of the configuration in force
	lock                *os.File               // held while the node runs
	hosts               hostCerts
}

// startOptions are what the command line says about a start.
type startOptions struct {
	acceptRollback bool // go on with a ledger that is smaller than remembered
}

// openNode loads or creates everything below the data directory, and closes
// what an earlier run left open. The caller closes the node.
func openNode(ctx context.Context, cfg *Config, log *slog.Logger, o startOptions) (*node, error) {
	n := &node{cfg: cfg, o: o, log: log, metrics: newMetrics()}
	n.digest.Store(&cfg.digest)
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"the keys", n.openKeys}, {"the policy", n.openPolicy}, {"the store", n.openStore}, {"the library", n.openLibrary},
		{"the identity provider", n.openIdentity}, {"recordings of an earlier run", n.recover},
	} {
		if err := step.do(ctx); err != nil {
			n.Close()
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	n.metrics.watch(n.sample)
	return n, nil
}

// Close closes what openNode opened, the recorder first: what it has not stored
// stays in the journal.
func (n *node) Close() error {
	var err error
	if n.recorder != nil {
		err = errors.Join(err, n.recorder.Close())
	}
	if n.journal != nil {
		err = errors.Join(err, n.journal.Close())
	}
	if n.ledger != nil {
		err = errors.Join(err, n.ledger.Close())
	}
	if n.catalog != nil {
		err = errors.Join(err, n.catalog.Close())
	}
	if n.lock != nil {
		err = errors.Join(err, n.lock.Close())
	}
	return err
}

func (n *node) openKeys(context.Context) error {
	data := dataDir(n.cfg.Data)
	if err := os.MkdirAll(n.cfg.Data, 0o700); err != nil {
		return err
	}
	var err error
	if n.lock, err = lockData(data.lock()); err != nil {
		return err
	}
	if n.cas, err = certs.LoadOrCreate(data.cas()); err != nil {
		return err
	}
	n.hostKey, err = certs.LoadOrCreateHostKey(data.hostKey())
	return err
}

// lockData keeps a second node off the same data: it would seal the live
// recordings of the first as interrupted.
func lockData(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another bastion runs on %s already", filepath.Dir(path))
	}
	return f, nil
}

func (n *node) openPolicy(context.Context) error {
	var err error
	if n.policy, err = policy.NewStore(n.cfg.Policy); err != nil {
		return err
	}
	n.targets.Store(newTargetSet(n.cfg, n.cas.Host.PublicKey()))
	return nil
}

func (n *node) openLibrary(context.Context) error {
	n.issuer = &certs.Issuer{CAs: n.cas, Serial: n.catalog.NextSerial}
	n.library = &replay.Library{
		Archive: n.archive, Keys: n.keys.identities(), Catalog: n.catalog, Flush: n.recorder.Flush, Decide: n.decide, Audit: n.audit,
		Target: func(name string) policy.Target {
			if t, ok := n.targets.Load().lookup(name); ok {
				return t
			}
			return policy.Target{Name: name}
		},
	}
	return nil
}

func (n *node) openIdentity(context.Context) error {
	secret, err := n.cfg.clientSecret()
	if err != nil {
		return err
	}
	n.idp, err = signin.New(signin.Config{
		Issuer: n.cfg.OIDC.Issuer, ClientID: n.cfg.OIDC.ClientID, ClientSecret: secret,
		Scopes: n.cfg.OIDC.Scopes, GroupsClaim: n.cfg.OIDC.GroupsClaim, CAFile: n.cfg.OIDC.CAFile,
	})
	return err
}

// recover seals what a crash left open and brings the index up to date. What
// can be recovered is, also when something else cannot: it is not found again.
func (n *node) recover(ctx context.Context) error {
	if err := n.keeper.Recover(ctx); err != nil {
		return fmt.Errorf("a recording whose deletion was interrupted: %w", err)
	}
	found, err := n.recorder.Recover(ctx)
	for _, r := range found {
		n.log.Warn("a recording was interrupted", "session", r.Session.ID, "user", r.Session.User.String(), "target", r.Session.Target)
		err = errors.Join(err, n.settle(ctx, r, "the bastion stopped during the session"))
	}
	return errors.Join(err, n.reindex(ctx))
}

// reindex settles the recordings that a crash, or a failure of the catalog,
// kept open in the index although they are sealed.
func (n *node) reindex(ctx context.Context) error {
	sealed := replay.ArchiveCatalog{Archive: n.archive, Keys: n.keys.identities()}
	open, err := n.catalog.Recordings(ctx, catalog.Filter{State: policy.RecordingOpen})
	for _, r := range open {
		found, readErr := sealed.Recording(ctx, r.Session.ID)
		if readErr != nil {
			n.log.Error("a recording that the catalog has as open cannot be read", "session", r.Session.ID, "error", readErr)
			continue
		}
		if found.Summary.State == policy.RecordingOpen || found.Session.User.IsZero() {
			n.log.Error("a recording that the catalog has as open has no end that can be read, and nothing of it is in the journal", "session", r.Session.ID, "reason", found.Summary.End.Reason)
			continue
		}
		err = errors.Join(err, n.settle(ctx, found, "the bastion stopped when the session had ended"))
	}
	return err
}

// settle puts a sealed recording into the index and its end into the ledger.
func (n *node) settle(ctx context.Context, r policy.Recording, reason string) error {
	if err := n.catalog.PutRecording(ctx, r); err != nil {
		return err
	}
	return n.audit(ctx, sessionEntry(policy.EntrySessionEnd, r.Session, string(r.Summary.State), reason))
}

// enter is audit for several entries.
func (n *node) enter(ctx context.Context, entries ...policy.Entry) error {
	for _, e := range entries {
		if err := n.audit(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// audit writes an entry to the ledger and to the log. It returns once the
// entry is durable.
func (n *node) audit(ctx context.Context, e policy.Entry) error {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	// An entry is owed even when the connection that caused it has gone.
	if err := n.ledger.Append(context.WithoutCancel(ctx), e); err != nil {
		n.log.Error("the ledger cannot be written", "error", err)
		return fmt.Errorf("the audit ledger cannot be written: %w", err)
	}
	args := []any{"kind", string(e.Kind)}
	if e.User != nil {
		args = append(args, "user", e.User.String())
	}
	for _, kv := range [][2]string{{"session", string(e.Session)}, {"target", e.Target}, {"login", string(e.Login)}, {"source", e.Source}} {
		if kv[1] != "" {
			args = append(args, kv[0], kv[1])
		}
	}
	for _, m := range []map[string]string{e.Ref, e.Detail} {
		for _, k := range sortedKeys(m) {
			args = append(args, k, m[k])
		}
	}
	n.log.InfoContext(ctx, "entry", args...)
	return nil
}

func sessionEntry(kind policy.EntryKind, s policy.Session, state, reason string) policy.Entry {
	return policy.Entry{Kind: kind, User: &s.User, Session: s.ID, Target: s.Target, Login: s.Login, Source: s.Source,
		Detail: map[string]string{"state": state, "reason": reason}}
}

func (n *node) decide(r policy.Request) policy.Decision { return n.policy.Decide(r) }

// reload takes the policy and the targets from their files again. What is bad
// stays out, and the old stays in force.
func (n *node) reload(ctx context.Context, configFile string) {
	if changed, err := n.policy.Reload(); err != nil {
		n.log.Error("the new policy is not in force; the old one stays", "error", err)
	} else if changed {
		n.log.Info("the new policy is in force", "file", n.cfg.Policy)
		_ = n.audit(ctx, n.policyEntry())
	}
	if configFile == "" {
		return
	}
	cfg, err := LoadConfig(configFile)
	if err != nil {
		n.log.Error("the targets of the new configuration are not in force; the old ones stay", "error", err)
		return
	}
	before := *n.digest.Load()
	n.targets.Store(newTargetSet(cfg, n.cas.Host.PublicKey()))
	n.digest.Store(&cfg.digest)
	n.log.Info("targets loaded", "count", len(cfg.Targets))
	if cfg.digest != before {
		_ = n.audit(ctx, n.configEntry(configFile))
	}
}

// policyEntry says which policy is in force from now on.
func (n *node) policyEntry() policy.Entry {
	return policy.Entry{Kind: policy.EntryPolicyLoad, Detail: map[string]string{"file": n.cfg.Policy},
		Ref: map[string]string{"policy": n.policy.Digest()}}
}

// configEntry says which configuration is in force from now on: all of it at
// the start, its targets after that.
func (n *node) configEntry(file string) policy.Entry {
	return policy.Entry{Kind: policy.EntryConfig, Detail: map[string]string{"file": file, "targets": fmt.Sprint(len(n.targets.Load().list))},
		Ref: map[string]string{"config": *n.digest.Load(), "policy": n.policy.Digest()}}
}

// digests are those of the policy and of the configuration in force.
func (n *node) digests() (policyDigest, configDigest string) {
	return n.policy.Digest(), *n.digest.Load()
}

// targetSet finds targets by name; it never changes.
type targetSet struct {
	suffix string
	list   []policy.Target
	byName map[string]int
}

func newTargetSet(cfg *Config, hostCA ssh.PublicKey) *targetSet {
	s := &targetSet{suffix: cfg.SSH.Suffix, byName: map[string]int{}}
	self := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(hostCA)))
	for _, y := range cfg.Targets {
		t := policy.Target{Name: y.Name, Address: y.Address, Labels: y.Labels, HostKeys: y.HostKeys}
		for _, l := range y.Logins {
			t.Logins = append(t.Logins, policy.Login(l))
		}
		for _, ca := range y.HostCA {
			if ca == hostSelf {
				ca = self
			}
			t.HostCAs = append(t.HostCAs, ca)
		}
		s.byName[strings.ToLower(t.Name)] = len(s.list)
		s.list = append(s.list, t)
	}
	return s
}

// lookup takes NAME or NAME.SUFFIX, in any case (host names have none). A name
// as it stands comes first: no target hides behind another's longer name.
func (s *targetSet) lookup(name string) (policy.Target, bool) {
	name = strings.ToLower(name)
	i, ok := s.byName[name]
	if !ok && s.suffix != "" {
		i, ok = s.byName[strings.TrimSuffix(name, "."+strings.ToLower(s.suffix))]
	}
	if !ok {
		return policy.Target{}, false
	}
	return s.list[i], true
}
