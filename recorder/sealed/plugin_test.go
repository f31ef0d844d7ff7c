package sealed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

const pluginName = "sallytest"

// TestMain makes the test binary an age plugin where it is started as one.
func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "age-plugin-") {
		os.Exit(runPlugin())
	}
	os.Exit(m.Run())
}

// runPlugin serves recipients and identities that hold a native one. An
// identity whose data begins with "ask" wants a PIN first.
func runPlugin() int {
	p, err := plugin.New(pluginName)
	if err != nil {
		return 1
	}
	p.HandleRecipient(func(data []byte) (age.Recipient, error) { return age.ParseX25519Recipient(string(data)) })
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		secret, ask := strings.CutPrefix(string(data), "ask")
		id, err := age.ParseX25519Identity(secret)
		if err == nil && ask {
			return asking{p, id}, nil
		}
		return id, err
	})
	return p.Main()
}

type asking struct {
	p  *plugin.Plugin
	id age.Identity
}

func (a asking) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if pin, err := a.p.RequestValue("PIN please", true); err != nil || pin != "1234" {
		return nil, fmt.Errorf("no PIN")
	}
	return a.id.Unwrap(stanzas)
}

// TestPlugin: an age plugin can hold the raw identity, so that it never is on
// the server. Nothing of it is ours: it is found on the PATH by its name.
func TestPlugin(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "age-plugin-"+pluginName)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	native, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipients, err := ParseRecipients(strings.NewReader(
		plugin.EncodeRecipient(pluginName, []byte(native.Recipient().String()))+"\n"), "raw.txt")
	if err != nil {
		t.Fatal(err)
	}
	k := NewKeys()
	view := x25519(t)
	_, o := wrapped(t, k, view, pair{to: recipients})

	identities := func(s string, ui *plugin.ClientUI) []age.Identity {
		t.Helper()
		ids, err := ParseIdentitiesAsking(strings.NewReader(plugin.EncodeIdentity(pluginName, []byte(s))+"\n"), "raw.id", ui)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if got, err := o.Unwrap(nil, identities(native.String(), silent())); err != nil || got != k {
		t.Errorf("the plugin's identity: %v", err)
	}
	stranger, _ := age.GenerateX25519Identity()
	if _, err := o.Unwrap(nil, identities(stranger.String(), silent())); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another identity of the plugin: %v", err)
	}
	if _, err := o.Unwrap(nil, identities("ask"+native.String(), silent())); err == nil || errors.Is(err, ErrWrongKey) {
		t.Errorf("a plugin that asks nobody: %v", err)
	}
	ui := &plugin.ClientUI{RequestValue: func(_, prompt string, secret bool) (string, error) {
		if prompt != "PIN please" || !secret {
			t.Errorf("prompt %q, secret %v", prompt, secret)
		}
		return "1234", nil
	}}
	if got, err := o.Unwrap(nil, identities("ask"+native.String(), ui)); err != nil || got != k {
		t.Errorf("a plugin that asks somebody: %v", err)
	}
	t.Setenv("PATH", "")
	_, err = o.Unwrap(view.with, identities(native.String(), silent()))
	if err != nil {
		t.Errorf("the view key does not need the plugin: %v", err)
	}
	_, err = o.Unwrap(nil, identities(native.String(), silent()))
	if err == nil || errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), pluginName) {
		t.Errorf("without the plugin's program: %v", err)
	}
	if _, err = WrapKeys(testID, k, view.to, recipients); err == nil || !strings.Contains(err.Error(), pluginName) {
		t.Errorf("wrapping without the plugin's program: %v", err)
	}
}
