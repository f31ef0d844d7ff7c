package bastion

import (
	"bufio"
	"bytes"
	"regexp"
	"strings"

	"sallyport/policy"
)

// The lines around the probe's answer: a login's own start-up files may print
// before it.
const (
	probeBegin = "sallyport-context-1"
	probeEnd   = "sallyport-context-end"
)

// probeScript says what it runs on, one KEY=VALUE a line, in POSIX sh. It reads
// and writes no file of the target's and asks no network. It holds no single
// quote, backslash, exclamation mark or line feed, so that every login shell
// (bash, zsh, fish, csh) takes it as one word in single quotes.
const probeScript = `exec 2>/dev/null; p() { printf %s= "$1"; printf %s "$2"; echo; }; echo ` + probeBegin + `; ` +
	`p host "$(uname -n)"; p kernel "$(uname -sr)"; p dir "$PWD"; p shell "$SHELL"; ` +
	`case "${SHELL##*/}" in bash|zsh|fish|tcsh|ksh93|yash) p version "$("$SHELL" --version 2>&1 </dev/null | head -n 1)";; esac; ` +
	`for f in /etc/os-release /usr/lib/os-release; do if [ -r "$f" ]; then p os "$(grep ^PRETTY_NAME= "$f" | head -n 1)"; break; fi; done; ` +
	`if [ -e /.dockerenv ]; then p inside docker; fi; if [ -e /run/.containerenv ]; then p inside podman; fi; ` +
	`if [ -r /run/systemd/container ]; then p inside "$(head -n 1 /run/systemd/container)"; fi; ` +
	`if [ -r /run/.containerenv ]; then grep -E "^(id|imageid)=" /run/.containerenv | head -n 4 | while read -r l; do p env "$l"; done; fi; ` +
	`head -n 16 /proc/self/cgroup | while read -r l; do p cgroup "$l"; done; ` +
	`grep -E " /etc/host(name|s) " /proc/self/mountinfo | head -n 4 | while read -r l; do p mount "$l"; done; ` +
	`echo ` + probeEnd

// probeCommand is what the login's shell is asked to run.
const probeCommand = `exec /bin/sh -c '` + probeScript + `'`

// Longest values that are kept, and lines that are looked at, in bytes.
const (
	maxProbeValue = 255
	maxProbeLine  = 4096
)

var (
	containerID   = regexp.MustCompile(`(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?:/|$)`)
	containerLXC  = regexp.MustCompile(`/lxc(?:\.payload\.|/)([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?:/|$)`)
	containerRoot = regexp.MustCompile(`/(?:overlay-)?containers/([0-9a-f]{64})/`)
	containerHost = regexp.MustCompile(`^[0-9a-f]{12}$`)
	quotedHex     = regexp.MustCompile(`^"?([0-9a-f]{64})"?$`)
)

// parseProbe reads what the target printed. It is the target's word and may be
// anything: values are cut, and hold nothing that is not printable.
func parseProbe(out []byte) policy.HostContext {
	single, many, whole, any := probeLines(out)
	h := policy.HostContext{
		Hostname: single["host"], Kernel: single["kernel"], Dir: single["dir"],
		OS: strings.Trim(strings.TrimPrefix(single["os"], "PRETTY_NAME="), `"'`),
	}
	if shell := single["shell"]; strings.HasPrefix(shell, "/") {
		h.Shell = shell
	}
	// A shell that does not know the option says so instead.
	if v := single["version"]; strings.ContainsAny(v, "0123456789") {
		h.ShellVer = v
	}
	h.Container, h.ImageDigest = container(h.Hostname, many)
	switch {
	case !any:
		h.Error = "what the target printed is not the probe's answer"
	case !whole:
		h.Error = "the target's answer is cut off"
	}
	return h
}

// probeLines takes the answer apart: what there is one of, what there may be
// several of, whether its end was seen, and whether its beginning was.
func probeLines(out []byte) (single map[string]string, many map[string][]string, whole, any bool) {
	single, many = map[string]string{}, map[string][]string{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(make([]byte, 0, 4096), len(out)+1)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == probeBegin && !any:
			any = true
			continue
		case !any || len(line) > maxProbeLine:
			continue
		case line == probeEnd:
			return single, many, true, any
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		switch key {
		case "host", "kernel", "dir", "shell", "version", "os":
			if _, have := single[key]; !have {
				single[key] = strings.TrimSpace(printable(value, maxProbeValue))
			}
		case "inside", "env", "cgroup", "mount":
			if len(many[key]) < 16 {
				many[key] = append(many[key], value)
			}
		}
	}
	return single, many, false, any
}

// container finds the id of the container that the target is, and the digest of
// its image, where podman tells: in its own file, the names of cgroups, or
// where the files that container engines mount come from. A machine that merely
// runs containers has none of these.
func container(hostname string, found map[string][]string) (id, image string) {
	for _, line := range found["env"] {
		key, value, _ := strings.Cut(line, "=")
		if m := quotedHex.FindStringSubmatch(value); m != nil && key == "id" {
			id = m[1]
		} else if m != nil && key == "imageid" {
			image = "sha256:" + m[1]
		}
	}
	first := func(lines []string, r *regexp.Regexp) {
		for _, line := range lines {
			if m := r.FindAllStringSubmatch(line, -1); m != nil && id == "" {
				id = m[len(m)-1][1] // the innermost
			}
		}
	}
	first(found["cgroup"], containerID)
	first(mountRoots(found["mount"]), containerRoot)
	first(found["cgroup"], containerLXC)
	if id != "" || len(found["inside"]) == 0 {
		return id, image
	}
	if containerHost.MatchString(hostname) {
		return hostname, image
	}
	return "id not shown (" + printable(strings.TrimSpace(found["inside"][0]), 32) + ")", image
}

// mountRoots are the places that /etc/hostname and /etc/hosts are mounted from:
// the fourth field of mountinfo, see proc(5).
func mountRoots(lines []string) []string {
	var roots []string
	for _, line := range lines {
		if f := strings.Fields(line); len(f) > 4 && (f[4] == "/etc/hostname" || f[4] == "/etc/hosts") {
			roots = append(roots, f[3])
		}
	}
	return roots
}
