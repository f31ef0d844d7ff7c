package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// dialAgent connects to the running ssh-agent.
func dialAgent() (agent.ExtendedAgent, error) {
	sock := os.Getenv("SSH_AUTH_SOCK")
	if sock == "" {
		return nil, errors.New("no ssh-agent is running; start one with: eval $(ssh-agent), or give --key FILE")
	}
	conn, err := net.Dial("unix", sock)
	if err != nil {
		return nil, errors.New("the ssh-agent that SSH_AUTH_SOCK names does not answer; start one with: eval $(ssh-agent), or give --key FILE")
	}
	return agent.NewClient(conn), nil
}

// storeInAgent adds the key with its certificate for as long as that is valid,
// replaces the one of an earlier sign-in, and leaves only the certificate on disk.
func (f *sshFiles) storeInAgent(key ed25519.PrivateKey, s *savedBastion, cert *ssh.Certificate) error {
	a, err := dialAgent()
	if err != nil {
		return err
	}
	s.Certificate, s.InAgent = f.own(s.Name+"-cert.pub"), true
	// ssh finds the private half of an IdentityFile in the agent by what the
	// file holds; the certificate itself does, and no plain key is offered.
	s.Identity = s.Certificate
	removeFromAgent(a, s.Certificate)
	lifetime := uint32(max(1, int64(cert.ValidBefore)-time.Now().Unix()))
	comment := "sallyport " + s.Name
	// Only the certificate goes in: a plain entry would be offered on its own,
	// and the bastion would start a sign-in for it.
	if err := a.Add(agent.AddedKey{PrivateKey: key, Certificate: cert, Comment: comment, LifetimeSecs: lifetime}); err != nil {
		return fmt.Errorf("the ssh-agent refused the key: %w", err)
	}
	return writeFileAtomic(s.Certificate, ssh.MarshalAuthorizedKey(cert), 0o600)
}

// removeFromAgent takes the certificate in file, with its key, out of the agent.
// It reports whether anything was there.
func removeFromAgent(a agent.Agent, file string) bool {
	cert, err := readCertificate(file)
	if err != nil {
		return false
	}
	return a.Remove(cert) == nil
}

func readCertificate(file string) (*ssh.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil, err
	}
	cert, ok := pub.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("%s is not a certificate", file)
	}
	return cert, nil
}
