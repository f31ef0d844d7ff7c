package sshtest

import (
	"fmt"

	"golang.org/x/crypto/ssh"
)

// The message numbers of the connection protocol (RFC 4250, section 4.1.2).
const (
	msgRequestSuccess = 81
	msgRequestFailure = 82
	msgOpenConfirm    = 91
	msgOpenFailure    = 92
	msgChannelClose   = 97
	msgChannelSuccess = 99
	msgChannelFailure = 100
)

// Asked is a channel or request that a Raw has asked for.
type Asked struct{ Kind, Type string } // "channel", "request" or "global", and the name on the wire

// OpenChannel asks for a channel (RFC 4254, section 5.1). It returns the
// server's number of it, and false when the server refused.
func (r *Raw) OpenChannel(wireType string, extra []byte) (server uint32, ok bool, err error) {
	r.Asked = append(r.Asked, Asked{"channel", wireType})
	r.channels++
	mine := r.channels
	if err := r.Send(ssh.Marshal(struct {
		Type        string `sshtype:"90"`
		ID          uint32
		Window, Max uint32
		Extra       []byte `ssh:"rest"`
	}{wireType, mine, 1 << 20, 1 << 15, extra})); err != nil {
		return 0, false, err
	}
	for {
		p, err := r.Receive()
		if err != nil {
			return 0, false, err
		}
		var m struct {
			Mine, Server uint32
			Rest         []byte `ssh:"rest"`
		}
		if p[0] != msgOpenConfirm && p[0] != msgOpenFailure {
			continue
		}
		if err := ssh.Unmarshal(p[1:], &m); err != nil {
			return 0, false, err
		}
		if m.Mine != mine {
			return 0, false, fmt.Errorf("an answer about channel %d came, not %d", m.Mine, mine)
		}
		return m.Server, p[0] == msgOpenConfirm, nil
	}
}

// ChannelRequest sends a request on a channel and returns the answer (RFC 4254,
// section 5.4). Everything else that comes meanwhile is dropped.
func (r *Raw) ChannelRequest(server uint32, wireType string, payload []byte) (bool, error) {
	r.Asked = append(r.Asked, Asked{"request", wireType})
	if err := r.Send(ssh.Marshal(struct {
		Channel uint32 `sshtype:"98"`
		Type    string
		Reply   bool
		Rest    []byte `ssh:"rest"`
	}{server, wireType, true, payload})); err != nil {
		return false, err
	}
	p, err := r.until(msgChannelSuccess, msgChannelFailure)
	return err == nil && p[0] == msgChannelSuccess, err
}

// GlobalRequest sends a request of the connection and returns the answer (RFC
// 4254, section 4).
func (r *Raw) GlobalRequest(wireType string, payload []byte) (bool, error) {
	r.Asked = append(r.Asked, Asked{"global", wireType})
	if err := r.Send(ssh.Marshal(struct {
		Type  string `sshtype:"80"`
		Reply bool
		Rest  []byte `ssh:"rest"`
	}{wireType, true, payload})); err != nil {
		return false, err
	}
	p, err := r.until(msgRequestSuccess, msgRequestFailure)
	return err == nil && p[0] == msgRequestSuccess, err
}

// Data sends bytes on a channel. The server's window must have room for them.
func (r *Raw) Data(server uint32, data []byte) error {
	return r.Send(ssh.Marshal(struct {
		Channel uint32 `sshtype:"94"`
		Data    []byte
	}{server, data}))
}

// CloseChannel closes a channel from this side.
func (r *Raw) CloseChannel(server uint32) error {
	return r.Send(ssh.Marshal(struct {
		Channel uint32 `sshtype:"97"`
	}{server}))
}

// WaitClose waits until the server has closed a channel, any of those that are
// open.
func (r *Raw) WaitClose() error {
	_, err := r.until(msgChannelClose)
	return err
}

// until returns the next packet that is one of messages.
func (r *Raw) until(messages ...byte) ([]byte, error) {
	for {
		p, err := r.Receive()
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if p[0] == m {
				return p, nil
			}
		}
	}
}
