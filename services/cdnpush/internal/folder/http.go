package folder

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tagship/tagship/services/cdnpush/internal/publish"
	"go.uber.org/zap"
)

//go:embed index.html
var pages embed.FS

// Handler serves the folder for GET and HEAD: files with their digest as ETag,
// also in ranges and conditionally (RFC 9110), folders as a page that lists them.
// Names that begin with a dot do not exist.
func (f *Folder) Handler(log *zap.Logger) (http.Handler, error) {
	page, err := template.New("index.html").Funcs(template.FuncMap{"size": size, "day": day}).ParseFS(pages, "index.html")
	if err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	return &handler{folder: f, page: page, log: log}, nil
}

type handler struct {
	folder *Folder
	page   *template.Template
	log    *zap.Logger
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-cache") // of all but what never changes
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "files can only be read here", http.StatusMethodNotAllowed)
		return
	}
	err := h.serve(w, r)
	switch {
	case err == nil:
	case errors.Is(err, errNoName), errors.Is(err, fs.ErrNotExist):
		http.Error(w, "not found", http.StatusNotFound)
	case r.Context().Err() != nil: // the client has gone away
	default:
		h.log.Error("file cannot be served", zap.String("path", r.URL.Path), zap.Error(err))
		http.Error(w, "the file cannot be read at the moment", http.StatusInternalServerError)
	}
}

// errNoName is why a path names nothing that is served.
var errNoName = errors.New("not a served name")

func (h *handler) serve(w http.ResponseWriter, r *http.Request) error {
	name, slash := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if r.URL.Path == "/" || r.URL.Path == "" {
		name, slash = ".", true
	}
	if !served(name) {
		return errNoName
	}
	info, err := h.folder.root.Stat(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return fmt.Errorf("%w: %w", errNoName, err) // leads out of the folder, or cannot be a name
	}
	switch {
	case info.IsDir() && slash:
		return h.serveIndex(w, r, name)
	case info.IsDir():
		redirect := url.URL{Path: "/" + name + "/"}
		http.Redirect(w, r, redirect.EscapedPath(), http.StatusMovedPermanently)
		return nil
	case slash:
		return errNoName
	}
	return h.serveFile(w, r, name)
}

// served tells whether a path may be looked at: clean, and nothing hidden in it.
func served(name string) bool {
	if name == "." {
		return true
	}
	if !fs.ValidPath(name) {
		return false
	}
	return !slices.ContainsFunc(strings.Split(name, "/"), hidden)
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

func (h *handler) serveFile(w http.ResponseWriter, r *http.Request, key string) error {
	file, info, err := h.folder.open(key)
	if err != nil {
		return err
	}
	defer closeRead(file)
	digest, err := h.folder.digest(r.Context(), key, file, info)
	if err != nil {
		return err
	}
	says := publish.HeadersOf(key)
	header := w.Header()
	header.Set("ETag", `"`+digest+`"`)
	header.Set("Content-Type", says.ContentType)
	header.Set("Cache-Control", says.CacheControl)
	http.ServeContent(w, r, "", info.ModTime(), file)
	return nil
}

// entry is a line of the page of a folder.
type entry struct {
	Name, Href string
	Dir        bool
	Size       int64
	Time       time.Time
}

func (h *handler) serveIndex(w http.ResponseWriter, r *http.Request, dir string) error {
	listed, err := fs.ReadDir(h.folder.root.FS(), dir)
	if err != nil {
		return err
	}
	var entries []entry
	for _, e := range listed {
		info, err := h.folder.root.Stat(path.Join(dir, e.Name()))
		if hidden(e.Name()) || err != nil || !info.IsDir() && !info.Mode().IsRegular() {
			continue // gone meanwhile, or nothing that is served
		}
		name := e.Name()
		if info.IsDir() {
			name += "/"
		}
		href := url.URL{Path: "./" + name} // a name with a colon is no scheme
		entries = append(entries, entry{Name: name, Href: href.EscapedPath(), Dir: info.IsDir(), Size: info.Size(), Time: info.ModTime()})
	}
	// Folders first, of which the newest version is what most people look for.
	slices.SortStableFunc(entries, func(a, b entry) int {
		switch {
		case a.Dir != b.Dir && a.Dir:
			return -1
		case a.Dir != b.Dir:
			return 1
		case a.Dir:
			return b.Time.Compare(a.Time)
		}
		return strings.Compare(a.Name, b.Name)
	})
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if r.Method == http.MethodHead {
		return nil
	}
	title := "/"
	if dir != "." {
		title += dir + "/"
	}
	return h.page.Execute(w, map[string]any{"Title": title, "Up": dir != ".", "Entries": entries})
}

// size is a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, prefix := float64(n)/unit, 0
	for f >= unit && prefix < 3 {
		f /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGT"[prefix])
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
