package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshFiles are the files below ssh's own directory that a sign-in writes.
type sshFiles struct{ dir string }

func (f *sshFiles) own(name string) string { return filepath.Join(f.dir, "sallyport", name) }

// loginState is what earlier sign-ins left, as JSON in sallyport/state.json.
type loginState struct {
	Default  string                  `json:"default"`
	Bastions map[string]savedBastion `json:"bastions"` // by HOST:PORT
}

// savedBastion is one bastion that was signed in to.
type savedBastion struct {
	Name        string    `json:"name"`
	Identity    string    `json:"identity"`    // file for IdentityFile
	Certificate string    `json:"certificate"` // file for CertificateFile
	InAgent     bool      `json:"in_agent"`
	Expires     time.Time `json:"expires"`
	CALine      string    `json:"ca_line"` // @cert-authority line, without our comment
}

// suffix returns SUFFIX of the pattern *.SUFFIX in the CA line.
func (s savedBastion) suffix() string {
	fields := strings.Fields(s.CALine)
	if len(fields) < 2 {
		return ""
	}
	for _, p := range strings.Split(fields[1], ",") {
		if suffix, ok := strings.CutPrefix(p, "*."); ok {
			return suffix
		}
	}
	return ""
}

// resolve returns the address to use: the one given, with port 22 when it has
// none, or the last one.
func (s *loginState) resolve(addr string) (string, error) {
	if addr == "" {
		addr = s.Default
	}
	if addr == "" {
		return "", &usageError{"which bastion? give HOST:PORT, for example: sallyport login bastion.example.com:2222"}
	}
	for known, b := range s.Bastions {
		if b.Name == addr {
			return known, nil
		}
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), "22")
	}
	return addr, nil
}

func (f *sshFiles) readState() (*loginState, error) {
	s := &loginState{Bastions: map[string]savedBastion{}}
	data, err := os.ReadFile(f.own("state.json"))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%s is damaged (%v); remove it and sign in again", f.own("state.json"), err)
	}
	if s.Bastions == nil {
		s.Bastions = map[string]savedBastion{}
	}
	return s, nil
}

func (f *sshFiles) writeState(s *loginState) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFileAtomic(f.own("state.json"), append(data, '\n'), 0o600)
}

func (f *sshFiles) storeBesideKey(key string, s *savedBastion, cert *ssh.Certificate) error {
	abs, err := filepath.Abs(key)
	if err != nil {
		return err
	}
	s.Identity, s.Certificate = abs, abs+"-cert.pub"
	return writeFileAtomic(s.Certificate, ssh.MarshalAuthorizedKey(cert), 0o644)
}

// writeConfig writes what ssh needs: our own include file, one Include line in
// ssh's configuration, and one @cert-authority line a bastion in known_hosts.
func (f *sshFiles) writeConfig(state *loginState) error {
	if err := writeFileAtomic(f.own("config"), renderSSHConfig(state), 0o600); err != nil {
		return err
	}
	if err := f.include(); err != nil {
		return err
	}
	for _, addr := range sortedKeys(state.Bastions) {
		if err := f.knownHost(state.Bastions[addr]); err != nil {
			return err
		}
	}
	return nil
}

// renderSSHConfig makes the include file. IdentitiesOnly and CertificateFile
// matter: an agent with several keys would offer a plain one first.
func renderSSHConfig(state *loginState) []byte {
	var b bytes.Buffer
	b.WriteString("# Written by `sallyport login` and rewritten at each sign-in: put your own settings elsewhere.\n")
	for _, addr := range sortedKeys(state.Bastions) {
		s := state.Bastions[addr]
		host, port, _ := net.SplitHostPort(addr)
		identity := fmt.Sprintf("  IdentityFile %q\n  IdentitiesOnly yes\n", s.Identity)
		if s.Identity != s.Certificate {
			identity += fmt.Sprintf("  CertificateFile %q\n", s.Certificate)
		}
		fmt.Fprintf(&b, "\nHost %s\n  HostName %s\n  Port %s\n  HostKeyAlias %s\n%s", s.Name, host, port, s.Name, identity)
		if suffix := s.suffix(); suffix != "" {
			fmt.Fprintf(&b, "\nHost *.%s !%s\n  ProxyJump %s\n%s", suffix, s.Name, s.Name, identity)
		}
	}
	return b.Bytes()
}

const includeComment = "# Added by `sallyport login`: the bastion and its targets."

// include puts our Include line at the top of ssh's configuration, since an
// Include below a Host line would belong to that host only.
func (f *sshFiles) include() error {
	path, line := filepath.Join(f.dir, "config"), fmt.Sprintf("Include %q", f.own("config"))
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for l := range strings.Lines(string(old)) {
		if strings.TrimSpace(l) == line {
			return nil
		}
	}
	return writeFileAtomic(path, append([]byte(includeComment+"\n"+line+"\n\n"), old...), 0o600)
}

// checkCALine accepts one @cert-authority line for the bastion called name and
// a domain of targets, and returns the authority. A domain is *.SUFFIX, where
// SUFFIX is the bastion's name or has a dot: whoever runs a bastion must not be
// trusted, or passed through, for every host of the world.
func checkCALine(line, name string) (ssh.PublicKey, error) {
	marker, hosts, key, _, rest, err := ssh.ParseKnownHosts([]byte(line))
	if err != nil || marker != "cert-authority" || len(rest) > 0 || strings.ContainsAny(line, "\r\n") {
		return nil, errors.New("the bastion sent something that is no @cert-authority line")
	}
	for _, h := range hosts {
		suffix, domain := strings.CutPrefix(h, "*.")
		if h != name && !(domain && nameRE.MatchString(suffix) && (suffix == name || strings.Contains(suffix, "."))) {
			return nil, fmt.Errorf("the bastion asked to be trusted for %q, which is more than itself and a domain of its targets", h)
		}
	}
	return key, nil
}

// knownHost keeps one @cert-authority line for s, marked as ours by its comment.
func (f *sshFiles) knownHost(s savedBastion) error {
	if s.CALine == "" {
		return nil
	}
	if _, err := checkCALine(s.CALine, s.Name); err != nil {
		return fmt.Errorf("%w; known_hosts was not changed", err)
	}
	path := filepath.Join(f.dir, "known_hosts")
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	mark := "sallyport:" + s.Name
	want := strings.Join(strings.Fields(s.CALine)[:4], " ") + " " + mark
	var kept strings.Builder
	for l := range strings.Lines(string(old)) {
		fields := strings.Fields(l)
		if len(fields) == 5 && fields[0] == "@cert-authority" && fields[4] == mark {
			if strings.TrimSpace(l) == want {
				return nil
			}
			continue
		}
		kept.WriteString(l)
	}
	text := kept.String()
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return writeFileAtomic(path, []byte(text+want+"\n"), 0o600)
}

// writeFileAtomic replaces path, through a symbolic link too, keeping the mode
// of a file that exists.
func writeFileAtomic(path string, data []byte, mode os.FileMode) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
		if st, err := os.Stat(path); err == nil {
			mode = st.Mode().Perm()
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".sallyport-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already when the rename worked
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
