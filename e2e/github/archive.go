package github

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// archivePath is where the archive host has an archive: the repository and the revision.
var archivePath = regexp.MustCompile(`^/([^/]+/[^/]+)/legacy\.tar\.gz/(.+)$`)

// archiveLink sends the client to the archive host.
func archiveLink(c *call, r *Repo) answer {
	rev := c.PathValue("ref")
	o := r.resolve(rev)
	if o == nil || o.peel().Type != TypeCommit {
		return notFound()
	}
	switch refs := r.visible(); {
	case rev == "":
		rev = defaultBranch
	case refs["refs/tags/"+rev] != nil:
		rev = "refs/tags/" + rev
	case refs["refs/heads/"+rev] != nil:
		rev = "refs/heads/" + rev
	}
	path := "/" + r.fullName() + "/legacy.tar.gz/" + rev
	link := c.sim.codeload + path
	if r.private {
		link += "?token=" + c.sim.linkToken(path, c.sim.now().Add(c.sim.opts.LinkLife))
	}
	a := ok(nil)
	a.status = http.StatusFound
	a.raw = []byte{}
	a.header.Set("Location", link)
	a.header.Set("Content-Type", "text/html;charset=utf-8")
	return a
}

// linkToken lets whoever has it fetch an archive until a time.
func (s *Sim) linkToken(path string, until time.Time) string {
	text := strconv.FormatInt(until.UnixNano(), 36)
	mac := hmac.New(sha256.New, []byte(s.codeload))
	mac.Write([]byte(path + " " + text))
	return text + "-" + hex.EncodeToString(mac.Sum(nil))[:24]
}

// validLink tells whether a token still opens a path.
func (s *Sim) validLink(path, token string) bool {
	text, _, _ := strings.Cut(token, "-")
	until, err := strconv.ParseInt(text, 36, 64)
	return err == nil && s.now().Before(time.Unix(0, until)) && hmac.Equal([]byte(token), []byte(s.linkToken(path, time.Unix(0, until))))
}

// serveArchive is the archive host.
func (s *Sim) serveArchive(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.counts.routes[RouteArchive]++
	n := s.counts.routes[RouteArchive]
	// Whoever asks is let in by the link alone; a secret that arrives is a leak to be counted.
	_, _ = s.authenticate(r, HostArchives)
	match := archivePath.FindStringSubmatch(r.URL.Path)
	name := ""
	if match != nil {
		name = match[1]
	}
	fault := s.fault(RouteArchive, name)
	var repo *Repo
	var commit *Object
	if match != nil {
		if repo = s.names[strings.ToLower(name)]; repo == nil {
			repo = s.former[strings.ToLower(name)]
		}
	}
	if repo != nil && (!repo.private || s.validLink(r.URL.Path, r.URL.Query().Get("token"))) {
		commit = repo.resolve(match[2])
	}
	memory, dir := false, ""
	if commit = peelCommit(commit); commit != nil {
		memory, dir = repo.memory, fmt.Sprintf("%s-%s-%s", repo.owner.Login, repo.name, commit.ID[:7])
	}
	s.mu.Unlock()

	a := answer{status: http.StatusNotFound, header: http.Header{}, raw: []byte("404: Not Found")}
	a.header.Set("Content-Type", "text/plain; charset=utf-8")
	switch {
	case fault.replaces():
		a = fault.answer("")
	case commit != nil:
		body, err := repo.archive(r.Context(), commit, dir, memory, n)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		a = answer{status: http.StatusOK, header: http.Header{}, raw: body}
		a.header.Set("Content-Type", "application/x-gzip")
		a.header.Set("Content-Disposition", "attachment; filename="+dir+".tar.gz")
		a.header.Set("ETag", `W/"`+commit.ID+commit.Target.ID[:24]+`"`)
	}
	s.write(w, r, a, fault)
}

// peelCommit is the commit that an object leads to; nil if there is none.
func peelCommit(o *Object) *Object {
	if o == nil || o.peel().Type != TypeCommit {
		return nil
	}
	return o.peel()
}

// archive makes an archive of the commit. No two are alike byte by byte, though
// their contents are.
func (r *Repo) archive(ctx context.Context, commit *Object, dir string, memory bool, n int) ([]byte, error) {
	var out bytes.Buffer
	zw, err := gzip.NewWriterLevel(&out, 1+n%9)
	if err != nil {
		return nil, err
	}
	zw.Comment = strconv.Itoa(n)
	if memory {
		err = commit.writeTar(tar.NewWriter(zw), dir)
	} else {
		var body []byte
		if body, err = r.gitArchive(ctx, commit, dir); err == nil {
			_, err = zw.Write(body)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// gitArchive has git make a tar, which knows of attributes.
func (r *Repo) gitArchive(ctx context.Context, commit *Object, dir string) ([]byte, error) {
	path, err := r.onDisk(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "git", "--git-dir", path, "-c", "safe.directory=*", "archive", "--format=tar", "--prefix="+dir+"/", commit.ID)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	body, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git archive: %w: %s", err, problems.String())
	}
	return body, nil
}

// writeTar writes the commit's files as git archive does, attributes aside.
func (o *Object) writeTar(tw *tar.Writer, dir string) error {
	global := &tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": o.ID}}
	if err := tw.WriteHeader(global); err != nil {
		return err
	}
	if err := o.Target.writeTree(tw, dir, o.Date); err != nil {
		return err
	}
	return tw.Close()
}

func (o *Object) writeTree(tw *tar.Writer, dir string, at time.Time) error {
	header := func(name string, kind byte, mode int64, size int, link string) error {
		return tw.WriteHeader(&tar.Header{
			Name: name, Typeflag: kind, Mode: mode, Size: int64(size), Linkname: link,
			ModTime: at, Uname: "root", Gname: "root", Format: tar.FormatPAX,
		})
	}
	if err := header(dir+"/", tar.TypeDir, 0o775, 0, ""); err != nil {
		return err
	}
	for _, e := range o.entries {
		path := filepath.ToSlash(filepath.Join(dir, e.name))
		var err error
		switch e.mode {
		case "40000":
			err = e.object.writeTree(tw, path, at)
		case "160000":
			err = header(path+"/", tar.TypeDir, 0o775, 0, "")
		case "120000":
			err = header(path, tar.TypeSymlink, 0o777, 0, e.object.content)
		default:
			mode := int64(0o664)
			if e.mode == "100755" {
				mode = 0o775
			}
			if err = header(path, tar.TypeReg, mode, len(e.object.content), ""); err == nil {
				_, err = tw.Write([]byte(e.object.content))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
