package upstream

import "golang.org/x/crypto/ssh"

// algorithms are the ones of DESIGN section 7: no nistp key exchange, no SHA-1,
// MACs encrypt-then-MAC only, AES-GCM first because it costs least.
func algorithms() ssh.Config {
	return ssh.Config{
		KeyExchanges: []string{
			ssh.KeyExchangeMLKEM768X25519,
			ssh.KeyExchangeCurve25519,
		},
		Ciphers: []string{
			ssh.CipherAES128GCM,
			ssh.CipherAES256GCM,
			ssh.CipherChaCha20Poly1305,
			ssh.CipherAES256CTR,
		},
		MACs: []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
	}
}

// plainAlgorithms and certAlgorithms are the signatures of host keys that are
// taken at all, in order of preference. SHA-1 (ssh-rsa) is not among them.
var (
	plainAlgorithms = []string{
		ssh.KeyAlgoED25519,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}
	certAlgorithms = []string{
		ssh.CertAlgoED25519v01,
		ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
	}
)

// algorithms orders what the target may prove itself with: certificates if an
// authority is registered, then the kinds of the registered keys, then all
// others. Those can only fail the check, but then their fingerprint is known
// and can be shown.
func (t *trust) algorithms() []string {
	var list []string
	if len(t.cas) > 0 {
		list = append(list, certAlgorithms...)
	}
	var rest []string
	for _, a := range plainAlgorithms {
		if t.registered(a) {
			list = append(list, a)
		} else {
			rest = append(rest, a)
		}
	}
	return append(list, rest...)
}

// registered reports whether a registered key can make signatures of kind a.
func (t *trust) registered(a string) bool {
	for _, k := range t.keys {
		if k.Type() == a || k.Type() == ssh.KeyAlgoRSA && (a == ssh.KeyAlgoRSASHA512 || a == ssh.KeyAlgoRSASHA256) {
			return true
		}
	}
	return false
}
