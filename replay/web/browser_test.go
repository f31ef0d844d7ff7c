package web_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"sallyport/policy"
)

// browser is a Chromium that notes what a page must not make it do.
type browser struct {
	t   *testing.T
	ctx context.Context

	allowed map[string]bool // hosts that pages may ask
	mu      sync.Mutex
	trouble []string
}

// newBrowser starts Chromium for at most a minute and signs in as u.
func newBrowser(t *testing.T, w *world, u policy.User) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("chromium is not installed")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("no-pings", true))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	b := &browser{t: t, allowed: map[string]bool{}}
	for _, base := range []string{w.base, w.idp.URL} {
		host, _ := url.Parse(base)
		b.allowed[host.Host] = true
	}
	b.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(b.watch))
	t.Cleanup(cancel)
	w.idp.as(u)
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	b.open(w.base + "/")
	t.Cleanup(b.check)
	return b
}

// call runs a command of the protocol.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

// open goes to an address, and waits for the heading that every page has.
func (b *browser) open(address string) {
	b.t.Helper()
	b.run(chromedp.Navigate(address), visible("h1"))
}

// visible waits for an element.
func visible(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(chromedp.CSS(selector))
}

// click presses an element.
func click(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.CSS(selector))
}

func (b *browser) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble = append(b.trouble, fmt.Sprintf(format, args...))
}

func (b *browser) watch(event any) {
	switch e := event.(type) {
	case *page.EventJavascriptDialogOpening:
		b.note("dialog: %s", e.Message)
		go chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || u.Scheme != "data" && u.Scheme != "blob" && !b.allowed[u.Host] {
			b.note("request to %s", e.Request.URL)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || strings.Contains(e.Entry.Text, "Content Security Policy") {
			b.note("log: %s (%s)", e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		b.note("exception: %s %s", e.ExceptionDetails.Text, e.ExceptionDetails.URL)
	case *page.EventWindowOpen:
		b.note("window opened: %s", e.URL)
	}
}

// check fails the test when the browser did anything that it must not.
func (b *browser) check() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.trouble {
		b.t.Error(s)
	}
}

// forget drops the complaints that a test provoked.
func (b *browser) forget(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble = slices.DeleteFunc(b.trouble, func(s string) bool { return strings.Contains(s, part) })
}

func (b *browser) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.check()
		b.t.Fatal(err)
	}
}

// eval returns the value of a JavaScript expression.
func eval[T any](b *browser, expression string, opts ...chromedp.EvaluateOption) T {
	b.t.Helper()
	return do(b, chromedp.Evaluate[T](expression, opts...))
}

// do runs an action and returns its value.
func do[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.check()
		b.t.Fatal(err)
	}
	return v
}

// size makes the window that large and the colours dark or light.
func (b *browser) size(width, height int64, scheme string) {
	b.t.Helper()
	b.run(chromedp.EmulateViewport(width, height))
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// built skips a test of the player when it was not built.
func built(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("static/dist/player.js"); err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatal("the player is not built: run make web")
		}
		t.Skip("the player is not built: run make web")
	}
}

// openSession shows a recording and waits until the player is ready.
func (b *browser) openSession(w *world, id policy.SessionID, query string) {
	b.t.Helper()
	b.open(w.base + "/sessions/" + string(id) + query)
	b.run(visible(`[data-state="ready"] .ap-term`))
}

// playToEnd plays the recording until its end, where the terminal shows last,
// and returns all that it shows then.
func (b *browser) playToEnd(last string) string {
	b.t.Helper()
	b.run(click(".ap-player"), visible(`[data-player="ended"]`))
	b.shows(last) // the last frame is drawn after the event
	return b.screen()
}

// shows waits until the terminal shows text.
func (b *browser) shows(text string) {
	b.t.Helper()
	js := fmt.Sprintf("document.querySelector('.ap-term').innerText.includes(%q)", text)
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](js, chromedp.WithPollingTimeout(5*time.Second))); err != nil {
		b.t.Fatalf("the replay does not show %q (%v), but\n%s", text, err, b.screen())
	}
}

func (b *browser) screen() string {
	b.t.Helper()
	return eval[string](b, `document.querySelector(".ap-term").innerText`)
}
