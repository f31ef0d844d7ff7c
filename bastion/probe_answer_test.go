package bastion

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"sallyport/bastion/sshtest"
	"sallyport/policy"
)

func answerOf(lines ...string) []byte {
	return []byte("Welcome!\r\nhost=motd\n" + probeBegin + "\n" + strings.Join(lines, "\n") + "\n" + probeEnd + "\nhost=after\n")
}

const (
	hexA = "1f0c5a9d8e7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d"
	hexB = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
)

func TestParseProbe(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		want policy.HostContext
	}{
		{"all", answerOf("host=db1", "host=second", "kernel=Linux 6.1.0", "dir=/root", "shell=/bin/bash", "version=GNU bash, version 5.2", `os=PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"`),
			policy.HostContext{Hostname: "db1", Kernel: "Linux 6.1.0", Dir: "/root", Shell: "/bin/bash", ShellVer: "GNU bash, version 5.2", OS: "Debian GNU/Linux 12 (bookworm)"}},
		{"nothing found", answerOf("host=", "kernel=", "shell=-", "version=unknown option", "os=PRETTY_NAME='x'", "cgroup=0::/user.slice/session-3.scope", "unknown=1", "no equals sign"),
			policy.HostContext{OS: "x"}},
		{"nothing", nil, policy.HostContext{Error: "what the target printed is not the probe's answer"}},
		{"no beginning", []byte("host=db1\n" + probeEnd + "\n"), policy.HostContext{Error: "what the target printed is not the probe's answer"}},
		{"cut off", []byte(probeBegin + "\nhost=db1\nkern"), policy.HostContext{Hostname: "db1", Error: "the target's answer is cut off"}},
		{"hostile", answerOf("host=\x1b]0;x\x07\u202eab\xff\x00", "kernel="+strings.Repeat("k", 5000), "os="+strings.Repeat("o", 1000), "dir=a\rb"),
			policy.HostContext{Hostname: "?]0;x??ab??", OS: strings.Repeat("o", 255) + "...", Dir: "a?b"}},
	} {
		if got := parseProbe(tc.in); got != tc.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tc.name, got, tc.want)
		}
	}
}

// What container engines show from within, and what machines show that merely
// run containers.
func TestContainerID(t *testing.T) {
	for _, tc := range []struct {
		name      string
		lines     []string
		id, image string
	}{
		{"docker, cgroup v1", []string{"inside=docker", "cgroup=12:pids:/docker/" + hexA}, hexA, ""},
		{"docker, systemd cgroup", []string{"cgroup=0::/system.slice/docker-" + hexA + ".scope"}, hexA, ""},
		{"docker in docker", []string{"cgroup=0::/docker/" + hexB + "/docker/" + hexA}, hexA, ""},
		{"docker, cgroup v2", []string{"inside=docker", "cgroup=0::/", "mount=1 2 254:1 /var/lib/docker/containers/" + hexA + "/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw"}, hexA, ""},
		{"docker, host name only", []string{"host=1f0c5a9d8e7b", "inside=docker", "cgroup=0::/"}, "1f0c5a9d8e7b", ""},
		{"docker, named host", []string{"host=web", "inside=docker", "cgroup=0::/"}, "id not shown (docker)", ""},
		{"podman", []string{"inside=podman", `env=id="` + hexA + `"`, `env=imageid="` + hexB + `"`}, hexA, "sha256:" + hexB},
		{"podman, rootless", []string{"inside=podman", "mount=9 8 0:5 /containers/overlay-containers/" + hexA + "/userdata/hostname /etc/hostname rw - tmpfs tmpfs rw"}, hexA, ""},
		{"kubernetes", []string{"cgroup=0::/kubepods.slice/kubepods-pod12_3.slice/cri-containerd-" + hexA + ".scope"}, hexA, ""},
		{"kubernetes, cgroupfs", []string{"cgroup=0::/kubepods/burstable/pod1-2/" + hexA}, hexA, ""},
		{"lxc", []string{"inside=lxc", "cgroup=0::/lxc.payload.ct-101/user.slice"}, "ct-101", ""},
		{"nspawn", []string{"inside=systemd-nspawn\x1b[2J", "cgroup=0::/"}, "id not shown (systemd-nspawn?[2J)", ""},
		{"machine", []string{"host=1f0c5a9d8e7b", "cgroup=0::/user.slice/user-0.slice/session-1.scope"}, "", ""},
		{"machine with docker", []string{"cgroup=0::/system.slice/ssh.service", "mount=40 30 0:50 / /var/lib/docker/overlay2/" + hexA + "/merged rw - overlay overlay rw"}, "", ""},
		{"lies", []string{`env=id="` + hexA + `x"`, "env=imageid=" + strings.ToUpper(hexB), "cgroup=0::/docker/" + hexA + "f", "mount=/etc/hostname"}, "", ""},
	} {
		got := parseProbe(answerOf(tc.lines...))
		if got.Container != tc.id || got.ImageDigest != tc.image || got.Error != "" {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
}

// The script is one word to any shell, and answers in each that is installed,
// without a word on stderr and without waiting for input.
func TestProbeScript(t *testing.T) {
	if i := strings.IndexAny(probeScript, "'\\!\n"); i >= 0 {
		t.Fatalf("the script holds %q", probeScript[i])
	}
	tried := 0
	for _, shell := range []string{"sh", "dash", "bash", "zsh", "fish", "tcsh", "ksh93", "mksh", "busybox"} {
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		args := []string{"-c", probeCommand}
		if shell == "busybox" {
			args = append([]string{"sh"}, args...)
		}
		cmd := exec.Command(path, args...)
		cmd.Env = append(os.Environ(), "SHELL="+path, "LC_ALL=C", "HOME="+t.TempDir())
		cmd.Dir = t.TempDir()
		var errOut strings.Builder
		cmd.Stderr = &errOut
		out, err := cmd.Output()
		h := parseProbe(out)
		dir, _ := filepath.EvalSymlinks(cmd.Dir)
		if err != nil || errOut.Len() > 0 || h.Error != "" || h.Hostname == "" || h.Kernel == "" || h.Shell != path || h.Dir != dir {
			t.Errorf("%s: %v %q\n%s\n%+v", shell, err, errOut.String(), out, h)
		}
		tried++
	}
	if tried == 0 {
		sshtest.Need(t, "sh")
	}
}

// Whatever a target prints, what is kept of it is short and printable.
func FuzzParseProbe(f *testing.F) {
	f.Add(answerOf("host=db1", "kernel=Linux", "cgroup=0::/docker/"+hexA, `env=id="`+hexB+`"`, "mount=1 2 3 /containers/"+hexA+"/ /etc/hosts"))
	f.Add(answerOf("inside=\u202ex", "shell=/\xff", "version=1\x1b", "os=PRETTY_NAME=\"\"\"", "inside"))
	f.Add([]byte(probeBegin + "\nhost=\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := parseProbe(b)
		for _, s := range []string{h.Hostname, h.Kernel, h.OS, h.Shell, h.ShellVer, h.Dir, h.Container, h.ImageDigest, h.Error} {
			if len(s) > maxProbeValue+3 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || r == unicode.ReplacementChar }) {
				t.Errorf("%q", s)
			}
		}
	})
}
