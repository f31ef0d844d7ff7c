package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"sallyport/policy"
	"sallyport/recorder/archive"
	"sallyport/recorder/cast"
	"sallyport/recorder/sealed"
	"sallyport/replay"
)

// A file that is cut off at any byte is exported up to its last whole event,
// and the export says that it is cut off, unless that was between two events.
func TestCutFileAnywhere(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("one\r\n"), []byte("AKIAZ3QW7RTY5UPLK2MN\r\n"), []byte("three\r\n"))
	whole, _ := w.export(replay.Viewer{User: auditor}, id, replay.Raw, replay.FormatV3)
	path := filepath.Join(t.TempDir(), "cut.cast")
	header := strings.IndexByte(whole, '\n') + 1
	for n := len(whole); n >= 0; n-- {
		if err := os.WriteFile(path, []byte(whole[:n]), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := replay.OpenFile(path, replay.Raw)
		if n < header-1 {
			if !errors.Is(err, replay.ErrTruncated) {
				t.Fatalf("cut at %d: %v", n, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		var want strings.Builder
		for _, line := range []string{"one", "AKIAZ3QW7RTY5UPLK2MN", "three"} {
			if strings.Contains(whole[:n], `"o", "`+line+`\r\n"]`) {
				want.WriteString(line + "\r\n")
			}
		}
		var out bytes.Buffer
		report, err := replay.Export(&out, s, replay.FormatRaw)
		s.Close()
		if inLine := whole[n-1] != '\n' && whole[n-1] != ']' && whole[n-1] != '}'; err != nil || out.String() != want.String() || inLine && !report.Truncated {
			t.Fatalf("cut at %d: %q, want %q; truncated %v; %v", n, out.String(), want.String(), report.Truncated, err)
		}
	}
}

// An object of the archive that is cut off or changed is an error that names
// the object and no path of the server's.
func TestDamagedObjects(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("one\r\n"))
	for _, name := range []string{archive.KeyName(string(id)), archive.SegmentName(string(id), 0), archive.ManifestName(string(id))} {
		path := filepath.Join(w.store.ArchiveDir(), name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(whole)
		at := len(flipped) / 2
		if seg, err := sealed.Open(bytes.NewReader(whole), int64(len(whole))); err == nil {
			at = int(seg.Blocks()[0].Offset) + 60 // within the output
		}
		flipped[at] ^= 1
		for what, data := range map[string][]byte{"empty": {}, "cut": whole[:len(whole)/2], "one byte less": whole[:len(whole)-1], "flipped": flipped} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := w.Open(context.Background(), replay.Viewer{User: auditor}, id, replay.Raw)
			if err == nil {
				_, err = replay.Export(io.Discard, s, replay.FormatRaw)
				s.Close()
			}
			if err == nil || strings.Contains(err.Error(), w.store.Dir) || !strings.Contains(err.Error(), string(id)) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.export(replay.Viewer{User: auditor}, id, replay.Raw, replay.FormatRaw)
}

// Before damage, everything is written; the damage is an error.
func TestDamageInTheMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cast")
	text := "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[0, \"o\", \"before\\n\"]\n[0, nonsense]\n[0, \"o\", \"after\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := replay.OpenFile(path, replay.Masked)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out bytes.Buffer
	report, err := replay.Export(&out, s, replay.FormatText)
	if err == nil || errors.Is(err, cast.ErrTruncated) || report.Truncated || out.String() != "before\n" {
		t.Errorf("%q, %+v, %v", out.String(), report, err)
	}
}

// An event of a kind that is not known may hold anything, so nobody gets it.
func TestUnknownEventsAreLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cast")
	text := "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[0, \"z\", \"typed\"]\n[1, \"o\", \"x\"]\n[1, \"i\", \"typed\"]\n[0, \"g\", \"lost\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := replay.OpenFile(path, replay.Masked)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out bytes.Buffer
	if _, err := replay.Export(&out, s, replay.FormatV3); err != nil || strings.Contains(out.String(), "typed") || !strings.Contains(out.String(), "[1.000000, \"g\", \"lost\"]") {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func TestInvalidUTF8IsCountedAndRawIsExact(t *testing.T) {
	w := newWorld(t)
	id := w.record([]byte("a\xff\xfe\r\n"), []byte("caf\xc3"), []byte("\xa9\r\n"), []byte("\xe2\x82")) // the last is cut off for good
	for f, want := range map[replay.Format]int{replay.FormatV2: 4, replay.FormatV3: 4, replay.FormatText: 4, replay.FormatRaw: 0} {
		if text, report := w.export(replay.Viewer{User: auditor}, id, replay.Raw, f); report.Replaced != want {
			t.Errorf("%s: %d replaced, want %d: %q", f, report.Replaced, want, text)
		}
	}
	for _, view := range []replay.View{replay.Raw, replay.Masked} { // nothing is masked here
		if raw, _ := w.export(replay.Viewer{User: auditor}, id, view, replay.FormatRaw); raw != "a\xff\xfe\r\ncaf\xc3\xa9\r\n\xe2\x82" {
			t.Errorf("%s: %q", view, raw)
		}
	}
}

// The header is printed to terminals too, and the command in it is the user's.
func TestHeaderIsInert(t *testing.T) {
	w := newWorld(t)
	const command = "x\u009b31m\u202e\x1b]0;t\x07\x7f\U000e0001"
	id := w.recordSession(policy.Session{Command: command, Action: policy.ActionExec}, []byte("x"))
	for _, f := range []replay.Format{replay.FormatV2, replay.FormatV3} {
		text, _ := w.export(replay.Viewer{User: owner}, id, replay.Masked, f)
		if strings.ContainsAny(text, "\u009b\u202e\x1b\x07\x7f\U000e0001") {
			t.Errorf("%s: %q", f, text)
		}
		r, err := cast.NewReader(strings.NewReader(text))
		if err != nil || r.Header().Command != command {
			t.Errorf("%s: %v, %q", f, err, r.Header().Command)
		}
	}
}

// Debian's asciinema 2 reads v1 and v2.
func TestAsciinemaReadsV2(t *testing.T) {
	path, err := exec.LookPath("asciinema")
	if err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("asciinema is not installed")
	}
	w := newWorld(t)
	id := w.record([]byte("caf\xc3\xa9 \x1b[1mbold\x1b[0m\r\n"), []byte("\xff\r\n"))
	text, _ := w.export(replay.Viewer{User: owner}, id, replay.Masked, replay.FormatV2)
	file := filepath.Join(t.TempDir(), "x.cast")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ptmx, tty, err := pty.Open() // it wants a terminal, though it only writes
	if err != nil {
		t.Fatal(err)
	}
	defer ptmx.Close()
	defer tty.Close()
	cmd := exec.Command(path, "cat", file)
	cmd.Stdin, cmd.SysProcAttr = tty, &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+t.TempDir())
	out, err := cmd.Output()
	if want := "café \x1b[1mbold\x1b[0m\r\n\uFFFD\r\n"; err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}

func TestParseFormat(t *testing.T) {
	for _, f := range []string{"v2", "v3", "raw", "txt"} {
		if got, err := replay.ParseFormat(f); err != nil || string(got) != f {
			t.Errorf("%s: %v %v", f, got, err)
		}
	}
	if _, err := replay.ParseFormat("mp4"); err == nil || !strings.Contains(fmt.Sprint(err), "v2, v3, raw, txt") {
		t.Errorf("%v", err)
	}
}
