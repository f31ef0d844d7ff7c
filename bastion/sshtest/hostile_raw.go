package sshtest

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// The message numbers that hostile clients need (RFC 4250, section 4.1.2).
const (
	msgDisconnect      = 1
	msgIgnore          = 2
	msgServiceRequest  = 5
	msgServiceAccept   = 6
	msgExtInfo         = 7
	msgKexInit         = 20
	msgNewKeys         = 21
	msgKexECDHInit     = 30
	msgKexECDHReply    = 31
	msgUserAuthRequest = 50
	msgUserAuthFailure = 51
	msgUserAuthSuccess = 52
	msgUserAuthBanner  = 53
	msgUserAuthPubKey  = 60 // also: keyboard-interactive's question
	msgInfoResponse    = 61
)

const rawVersion = "SSH-2.0-hostile"

// Raw is an SSH client that sends exactly what it is told to, in any order: no
// library would. It speaks curve25519-sha256 and aes128-gcm, and believes every
// host key.
type Raw struct {
	net.Conn
	SessionID     []byte
	ServerVersion string
	Banners       []string // those that came so far
	Disconnect    string   // the server's parting words, if any
	Asked         []Asked  // channels and requests, in order

	r   *bufio.Reader
	in  *gcm // nil before the key exchange
	out *gcm

	channels uint32 // the last number of a channel
}

// DialRaw connects and does the key exchange.
func DialRaw(addr string) (*Raw, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	r := &Raw{Conn: conn, r: bufio.NewReader(conn)}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if err := r.keyExchange(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("key exchange: %w", err)
	}
	return r, nil
}

func (r *Raw) keyExchange() error {
	if _, err := io.WriteString(r.Conn, rawVersion+"\r\n"); err != nil {
		return err
	}
	line, err := r.r.ReadString('\n')
	if err != nil {
		return err
	}
	r.ServerVersion = strings.TrimRight(line, "\r\n")

	mine := kexInit()
	if err := r.Send(mine); err != nil {
		return err
	}
	theirs, err := r.expect(msgKexInit)
	if err != nil {
		return err
	}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	public := key.PublicKey().Bytes()
	if err := r.Send(ssh.Marshal(struct {
		Public []byte `sshtype:"30"`
	}{public})); err != nil {
		return err
	}
	packet, err := r.expect(msgKexECDHReply)
	if err != nil {
		return err
	}
	var reply struct {
		HostKey, Public, Signature []byte
	}
	if err := ssh.Unmarshal(packet[1:], &reply); err != nil {
		return err
	}
	peer, err := ecdh.X25519().NewPublicKey(reply.Public)
	if err != nil {
		return err
	}
	secret, err := key.ECDH(peer)
	if err != nil {
		return err
	}
	if err := r.Send([]byte{msgNewKeys}); err != nil {
		return err
	}
	if _, err := r.expect(msgNewKeys); err != nil {
		return err
	}
	k := ssh.Marshal(struct{ K *big.Int }{new(big.Int).SetBytes(secret)})
	r.SessionID = digest(ssh.Marshal(struct {
		VC, VS             string
		IC, IS, KS, QC, QS []byte
		Rest               []byte `ssh:"rest"`
	}{rawVersion, r.ServerVersion, mine, theirs, reply.HostKey, public, reply.Public, k}))
	return r.newKeys(k)
}

// newKeys derives the keys of both directions (RFC 4253, section 7.2).
func (r *Raw) newKeys(k []byte) (err error) {
	derive := func(letter byte, n int) []byte {
		return digest(k, r.SessionID, []byte{letter}, r.SessionID)[:n]
	}
	if r.out, err = newGCM(derive('C', 16), derive('A', 12)); err != nil {
		return err
	}
	r.in, err = newGCM(derive('D', 16), derive('B', 12))
	return err
}

func digest(parts ...[]byte) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func kexInit() []byte {
	m := struct {
		Cookie                  [16]byte `sshtype:"20"`
		Kex, HostKey            []string
		CipherOut, CipherIn     []string
		MACOut, MACIn           []string
		CompressOut, CompressIn []string
		LanguageOut, LanguageIn []string
		FirstFollows            bool
		Reserved                uint32
	}{
		Kex: []string{"curve25519-sha256"}, HostKey: []string{ssh.KeyAlgoED25519, ssh.CertAlgoED25519v01},
		CipherOut: []string{ssh.CipherAES128GCM}, CipherIn: []string{ssh.CipherAES128GCM},
		MACOut: []string{ssh.HMACSHA256ETM}, MACIn: []string{ssh.HMACSHA256ETM},
		CompressOut: []string{"none"}, CompressIn: []string{"none"},
	}
	rand.Read(m.Cookie[:])
	return ssh.Marshal(m)
}

// gcm is one direction of aes128-gcm@openssh.com (RFC 5647, section 7).
type gcm struct {
	aead  cipher.AEAD
	nonce []byte
}

func newGCM(key, nonce []byte) (*gcm, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &gcm{aead, nonce}, err
}

// next is called after each packet.
func (g *gcm) next() {
	binary.BigEndian.PutUint64(g.nonce[4:], binary.BigEndian.Uint64(g.nonce[4:])+1)
}

// Send sends one packet, of any size and content.
func (r *Raw) Send(payload []byte) error {
	block, covered := 8, 5+len(payload)
	if r.out != nil {
		block, covered = 16, 1+len(payload)
	}
	pad := block - covered%block
	if pad < 4 {
		pad += block
	}
	body := append([]byte{byte(pad)}, payload...)
	body = append(body, make([]byte, pad)...)
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	if r.out != nil {
		body = r.out.aead.Seal(nil, r.out.nonce, body, head)
		r.out.next()
	}
	_, err := r.Conn.Write(append(head, body...))
	return err
}

// Receive returns the next packet that is no banner and means something.
func (r *Raw) Receive() ([]byte, error) {
	for {
		p, err := r.receive()
		if err != nil {
			return nil, err
		}
		switch p[0] {
		case msgIgnore, msgExtInfo:
		case msgUserAuthBanner:
			var m struct{ Text, Language string }
			if err := ssh.Unmarshal(p[1:], &m); err != nil {
				return nil, err
			}
			r.Banners = append(r.Banners, m.Text)
		case msgDisconnect:
			var m struct {
				Reason         uint32
				Text, Language string
			}
			if err := ssh.Unmarshal(p[1:], &m); err != nil {
				return nil, err
			}
			r.Disconnect = m.Text
			return nil, fmt.Errorf("the server disconnected: %q", m.Text)
		default:
			return p, nil
		}
	}
}

func (r *Raw) receive() ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r.r, head); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head))
	if r.in != nil {
		n += r.in.aead.Overhead()
	}
	if n < 2 || n > 1<<20 {
		return nil, fmt.Errorf("a packet of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r.r, body); err != nil {
		return nil, err
	}
	if r.in != nil {
		var err error
		if body, err = r.in.aead.Open(nil, r.in.nonce, body, head); err != nil {
			return nil, err
		}
		r.in.next()
	}
	if pad := int(body[0]); 1+pad < len(body) {
		return body[1 : len(body)-pad], nil
	}
	return nil, errors.New("a packet without payload")
}

func (r *Raw) expect(msg byte) ([]byte, error) {
	p, err := r.Receive()
	if err != nil {
		return nil, err
	}
	if p[0] != msg {
		return nil, fmt.Errorf("message %d came, not %d", p[0], msg)
	}
	return p, nil
}
