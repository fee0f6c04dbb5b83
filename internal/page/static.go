package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed static
var staticFiles embed.FS

// StaticPrefix is where Static is to be mounted.
const StaticPrefix = "/static/"

// assets maps the path under which a file is served to the file. Paths carry a hash of the content, so that a
// browser may keep them for ever. It never changes.
var assets, assetPaths = loadAssets()

type asset struct {
	contentType string
	content     []byte
}

// Static serves the style sheet, the passkey script and the mark.
func Static() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := assets[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", a.contentType)
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
	})
}

// assetPath is the template function "asset": the path of a file in static/.
func assetPath(name string) (string, error) {
	p, ok := assetPaths[name]
	if !ok {
		return "", fmt.Errorf("there is no static file %q", name)
	}
	return p, nil
}

func loadAssets() (map[string]asset, map[string]string) {
	byPath, paths := map[string]asset{}, map[string]string{}
	files, err := staticFiles.ReadDir("static")
	if err != nil {
		panic(err) // compiled in
	}
	for _, f := range files {
		content, err := staticFiles.ReadFile("static/" + f.Name())
		if err != nil {
			panic(err) // compiled in
		}
		ext := path.Ext(f.Name())
		sum := sha256.Sum256(content)
		p := StaticPrefix + strings.TrimSuffix(f.Name(), ext) + "." + hex.EncodeToString(sum[:8]) + ext
		byPath[p] = asset{contentType: contentType(ext), content: content}
		paths[f.Name()] = p
	}
	return byPath, paths
}

// contentType does not depend on the machine's own tables, unlike the mime package alone.
func contentType(ext string) string {
	switch ext {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(ext)
}
