package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sallyport/policy"
	"sallyport/recorder/cast"
)

// Recover writes the manifests that a crash kept from being written and
// returns those recordings, oldest first. Their state is interrupted, and
// what they hold is counted up to the last whole event. Recordings that are
// open in r are left alone.
//
// An error of one recording does not keep the others from being recovered: what
// was recovered is returned together with the joined errors.
func (r *Recorder) Recover(ctx context.Context) ([]policy.Recording, error) {
	names, err := os.ReadDir(r.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("recorder: the recordings cannot be listed: %w", err)
	}
	var found []policy.Recording
	var failed []error
	for _, entry := range names {
		if ctx.Err() != nil {
			failed = append(failed, context.Cause(ctx))
			break
		}
		name, isCast := strings.CutSuffix(entry.Name(), castExt)
		if !isCast {
			continue
		}
		id, err := policy.ParseSessionID(name)
		if err != nil || !entry.Type().IsRegular() || r.isOpen(id) || r.hasManifest(id) {
			continue
		}
		m, err := r.seal(id, func(m *policy.Recording) {
			if m.Summary.End.Reason == "" {
				m.Summary.End.Reason = "the bastion stopped during the session"
			}
		})
		if err != nil {
			failed = append(failed, fmt.Errorf("recorder: session %s cannot be recovered: %w", id, err))
			continue
		}
		found = append(found, m)
	}
	r.removeStaged(names)
	return found, errors.Join(failed...)
}

func (r *Recorder) hasManifest(id policy.SessionID) bool {
	_, err := os.Lstat(filepath.Join(r.o.Dir, string(id)+manifestExt))
	return err == nil
}

// removeStaged removes what is left of manifests that were being written.
func (r *Recorder) removeStaged(names []os.DirEntry) {
	for _, entry := range names {
		name, staged := strings.CutSuffix(entry.Name(), stagedExt)
		if id, err := policy.ParseSessionID(name); staged && err == nil && !r.isOpen(id) && r.hasManifest(id) {
			os.Remove(r.staged(id))
		}
	}
}

// seal makes what is in the file of a recording durable and publishes a
// manifest of it as interrupted, which edit may change first. Together with
// an error comes what is known.
func (r *Recorder) seal(id policy.SessionID, edit func(*policy.Recording)) (policy.Recording, error) {
	var m policy.Recording
	m.Session.ID = id
	err := r.scan(&m)
	m.Summary.ID, m.Summary.State = m.Session.ID, policy.RecordingInterrupted
	edit(&m)
	if err != nil {
		return m, err
	}
	return m, r.writeManifest(m)
}

// scan describes the file of a recording as far as it can be read.
func (r *Recorder) scan(m *policy.Recording) error {
	f, err := os.OpenFile(Path(r.o.Dir, string(m.Session.ID)), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := r.o.Sync(f); err != nil {
		return err
	}
	m.Session.Start = info.ModTime() // unless the header knows better
	d := newDigest()
	in := io.TeeReader(f, &d)
	if err := count(in, m); err != nil {
		m.Summary.End.Reason = fmt.Sprintf("the bastion stopped during the session, and the recording is damaged: %v", err)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	m.Summary.Size, m.Summary.SHA256 = d.size, d.sum()
	m.Summary.Ended = m.Session.Start.Add(m.Summary.Duration)
	return nil
}

// count fills in what the events of a recording tell. The error is about a
// line that is wrong, not about one that is cut off.
func count(in io.Reader, m *policy.Recording) error {
	id, sum := m.Session.ID, &m.Summary
	rd, err := NewReader(in)
	if err != nil {
		if errors.Is(err, cast.ErrTruncated) {
			return nil // the crash came before the session could begin
		}
		return err
	}
	if s := rd.Session(); s.ID == id {
		m.Session = s
	} else {
		return fmt.Errorf("its header names session %q", clip(string(s.ID), 40))
	}
	for {
		f, err := rd.Next()
		if err == io.EOF || errors.Is(err, cast.ErrTruncated) {
			return nil
		}
		if err != nil {
			return err
		}
		sum.Events++
		sum.Masks += int64(len(f.Masks))
		sum.Duration = f.Time
		switch f.Code {
		case cast.CodeOutput:
			sum.OutputBytes += int64(len(f.Raw))
		case cast.CodeStderr:
			sum.StderrBytes += int64(len(f.Raw))
		case cast.CodeInput:
			sum.InputBytes += int64(len(f.Raw))
		case cast.CodeExit:
			if n, err := strconv.ParseUint(f.Text, 10, 32); err == nil {
				status := uint32(n)
				sum.End.ExitStatus = &status
			}
		}
	}
}
