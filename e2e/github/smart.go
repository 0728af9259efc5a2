package github

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// serveGit answers git's requests about a repository.
func (s *Sim) serveGit(w http.ResponseWriter, r *http.Request, name, what string) {
	body, err := readGit(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.counts.routes[RouteGit]++
	token, authErr := s.authenticate(r, HostGit)
	fault := s.fault(RouteGit, name)
	repo := s.names[strings.ToLower(name)]
	if repo == nil {
		repo = s.former[strings.ToLower(name)]
	}
	readable := false
	if repo != nil {
		visible, _ := token.sees(repo)
		readable = visible && (!repo.private || token.may("contents", "read"))
	}
	v2 := !s.opts.ProtocolV0 && strings.Contains(r.Header.Get("Git-Protocol"), "version=2")
	var quick []byte
	if readable && repo.memory && v2 {
		quick = repo.quickRefs(what, body)
	}
	s.mu.Unlock()
	s.delay(r)

	switch {
	case fault != nil && fault.Reset:
		reset(w)
	case fault != nil && fault.Hang:
		s.hang(r)
		reset(w)
	case fault.replaces():
		a := fault.answer(budgetOf(token))
		(&call{Request: r, sim: s}).finishGit(w, a)
	case what == "git-receive-pack" || r.URL.Query().Get("service") == "git-receive-pack":
		http.Error(w, "Write access to repository not granted.", http.StatusForbidden)
	case authErr != nil || !readable && token == nil:
		w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		http.Error(w, "Repository not found.", http.StatusUnauthorized)
	case !readable:
		http.Error(w, "Repository not found.", http.StatusNotFound)
	case quick != nil:
		kind := "application/x-git-upload-pack-result"
		if what == "info/refs" {
			kind = "application/x-git-upload-pack-advertisement"
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(quick) // if it fails, the client is gone
	default:
		s.runGit(w, r, repo, what, body, v2)
	}
}

// finishGit writes what a fault answers to git.
func (c *call) finishGit(w http.ResponseWriter, a answer) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.raw) // if it fails, the client is gone
}

// readGit reads what git sends, which may be compressed.
func readGit(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(r.Body)
	}
	zr, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(zr)
}

// runGit has git itself answer.
func (s *Sim) runGit(w http.ResponseWriter, r *http.Request, repo *Repo, what string, body []byte, v2 bool) {
	dir, err := repo.onDisk(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	git, err := exec.LookPath("git")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	protocol := ""
	if v2 {
		protocol = r.Header.Get("Git-Protocol")
	}
	in := r.Clone(r.Context())
	in.URL.Path = "/" + filepath.Base(dir) + "/" + what
	in.Body, in.ContentLength, in.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	for _, name := range []string{"Content-Encoding", "Git-Protocol", "Authorization"} {
		in.Header.Del(name)
	}
	handler := &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Root: "/", Dir: s.opts.Dir, Stderr: io.Discard,
		Env: []string{
			"GIT_PROJECT_ROOT=" + s.opts.Dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_PROTOCOL=" + protocol, "GIT_CONFIG_NOSYSTEM=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
	handler.ServeHTTP(w, in)
}

// diskConfig lets clients fetch any commit by its ID, as GitHub does.
const diskConfig = `[core]
	repositoryformatversion = 0
	bare = true
[uploadpack]
	allowAnySHA1InWant = true
	allowFilter = true
`

// onDisk brings git's copy of the repository up to date, and returns its folder.
func (r *Repo) onDisk(ctx context.Context) (string, error) {
	d := &r.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	dir := filepath.Join(r.sim.opts.Dir, strconv.FormatInt(r.id, 10)+".git")
	r.sim.mu.Lock()
	var fresh []*Object
	for id, o := range r.objects {
		if !d.written[id] {
			fresh = append(fresh, o)
		}
	}
	refs := packedRefs(r.visible())
	r.sim.mu.Unlock()
	if d.written == nil {
		d.written = map[string]bool{}
		for _, sub := range []string{"objects", "refs/heads", "refs/tags"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				return "", err
			}
		}
		for name, text := range map[string]string{"HEAD": "ref: " + defaultBranch + "\n", "config": diskConfig} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				return "", err
			}
		}
	}
	for _, o := range fresh {
		if err := o.write(dir); err != nil {
			return "", err
		}
		d.written[o.ID] = true
	}
	if d.refs == refs {
		return dir, nil
	}
	// A git that reads it meanwhile must not see half of it.
	next := filepath.Join(dir, "packed-refs.new")
	if err := os.WriteFile(next, []byte(refs), 0o600); err != nil {
		return "", err
	}
	if err := os.Rename(next, filepath.Join(dir, "packed-refs")); err != nil {
		return "", err
	}
	d.refs = refs
	return dir, nil
}

// write stores the object as git does.
func (o *Object) write(dir string) error {
	path := filepath.Join(dir, "objects", o.ID[:2], o.ID[2:])
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var b bytes.Buffer
	zw := zlib.NewWriter(&b)
	if _, err := zw.Write(o.loose()); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}

// packedRefs is the file that git keeps refs in.
func packedRefs(refs map[string]*Object) string {
	var b strings.Builder
	b.WriteString("# pack-refs with: peeled fully-peeled sorted \n")
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		o := refs[name]
		fmt.Fprintf(&b, "%s %s\n", o.ID, name)
		if peeled := o.peel(); peeled != o {
			fmt.Fprintf(&b, "^%s\n", peeled.ID)
		}
	}
	return b.String()
}

// quickRefs answers version 2 of the protocol without git; nil if only git can.
func (r *Repo) quickRefs(what string, body []byte) []byte {
	var b bytes.Buffer
	line := func(text string) { fmt.Fprintf(&b, "%04x%s", len(text)+4, text) }
	if what == "info/refs" {
		line("# service=git-upload-pack\n")
		b.WriteString("0000")
		for _, text := range []string{"version 2\n", "agent=git/github\n", "ls-refs=unborn\n", "fetch=shallow wait-for-done filter\n", "server-option\n", "object-format=sha1\n"} {
			line(text)
		}
		b.WriteString("0000")
		return b.Bytes()
	}
	lines := packetLines(body)
	if len(lines) == 0 || lines[0] != "command=ls-refs" {
		return nil
	}
	var prefixes []string
	for _, text := range lines {
		if prefix, is := strings.CutPrefix(text, "ref-prefix "); is {
			prefixes = append(prefixes, prefix)
		}
	}
	wanted := func(name string) bool {
		return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	}
	refs := r.visible()
	if head := refs[defaultBranch]; head != nil && wanted("HEAD") {
		text := head.ID + " HEAD"
		if slices.Contains(lines, "symrefs") {
			text += " symref-target:" + defaultBranch
		}
		line(text + "\n")
	}
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		if !wanted(name) {
			continue
		}
		text := refs[name].ID + " " + name
		if peeled := refs[name].peel(); peeled != refs[name] && slices.Contains(lines, "peel") {
			text += " peeled:" + peeled.ID
		}
		line(text + "\n")
	}
	b.WriteString("0000")
	return b.Bytes()
}

// packetLines are the lines of a request of git, without what separates them.
func packetLines(body []byte) []string {
	var lines []string
	for len(body) >= 4 {
		size, err := strconv.ParseUint(string(body[:4]), 16, 16)
		if err != nil || int(size) > len(body) {
			return lines
		}
		if size < 4 {
			body = body[4:]
			continue
		}
		lines = append(lines, strings.TrimSuffix(string(body[4:size]), "\n"))
		body = body[size:]
	}
	return lines
}
