package web

import "path"

// BundlePage returns the files that play a recording from a folder, without a
// server; none where the binary was built without the player.
func BundlePage() map[string][]byte {
	files := map[string][]byte{}
	for _, name := range []string{"bundle.js", "bundle.css", "player.LICENSE.txt"} {
		body, err := static.ReadFile(path.Join("static", "dist", name))
		if err != nil {
			return nil
		}
		files[name] = body
	}
	return files
}
