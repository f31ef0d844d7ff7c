package certs

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"sallyport/policy"
)

// KeyID is what a certificate's key id says: who it is for. Targets' own logs
// show it, so that they name the person.
type KeyID struct {
	Issuer, Subject, Name string
	Serial                policy.Serial
	// Connection and Target are set on certificates for targets only.
	Connection policy.ConnectionID
	Target     string
}

// maxKeyID bounds a key id, in bytes.
const maxKeyID = 4096

// String returns the key id as escaped NAME=VALUE pairs joined by "&"
// (application/x-www-form-urlencoded), which holds no white space, quote or
// control character whatever the claims hold.
func (k KeyID) String() string {
	v := url.Values{"iss": {k.Issuer}, "sub": {k.Subject}, "serial": {strconv.FormatUint(uint64(k.Serial), 10)}}
	for name, value := range map[string]string{"name": k.Name, "conn": string(k.Connection), "target": k.Target} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v.Encode()
}

// ParseKeyID reads what String wrote, and nothing else.
func ParseKeyID(s string) (KeyID, error) {
	if len(s) > maxKeyID {
		return KeyID{}, fmt.Errorf("key id of %d bytes; at most %d are allowed", len(s), maxKeyID)
	}
	v, err := url.ParseQuery(s)
	if err != nil {
		return KeyID{}, errors.New("key id is not NAME=VALUE pairs")
	}
	serial, err := strconv.ParseUint(v.Get("serial"), 10, 64)
	if err != nil {
		return KeyID{}, errors.New("key id has no serial")
	}
	k := KeyID{Issuer: v.Get("iss"), Subject: v.Get("sub"), Name: v.Get("name"), Serial: policy.Serial(serial),
		Connection: policy.ConnectionID(v.Get("conn")), Target: v.Get("target")}
	if k.Issuer == "" || k.Subject == "" {
		return KeyID{}, errors.New("key id names no issuer or no subject")
	}
	if k.String() != s {
		return KeyID{}, errors.New("key id is not in the form that the bastion writes")
	}
	return k, nil
}
