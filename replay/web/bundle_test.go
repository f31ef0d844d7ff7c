package web_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"sallyport/replay/web"
)

// The page of a bundle plays from a folder, without a server.
func TestBundlePagePlaysFromAFile(t *testing.T) {
	built(t)
	dir := t.TempDir()
	page := web.BundlePage()
	if page["bundle.js"] == nil || page["bundle.css"] == nil {
		t.Fatal("the page's files are not built: run make web")
	}
	page["cast.js"] = []byte(`window.sallyportCast = "{\"version\":3,\"term\":{\"cols\":40,\"rows\":5}}\n[0.5, \"o\", \"hello from a bundle\"]\n";` + "\n")
	html, err := os.ReadFile("../bundle.html")
	if err != nil {
		t.Fatal(err)
	}
	page["index.html"] = html
	for name, body := range page {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	b := newBrowser(t, w, ada)
	b.open("file://" + dir + "/index.html")
	do(b, chromedp.Poll[bool](`document.body.dataset.state === "ready" && document.querySelector(".ap-term").innerText.includes("hello from a bundle")`))
	b.forget("file://" + dir) // all that it asked for
	if strings.Contains(string(html), "<style") || strings.Contains(string(html), "onload") {
		t.Error("the page has inline style or script")
	}
}
