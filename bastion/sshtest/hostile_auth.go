package sshtest

import (
	"crypto/rand"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"
)

// Answer is what the server says to an authentication request.
type Answer struct {
	Success bool
	Query   bool     // the key may sign
	Partial bool     // a step succeeded, more are needed
	Methods []string // that can go on, when it was not a success
	Prompt  string   // keyboard-interactive's instruction
}

// Authenticate asks for the authentication service (RFC 4252).
func (r *Raw) Authenticate() error {
	if err := r.Send(ssh.Marshal(struct {
		Service string `sshtype:"5"`
	}{"ssh-userauth"})); err != nil {
		return err
	}
	_, err := r.expect(msgServiceAccept)
	return err
}

type authRequest struct {
	User    string `sshtype:"50"`
	Service string
	Method  string
	Rest    []byte `ssh:"rest"`
}

// Request sends one authentication request and returns the answer to it.
func (r *Raw) Request(user, method string, rest []byte) (Answer, error) {
	if err := r.Send(ssh.Marshal(authRequest{user, "ssh-connection", method, rest})); err != nil {
		return Answer{}, err
	}
	return r.answer(method)
}

func (r *Raw) answer(method string) (Answer, error) {
	p, err := r.Receive()
	if err != nil {
		return Answer{}, err
	}
	switch p[0] {
	case msgUserAuthSuccess:
		return Answer{Success: true}, nil
	case msgUserAuthPubKey:
		if method != "keyboard-interactive" {
			return Answer{Query: true}, nil
		}
		var m struct {
			Name, Instruction, Language string
			Prompts                     uint32
			Rest                        []byte `ssh:"rest"`
		}
		err := ssh.Unmarshal(p[1:], &m)
		return Answer{Prompt: m.Instruction}, err
	case msgUserAuthFailure:
		var m struct {
			Methods []string
			Partial bool
		}
		err := ssh.Unmarshal(p[1:], &m)
		return Answer{Methods: m.Methods, Partial: m.Partial}, err
	}
	return Answer{}, fmt.Errorf("message %d came as an answer", p[0])
}

// Offer asks whether key may sign, and does not sign.
func (r *Raw) Offer(user string, key ssh.PublicKey) (Answer, error) {
	return r.Request(user, "publickey", ssh.Marshal(struct {
		Signed bool
		Algo   string
		Key    []byte
	}{false, key.Type(), key.Marshal()}))
}

// Sign sends a signature that with made, in the name of offered. They may be
// different keys.
func (r *Raw) Sign(user string, offered ssh.PublicKey, with ssh.Signer) (Answer, error) {
	type request struct {
		User, Service, Method string
		Signed                bool
		Algo                  string
		Key                   []byte
	}
	m := request{user, "ssh-connection", "publickey", true, offered.Type(), offered.Marshal()}
	data := ssh.Marshal(struct{ Session []byte }{r.SessionID})
	data = append(append(data, msgUserAuthRequest), ssh.Marshal(m)...)
	sig, err := with.Sign(rand.Reader, data)
	if err != nil {
		return Answer{}, err
	}
	return r.Request(user, "publickey", ssh.Marshal(struct {
		Signed bool
		Algo   string
		Key    []byte
		Sig    []byte
	}{true, m.Algo, m.Key, ssh.Marshal(sig)}))
}

// Interactive begins keyboard-interactive authentication (RFC 4256). The
// server's question is in the answer's Prompt.
func (r *Raw) Interactive(user string) (Answer, error) {
	return r.Request(user, "keyboard-interactive", ssh.Marshal(struct{ Language, Methods string }{}))
}

// Respond answers a question that has no prompts.
func (r *Raw) Respond() (Answer, error) {
	if err := r.Send(append([]byte{msgInfoResponse}, 0, 0, 0, 0)); err != nil {
		return Answer{}, err
	}
	return r.answer("keyboard-interactive")
}

// Impostor is a Signer for x/crypto's client: it offers one key and signs with
// another (CVE-2024-45337).
type Impostor struct {
	Offered ssh.PublicKey
	Signer  ssh.Signer
}

// PublicKey returns the key that is not the impostor's.
func (i Impostor) PublicKey() ssh.PublicKey { return i.Offered }

// Sign signs with the impostor's own key.
func (i Impostor) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return i.Signer.Sign(rand, data)
}
