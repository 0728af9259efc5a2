package publish

import (
	"path"
	"strings"
)

// Headers are what a store says of an object to those who download it (RFC 9110,
// section 8.3, and RFC 9111, section 5.2).
type Headers struct {
	ContentType  string
	CacheControl string
}

// HeadersOf tells the headers of an object by its key. Pointers are asked for
// anew each time, all else never changes (RFC 8246). No content is ever declared
// as something that a browser would run, nor as encoded, which proxies might undo.
func HeadersOf(key string) Headers {
	h := Headers{ContentType: contentType(path.Base(key)), CacheControl: "public, max-age=31536000, immutable"}
	if strings.Count(key, "/") < 3 { // above the versions
		h.CacheControl = "no-cache"
	}
	return h
}

func contentType(name string) string {
	if name == SumsFile || name == latestText {
		return "text/plain; charset=utf-8"
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".deb":
		return "application/vnd.debian.binary-package"
	case ".rpm":
		return "application/x-rpm"
	case ".gz", ".tgz":
		return "application/gzip"
	case ".xz":
		return "application/x-xz"
	case ".zst":
		return "application/zstd"
	case ".zip":
		return "application/zip"
	case ".json":
		return "application/json"
	case ".txt", ".asc", ".sha256":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}
