package recorder

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"sallyport/policy"
	"sallyport/recorder/cast"
	"sallyport/recorder/crashfs"
	"sallyport/recorder/journal"
)

// TestPowerCutNeedsTheFsync records on a file system that loses what no fsync
// covered. Everything that was given out is there after the cut; with the
// fsyncs taken out of the journal it is not, so that this test would notice.
func TestPowerCutNeedsTheFsync(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		t.Run(fmt.Sprintf("without fsync %v", noSync), func(t *testing.T) {
			mount, left := t.TempDir(), t.TempDir()
			fs := crashfs.Mount(t, mount, "")
			g := &rig{dir: mount, book: &book{}, journal: journal.Options{NoSync: noSync}}
			g.start(t, Options{})
			_, err := g.Recover(context.Background())
			check(t, err)
			rec := open(t, g, shell())
			var given []byte
			for i := range 200 {
				check(t, rec.Input(fmt.Appendf(nil, "key %d\r", i)))
				check(t, rec.Output(policy.StreamOutput, fmt.Appendf(nil, "line %d\r\n", i)))
				p, err := rec.Next(policy.StreamOutput)
				check(t, err)
				given = append(given, p...)
			}
			check(t, g.j.Close()) // nothing may have a file open; it adds no fsync of what was given out
			check(t, fs.Cut(left))

			after := &rig{dir: left, book: g.book}
			after.start(t, Options{Archive: store(t, left)})
			found, err := after.Recover(context.Background())
			if noSync {
				if err == nil && len(found) == 1 && bytes.Contains(outputOf(t, after, found[0].Session.ID), given) {
					t.Error("nothing was lost without an fsync: this file system keeps what it should lose")
				}
				return
			}
			check(t, err)
			if len(found) != 1 || found[0].Summary.State != policy.RecordingInterrupted {
				t.Fatalf("%+v in %s", found, filepath.Base(left))
			}
			if out := outputOf(t, after, found[0].Session.ID); !bytes.HasPrefix(out, given) {
				t.Errorf("%d bytes were given out and %d others are there", len(given), len(out))
			}
		})
	}
}

// outputOf returns the raw output of a recording.
func outputOf(t *testing.T, g *rig, id policy.SessionID) (out []byte) {
	t.Helper()
	for _, f := range g.frames(t, id) {
		if f.Code == cast.CodeOutput {
			out = append(out, f.Raw...)
		}
	}
	return out
}
