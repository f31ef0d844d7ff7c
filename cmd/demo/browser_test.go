package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// startWhole builds sallyport and starts all of the demo until the test ends.
func startWhole(t *testing.T) *demo {
	t.Helper()
	need(t, "ssh")
	bin := filepath.Join(t.TempDir(), "sallyport")
	if out, err := exec.Command("go", "build", "-o", bin, "sallyport/cmd/sallyport").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d := &demo{options: options{dir: t.TempDir(), sallyport: bin}, out: io.Discard}
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, s := range d.steps() {
		if err := s.do(ctx); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	return d
}

// chromium returns the context of a browser, for a minute.
func chromium(t *testing.T) context.Context {
	t.Helper()
	need(t, "chromium")
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-component-update", true), chromedp.Flag("no-pings", true))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// textOf returns what the page shows.
func textOf(ctx context.Context, t *testing.T) string {
	t.Helper()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestBrowserSignInAndReplay goes the whole way of a browser: the list asks to
// sign in (code flow with PKCE) at the issuer, and the recording plays with
// its secret masked. Somebody else sees none of it.
func TestBrowserSignInAndReplay(t *testing.T) {
	if _, err := os.Stat("../../replay/web/static/dist/player.js"); err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatal("the player is not built: run make web")
		}
		t.Skip("the player is not built: run make web")
	}
	d := startWhole(t)

	ctx := chromium(t)
	signIn(ctx, t, d, "alice")
	err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS("table.list tbody a")), chromedp.WaitVisible(chromedp.CSS(`[data-state="ready"] .ap-term`)),
		chromedp.Click(chromedp.CSS(".masks li:last-child [data-seek]")))
	if err != nil {
		t.Fatalf("%v\n%s", err, textOf(ctx, t))
	}
	// The link leads to where the mask begins: on a slow machine, the rest of
	// the secret has not been typed there.
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`document.querySelector(".ap-term").innerText.includes("AKIA*")`)); err != nil {
		t.Errorf("%v: the player shows no mask\n%s", err, textOf(ctx, t))
	}
	if text := textOf(ctx, t); strings.Contains(text, demoPassword) || strings.Contains(text, demoKey) {
		t.Errorf("the page shows the secret:\n%s", text)
	}
	if file := os.Getenv("SALLYPORT_SCREENSHOT_DIR"); file != "" {
		if png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot()); err == nil {
			_ = os.WriteFile(filepath.Join(file, "replay.png"), png, 0o644)
		}
	}

	stranger := chromium(t)
	signIn(stranger, t, d, "bob")
	if text := textOf(stranger, t); strings.Contains(text, "alice") || !strings.Contains(text, "no recording") {
		t.Errorf("bob sees:\n%s", text)
	}
}

func signIn(ctx context.Context, t *testing.T, d *demo, login string) {
	t.Helper()
	err := chromedp.Do(ctx, chromedp.Navigate(d.webURL), chromedp.WaitVisible(chromedp.CSS("#login")))
	if err == nil {
		_, err = chromedp.Run(ctx, chromedp.Evaluate[string]("document.querySelector('#login').value = '"+login+"'"))
	}
	if err == nil {
		err = chromedp.Do(ctx, chromedp.Click(chromedp.CSS("button")), chromedp.WaitVisible(chromedp.CSS("form.search")))
	}
	if err != nil {
		t.Fatalf("signing in as %s: %v\n%s", login, err, textOf(ctx, t))
	}
}
