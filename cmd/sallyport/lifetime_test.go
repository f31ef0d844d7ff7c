package main

import (
	"testing"
	"time"

	"sallyport/policy"
)

func TestPolicyShortensALifetimeAndNeverProlongsIt(t *testing.T) {
	n := &node{cfg: &Config{Certificates: CertsConfig{Lifetime: time.Hour}}}
	for ttl, want := range map[time.Duration]time.Duration{0: time.Hour, 5 * time.Minute: 5 * time.Minute, 8 * time.Hour: time.Hour} {
		if got := n.lifetime(policy.Decision{Obligations: policy.Obligations{CertTTL: ttl}}); got != want {
			t.Errorf("@cert_ttl %s gives %s, want %s", ttl, got, want)
		}
	}
}
