package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// recordPaths say where a bastion's record lies, as far as that is not below
// its data directory. The bastion writes them there when it starts, so that
// verbs with --dir need no configuration.
type recordPaths struct {
	Archive      string `json:"archive"`
	ViewIdentity string `json:"view_identity"`
	RawIdentity  string `json:"raw_identity"` // empty: this machine cannot open raw
}

func (d dataDir) paths() string { return filepath.Join(string(d), "paths.json") }

// writePaths keeps the paths of cfg for verbs with --dir.
func writePaths(cfg *Config) error {
	p := recordPaths{Archive: cfg.Recordings.Archive, ViewIdentity: cfg.Recordings.ViewIdentity, RawIdentity: cfg.Recordings.RawIdentity}
	for _, path := range []*string{&p.Archive, &p.ViewIdentity, &p.RawIdentity} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		// What lies below the data directory moves with it.
		if rel, err := filepath.Rel(cfg.Data, *path); err == nil && filepath.IsLocal(rel) {
			abs = rel
		}
		*path = abs
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return writeFileAtomic(dataDir(cfg.Data).paths(), append(text, '\n'), 0o600)
}

// readPaths returns where the record of d lies: where the last start of its
// bastion put it, and by default below d.
func readPaths(d dataDir) (recordPaths, error) {
	p := recordPaths{Archive: d.archive(), ViewIdentity: d.keys().view(), RawIdentity: d.keys().raw()}
	text, err := readSecretFile(d.paths())
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	p = recordPaths{}
	if err := json.Unmarshal(text, &p); err != nil || p.Archive == "" {
		return p, fmt.Errorf("%s does not say where the recordings are; start the bastion once, which writes it", d.paths())
	}
	for _, path := range []*string{&p.Archive, &p.ViewIdentity, &p.RawIdentity} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(string(d), *path)
		}
	}
	return p, nil
}
