package replay_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"filippo.io/age"

	"sallyport/policy"
	"sallyport/recorder"
	"sallyport/recorder/redact"
	"sallyport/recorder/sealed"
	"sallyport/replay"
)

// secretLetters are those of the secrets and of nothing else in the output, so
// that a few of them in a row give a leak away.
const secretLetters = "QWRTYPSDFGHJKLZXVBNM234567"

// TestMaskedCopiesHoldNoSecret puts random secrets between random text, with
// escape sequences inside, cuts the output at random places, and records it
// with the real rules. No copy of the masked view holds what was masked or
// typed, and the raw one holds every byte.
func TestMaskedCopiesHoldNoSecret(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	w := newWorld(t)
	masks := 0
	for range 40 {
		out, secrets := randomOutput(rng)
		id := w.record(cut(rng, out)...)
		for _, f := range []replay.Format{replay.FormatV2, replay.FormatV3, replay.FormatRaw, replay.FormatText} {
			text, report := w.export(replay.Viewer{User: auditor}, id, replay.Masked, f)
			for _, s := range append(windows(secrets), "typed-secret") {
				if strings.Contains(text, s) {
					t.Fatalf("%s of the masked view holds %q of %q:\n%s\nfrom %q", f, s, secrets, text, out)
				}
			}
			if strings.Contains(text, `"i", `) {
				t.Errorf("%s of the masked view holds input:\n%s", f, text)
			}
			masks += report.Masks
		}
		if raw, _ := w.export(replay.Viewer{User: auditor}, id, replay.Raw, replay.FormatRaw); raw != string(out) {
			t.Fatalf("raw bytes differ:\n%q\n%q", raw, out)
		}
		if masked, _ := w.export(replay.Viewer{User: auditor}, id, replay.Masked, replay.FormatRaw); masked != shown(t, w, string(id)) {
			t.Fatalf("the masked bytes are not what the live view showed:\n%q", masked)
		}
		if v3, _ := w.export(replay.Viewer{User: auditor}, id, replay.Raw, replay.FormatV3); !strings.Contains(v3, "typed-secret") {
			t.Error("the raw view lacks what was typed")
		}
	}
	if masks == 0 {
		t.Error("nothing was masked")
	}
}

// randomOutput makes terminal output with secrets that the rules know.
func randomOutput(rng *rand.Rand) (out []byte, secrets []string) {
	noise := []string{"plain text ", "\x1b[1mbold\x1b[0m ", "\xff\xfe ", "café ", "日本 ", "\r\n", "\x1b]0;title\x07", "10%\r20%\r\n"}
	for range 3 + rng.IntN(4) {
		for range rng.IntN(4) {
			out = append(out, noise[rng.IntN(len(noise))]...)
		}
		var b strings.Builder
		for range 16 {
			b.WriteByte(secretLetters[rng.IntN(len(secretLetters))])
		}
		secret := b.String()
		secrets = append(secrets, secret)
		if rng.IntN(3) == 0 { // colour within
			i := 4 + rng.IntN(8)
			secret = secret[:i] + "\x1b[31m" + secret[i:]
		}
		out = fmt.Appendf(out, []string{"AKIA%s \r\n", "password=%s\r\n", "api_key: %s\r\n"}[rng.IntN(3)], secret)
	}
	return out, secrets
}

// windows returns every 5 characters in a row of the secrets.
func windows(secrets []string) []string {
	var all []string
	for _, s := range secrets {
		for i := 0; i+5 <= len(s); i++ {
			all = append(all, s[i:i+5])
		}
	}
	return all
}

func cut(rng *rand.Rand, out []byte) (pieces [][]byte) {
	for len(out) > 0 {
		n := 1 + rng.IntN(min(len(out), 9))
		pieces, out = append(pieces, out[:n]), out[n:]
	}
	return pieces
}

// shown is the masked output as the stored masks say.
func shown(t *testing.T, w *world, id string) string {
	t.Helper()
	r, err := recorder.OpenRecording(context.Background(), w.store.Archive, policy.SessionID(id), func(o *sealed.KeyObject) (sealed.Keys, error) {
		return o.Unwrap([]age.Identity{w.store.View}, []age.Identity{w.store.Raw})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out strings.Builder
	for {
		f, err := r.Next()
		if err != nil {
			return out.String()
		}
		if f.Code == 'o' {
			out.Write(redact.View(f.Raw, f.Masks))
		}
	}
}
