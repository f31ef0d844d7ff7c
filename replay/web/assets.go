package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// static holds the stylesheet and the icon, and in dist what the build of
// frontend/ left: the player. all: takes in dist/.keep, so that a binary can be
// built before the player is.
//
//go:embed all:static
var static embed.FS

var assetTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
	".wasm": "application/wasm",
}

type asset struct {
	body    []byte
	kind    string
	version string // hex digest
}

// assets serves the embedded files by their exact path, "/static/…".
type assets map[string]asset

func loadAssets() (assets, error) {
	files := assets{}
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		kind, ok := assetTypes[path.Ext(name)]
		if !ok || strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		body, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		files["/"+name] = asset{body: body, kind: kind, version: hex.EncodeToString(sum[:8])}
		return nil
	})
	return files, err
}

// address returns how pages refer to the file name, for example "style.css":
// with its version, so that browsers may keep it for good. It is "" for a file
// that was not built.
func (a assets) address(name string) string {
	f, ok := a["/static/"+name]
	if !ok {
		return ""
	}
	return "/static/" + name + "?v=" + f.version
}

// ServeHTTP serves a file, with an ETag.
func (a assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := a[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("ETag", `"`+f.version+`"`)
	if r.URL.Query().Get("v") == f.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}
