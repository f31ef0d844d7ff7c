package bastion

import (
	"crypto/rsa"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// serverVersion is what clients see first (RFC 4253, section 4.2). It names no
// release: whoever has not signed in need not know which one runs.
const serverVersion = "SSH-2.0-Sallyport"

// algorithms are those of DESIGN section 7: no nistp key exchange, no SHA-1,
// only encrypt-then-MAC, and AES-GCM first because it is the fastest.
func algorithms() ssh.Config {
	return ssh.Config{
		KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519},
		Ciphers:      []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES256CTR},
		MACs:         []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
	}
}

// userKeyAlgorithms are the signatures that users may sign in with.
var userKeyAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
	ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512,
}

// The sizes of RSA keys, in bits. A larger one costs the server more to verify
// than it costs the client to send.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// checkKeySize refuses RSA keys that are weak or made to be slow.
func checkKeySize(key ssh.PublicKey) error {
	c, ok := plainKey(key).(ssh.CryptoPublicKey)
	if !ok {
		return nil
	}
	if r, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok {
		if n := r.N.BitLen(); n < minRSABits || n > maxRSABits {
			return fmt.Errorf("an RSA key of %d bits is not taken, only %d to %d", n, minRSABits, maxRSABits)
		}
	}
	return nil
}

// plainKey returns the key inside a certificate, or the key itself.
func plainKey(key ssh.PublicKey) ssh.PublicKey {
	if c, ok := key.(*ssh.Certificate); ok {
		return c.Key
	}
	return key
}
