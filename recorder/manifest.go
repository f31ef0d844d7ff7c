package recorder

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sallyport/policy"
)

// maxManifest limits what is read of a manifest, in bytes.
const maxManifest = 4 << 20

// ReadManifest returns what the manifest of the recording id in dir says. The
// error is fs.ErrNotExist while the recording is open and, after a crash, until
// Recover has run.
func ReadManifest(dir string, id policy.SessionID) (policy.Recording, error) {
	var m policy.Recording
	if _, err := policy.ParseSessionID(string(id)); err != nil {
		return m, err
	}
	path := filepath.Join(dir, string(id)+manifestExt)
	f, err := os.Open(path)
	if err != nil {
		return m, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return m, err
	}
	if len(data) > maxManifest {
		return m, fmt.Errorf("the manifest %s is longer than %d bytes", path, maxManifest)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("the manifest %s is damaged: %w", path, err)
	}
	if m.Session.ID != id || m.Summary.ID != id {
		return m, fmt.Errorf("the manifest %s belongs to another recording", path)
	}
	return m, nil
}

func (r *Recorder) staged(id policy.SessionID) string {
	return filepath.Join(r.o.Dir, string(id)+stagedExt)
}

// reserve sets space aside for the manifest of a recording, so that it can be
// written when the disk is full.
func (r *Recorder) reserve(id policy.SessionID, header int) error {
	f, err := os.OpenFile(r.staged(id), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return allocate(f, int64(header)+4<<10)
}

// writeManifest publishes a manifest: staged, made durable, renamed.
func (r *Recorder) writeManifest(m policy.Recording) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	staged := r.staged(m.Session.ID)
	// Not emptied first: that would give away what reserve set aside.
	f, err := os.OpenFile(staged, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := r.writeAll(f, append(data, '\n')); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(data)) + 1); err != nil {
		return err
	}
	if err := r.o.Sync(f); err != nil {
		return err
	}
	path := filepath.Join(r.o.Dir, string(m.Session.ID)+manifestExt)
	if err := os.Rename(staged, path); err != nil {
		return err
	}
	return r.syncDir()
}
