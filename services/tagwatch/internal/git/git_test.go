package git

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap/zaptest"
)

// upstream is a real repository that the tests push to.
type upstream struct {
	t    *testing.T
	path string
}

func newUpstream(t *testing.T, initArgs ...string) *upstream {
	t.Helper()
	u := &upstream{t: t, path: filepath.Join(t.TempDir(), "web.git")}
	if err := os.MkdirAll(u.path, 0o755); err != nil {
		t.Fatal(err)
	}
	u.git(append([]string{"init", "--quiet", "--initial-branch=main"}, initArgs...)...)
	return u
}

// git runs git in the repository with a fixed identity and time.
func (u *upstream) git(args ...string) string {
	u.t.Helper()
	cmd := exec.CommandContext(u.t.Context(), "git", args...)
	cmd.Dir = u.path
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z",
		"GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		u.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (u *upstream) write(name, text string) {
	u.t.Helper()
	path := filepath.Join(u.path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		u.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		u.t.Fatal(err)
	}
}

// commit commits everything and returns the commit.
func (u *upstream) commit(message string) string {
	u.t.Helper()
	u.git("add", "--all")
	u.git("commit", "--quiet", "--allow-empty", "--message", message)
	return u.git("rev-parse", "HEAD")
}

func open(t *testing.T, address string, change func(*Settings)) *repository {
	t.Helper()
	parsed, err := ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	return openAddress(t, parsed, change)
}

func openAddress(t *testing.T, address Address, change func(*Settings)) *repository {
	t.Helper()
	program, err := FindProgram()
	if err != nil {
		t.Fatal(err)
	}
	s := Settings{Program: program, DataDir: t.TempDir(), Timeout: time.Minute, Parallel: 2, MaxArchive: 1 << 30}
	if change != nil {
		change(&s)
	}
	host, err := Open(s, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	repo, err := host.Add(address)
	if err != nil {
		t.Fatal(err)
	}
	return host.repositories[repo.Name]
}

func listTags(t *testing.T, r *repository) map[string]string {
	t.Helper()
	listing, err := r.list(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	commits := map[string]string{}
	for _, tag := range listing.Tags {
		commits[tag.Name] = tag.Commit
	}
	return commits
}

type packed struct {
	digest string
	size   int64
	files  map[string]string // content by name; folders have none
	modes  map[string]int64
}

func archiveOf(t *testing.T, r *repository, tag watch.Tag) packed {
	t.Helper()
	a, err := r.archiveOf(t.Context(), tag)
	if err != nil {
		t.Fatalf("archive %s: %v", tag.Name, err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	zip, err := gzip.NewReader(a)
	if err != nil {
		t.Fatal(err)
	}
	p := packed{digest: a.Digest, size: a.Size, files: map[string]string{}, modes: map[string]int64{}}
	for files := tar.NewReader(zip); ; {
		file, err := files.Next()
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if file.Typeflag == tar.TypeReg {
			p.files[file.Name] = string(text)
			p.modes[file.Name] = file.Mode
		}
	}
}

func TestTagsArePeeled(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	if got := listTags(t, open(t, u.path, nil)); len(got) != 0 {
		t.Errorf("an empty repository has the tags %v", got)
	}
	first := u.commit("first")
	u.git("tag", "light")
	u.git("tag", "-a", "-m", "annotated", "annotated")
	u.git("tag", "-a", "-m", "nested", "nested", "annotated")
	second := u.commit("second")
	u.git("tag", "web/v1.0.0")
	u.write("blob", "x")
	blob := u.git("hash-object", "-w", "blob")
	u.git("tag", "blob", blob)
	tree := u.git("rev-parse", "HEAD^{tree}")
	u.git("tag", "-a", "-m", "a tree", "tree", tree)
	want := map[string]string{"light": first, "annotated": first, "nested": first, "web/v1.0.0": second, "blob": blob, "tree": tree}

	r := open(t, "file://"+u.path, nil)
	if diff := cmp.Diff(want, listTags(t, r)); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	for _, name := range []string{"light", "annotated", "nested", "web/v1.0.0"} {
		archiveOf(t, r, watch.Tag{Name: name, Commit: want[name]})
	}
	for name, kind := range map[string]string{"blob": "blob", "tree": "tree"} {
		_, err := r.archiveOf(t.Context(), watch.Tag{Name: name, Commit: want[name]})
		var unfit *watch.UnfitError
		if !errors.As(err, &unfit) || !strings.Contains(unfit.Reason, kind) {
			t.Errorf("archive of the tag on a %s: %v, expected an UnfitError that says so", kind, err)
		}
	}
}

func TestOddNamesAreSafe(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	commit := u.commit("first")
	names := []string{"v1#2", "a;b", "$(id)", "`id`", "v1%20", "-x", "--upload-pack=touch${IFS}pwned", "é✓", "refs/tags/v9", "HEAD", "\"q\"", "v1'2", "a&b|c>d", "@", "\xff\xfe"}
	for _, name := range names {
		u.git("update-ref", "refs/tags/"+name, commit)
	}
	r := open(t, u.path, nil)
	tags := listTags(t, r)
	digests := map[string]bool{}
	for _, name := range names {
		if tags[name] != commit {
			t.Errorf("tag %q is on %q, expected %s", name, tags[name], commit)
			continue
		}
		digests[archiveOf(t, r, watch.Tag{Name: name, Commit: commit}).digest] = true
	}
	if len(digests) != 1 {
		t.Errorf("one commit has %d archives", len(digests))
	}
}

func TestArchiveIsTheCommitByteForByte(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.write(".tagship.yaml", "build: {run: make}\n")
	u.write(".gitattributes", "secret.txt export-ignore\nversion.txt export-subst\n")
	u.write("secret.txt", "needed by the build")
	u.write("version.txt", "$Format:%D$")
	u.write("bin/run", "#!/bin/sh\n")
	if err := os.Chmod(filepath.Join(u.path, "bin/run"), 0o700); err != nil {
		t.Fatal(err)
	}
	commit := u.commit("first")
	u.git("tag", "v1")
	tag := watch.Tag{Name: "v1", Commit: commit}
	first := archiveOf(t, open(t, u.path, nil), tag)
	want := map[string]string{
		".tagship.yaml":  "build: {run: make}\n",
		".gitattributes": "secret.txt export-ignore\nversion.txt export-subst\n",
		"secret.txt":     "needed by the build",
		"version.txt":    "$Format:%D$",
		"bin/run":        "#!/bin/sh\n",
	}
	if diff := cmp.Diff(want, first.files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if mode := first.modes["bin/run"]; mode != 0o755 {
		t.Errorf("bin/run has mode %o, expected 755", mode)
	}

	// Another cache, another tag on the commit, more of a history.
	u.git("tag", "v1-again")
	u.commit("second")
	u.git("tag", "v2")
	r := open(t, u.path, nil)
	archiveOf(t, r, watch.Tag{Name: "v2", Commit: u.git("rev-parse", "v2")})
	for _, name := range []string{"v1", "v1-again", "v1"} {
		if again := archiveOf(t, r, watch.Tag{Name: name, Commit: commit}); again.digest != first.digest || again.size != first.size {
			t.Errorf("the archive of %s is %s, %d bytes; it was %s, %d bytes", name, again.digest, again.size, first.digest, first.size)
		}
	}
	left, err := os.ReadDir(r.spool)
	if err != nil || len(left) != 0 {
		t.Errorf("%d files are left of the archives (%v)", len(left), err)
	}
}

func TestOnlyTheCommitIsFetched(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	for range 5 {
		u.commit("one of many")
	}
	u.git("tag", "v1")
	r := open(t, u.path, nil)
	archiveOf(t, r, watch.Tag{Name: "v1", Commit: u.git("rev-parse", "HEAD")})
	count := exec.CommandContext(t.Context(), "git", "--git-dir", filepath.Join(r.folder, "sha1.git"), "rev-list", "--count", newest)
	out, err := count.Output()
	if err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Errorf("the cache has %s commits (%v), expected 1", strings.TrimSpace(string(out)), err)
	}
}

func TestSHA256Repository(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, "--object-format=sha256")
	u.write("a", "a")
	commit := u.commit("first")
	u.git("tag", "v1")
	r := open(t, u.path, nil)
	if got := listTags(t, r)["v1"]; got != commit || len(got) != 64 {
		t.Errorf("v1 is on %s, expected %s", got, commit)
	}
	archiveOf(t, r, watch.Tag{Name: "v1", Commit: commit})
}

func TestSubmodulesAreRefused(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	first := u.commit("first")
	u.git("update-index", "--add", "--cacheinfo", "160000,"+first+",vendor/lib")
	u.git("commit", "--quiet", "--message", "with a submodule")
	u.git("tag", "v1")
	_, err := open(t, u.path, nil).archiveOf(t.Context(), watch.Tag{Name: "v1", Commit: u.git("rev-parse", "HEAD")})
	var unfit *watch.UnfitError
	if !errors.As(err, &unfit) || !strings.Contains(unfit.Reason, "vendor/lib is a submodule") {
		t.Errorf("got %v, expected an UnfitError that names vendor/lib", err)
	}
}

func TestTooLongAnArchiveIsRefused(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	var random bytes.Buffer
	for i := range 200_000 {
		random.WriteByte(byte(i * i * 2654435761 >> 13))
	}
	u.write("big", random.String())
	commit := u.commit("big")
	u.git("tag", "v1")
	r := open(t, u.path, func(s *Settings) { s.MaxArchive = 200 })
	_, err := r.archiveOf(t.Context(), watch.Tag{Name: "v1", Commit: commit})
	var unfit *watch.UnfitError
	if !errors.As(err, &unfit) {
		t.Errorf("got %v, expected an UnfitError", err)
	}
	if left, err := os.ReadDir(r.spool); err != nil || len(left) != 0 {
		t.Errorf("%d files are left of the archive (%v)", len(left), err)
	}
}

func TestBrokenCacheIsMadeAnew(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, cache string){
		"objects lost": func(t *testing.T, cache string) {
			for _, folder := range []string{"objects"} {
				if err := os.RemoveAll(filepath.Join(cache, folder)); err != nil {
					t.Fatal(err)
				}
				for _, sub := range []string{"objects/info", "objects/pack"} {
					if err := os.MkdirAll(filepath.Join(cache, sub), 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
		},
		"HEAD lost": func(t *testing.T, cache string) {
			if err := os.Remove(filepath.Join(cache, "HEAD")); err != nil {
				t.Fatal(err)
			}
		},
		"zeros in every object": func(t *testing.T, cache string) {
			err := filepath.WalkDir(filepath.Join(cache, "objects"), func(path string, entry os.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				info, err := entry.Info()
				if err != nil {
					return err
				}
				return errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, make([]byte, info.Size()), 0o644))
			})
			if err != nil {
				t.Fatal(err)
			}
		},
		"locks left behind": func(t *testing.T, cache string) {
			if err := os.WriteFile(filepath.Join(cache, "shallow.lock"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t)
			u.write("a", "a")
			first := watch.Tag{Name: "v1", Commit: u.commit("first")}
			u.git("tag", "v1")
			u.write("a", "b")
			second := watch.Tag{Name: "v2", Commit: u.commit("second")}
			u.git("tag", "v2")
			r := open(t, u.path, nil)
			before := archiveOf(t, r, first)
			damage(t, filepath.Join(r.folder, "sha1.git"))
			archiveOf(t, r, second)
			if after := archiveOf(t, r, first); after.digest != before.digest {
				t.Errorf("the archive is %s, it was %s", after.digest, before.digest)
			}
		})
	}
}

func TestTheCommitCountsNotTheTag(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.write("a", "first")
	first := u.commit("first")
	u.git("tag", "v1")
	tag := watch.Tag{Name: "v1", Commit: first}
	before := archiveOf(t, open(t, u.path, nil), tag)
	u.write("a", "second")
	u.commit("second")
	u.git("tag", "--force", "v1")
	for name, change := range map[string]func(){
		"moved": func() {},
		"gone":  func() { u.git("tag", "--delete", "v1") },
	} {
		change()
		if now := archiveOf(t, open(t, u.path, nil), tag); now.digest != before.digest || now.files["a"] != "first" {
			t.Errorf("%s: the archive is %s with %q, it was %s", name, now.digest, now.files["a"], before.digest)
		}
	}
	_, err := open(t, u.path, nil).archiveOf(t.Context(), watch.Tag{Name: "v1", Commit: strings.Repeat("a", 40)})
	var unfit *watch.UnfitError
	if err == nil || !strings.Contains(err.Error(), "the tag moved or is gone meanwhile") || errors.As(err, &unfit) {
		t.Errorf("got %v, expected an error that may pass and says that the tag moved", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	commit := u.commit("first")
	u.git("tag", "v1")
	u.git("tag", "-a", "-m", "annotated", "web/v1")
	u.git("branch", "refs/tags/v2")
	r := open(t, u.path, nil)
	for name, want := range map[string]watch.Tag{
		"v1":     {Name: "v1", Object: commit, Commit: commit},
		"web/v1": {Name: "web/v1", Object: u.git("rev-parse", "web/v1"), Commit: commit},
	} {
		got, err := r.find(t.Context(), name)
		if err != nil || got != want {
			t.Errorf("found %+v, %v; expected %+v", got, err, want)
		}
	}
	for _, name := range []string{"v", "v2", "v*", "v?", "[v]1", "", "v1^{}", "v1^0", "../heads/main", "--upload-pack=x"} {
		if got, err := r.find(t.Context(), name); !errors.Is(err, watch.ErrNoTag) {
			t.Errorf("%q: found %+v, %v; expected no tag", name, got, err)
		}
	}
	if _, err := open(t, u.path+"/nowhere", nil).find(t.Context(), "v1"); err == nil || errors.Is(err, watch.ErrNoTag) {
		t.Errorf("looked up a tag where no repository is: %v, expected another error than that there is no tag", err)
	}
}

// serveHTTP serves the folder of a repository as git servers do, and asks for
// credentials if there are any.
func serveHTTP(t *testing.T, u *upstream, user, password string) *httptest.Server {
	t.Helper()
	core, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(core)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + filepath.Dir(u.path), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gotUser, gotPassword, _ := r.BasicAuth(); gotUser != user || gotPassword != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you, "+gotUser+" with "+gotPassword+"?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestOverHTTP(t *testing.T) {
	t.Parallel()
	const password = "pa'ss $(id) \"word\" 100%"
	u := newUpstream(t)
	u.write("a", "a")
	commit := u.commit("first")
	u.git("tag", "v1")
	server := serveHTTP(t, u, "ann", password)
	tag := watch.Tag{Name: "v1", Commit: commit}

	address, err := ParseAddress(server.URL + "/web.git/.git")
	if err != nil {
		t.Fatal(err)
	}
	address, err = address.WithCredentials("ann", password)
	if err != nil {
		t.Fatal(err)
	}
	r := openAddress(t, address, nil)
	if diff := cmp.Diff(map[string]string{"v1": commit}, listTags(t, r)); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if local := archiveOf(t, open(t, u.path, nil), tag); archiveOf(t, r, tag).digest != local.digest {
		t.Error("the archive fetched over http differs from the one fetched from the folder")
	}
	for _, text := range []string{r.address.String(), r.configText(), address.String()} {
		if strings.Contains(text, password) {
			t.Errorf("the password is in %q", text)
		}
	}

	t.Run("wrong password", func(t *testing.T) {
		wrong, err := address.WithCredentials("ann", "hunter2hunter2")
		if err != nil {
			t.Fatal(err)
		}
		_, err = openAddress(t, wrong, nil).list(t.Context(), "")
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "check git_user and git_password") {
			t.Errorf("got %v, expected advice and no password", err)
		}
	})
	t.Run("no credentials", func(t *testing.T) {
		_, err := open(t, server.URL+"/web.git/.git", nil).list(t.Context(), "")
		if err == nil || !strings.Contains(err.Error(), "set git_user and git_password") {
			t.Errorf("got %v, expected advice", err)
		}
	})
	t.Run("redirect to another host", func(t *testing.T) {
		var seen []string
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen = append(seen, r.Header.Get("Authorization"))
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
		}))
		defer other.Close()
		redirect := httptest.NewServer(http.RedirectHandler(other.URL+"/web.git/info/refs?service=git-upload-pack", http.StatusFound))
		defer redirect.Close()
		elsewhere, err := ParseAddress(redirect.URL + "/web.git")
		if err != nil {
			t.Fatal(err)
		}
		elsewhere, err = elsewhere.WithCredentials("ann", password)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openAddress(t, elsewhere, nil).list(t.Context(), ""); err == nil {
			t.Error("listed the tags of a server that refuses everybody")
		}
		if strings.Join(seen, "") != "" {
			t.Errorf("the other host was sent %q", seen)
		}
	})
}

func TestFailuresSayWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := open(t, filepath.Join(t.TempDir(), "nowhere.git"), nil).list(t.Context(), "")
	var failure *Error
	if !errors.As(err, &failure) || !strings.Contains(err.Error(), "does not appear to be a git repository") || !strings.Contains(err.Error(), "check repo") {
		t.Errorf("got %v, expected an Error with the reason and advice", err)
	}
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(hang)
	_, err = open(t, server.URL+"/web.git", func(s *Settings) { s.Timeout = 200 * time.Millisecond }).list(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), "took longer than 200ms") {
		t.Errorf("got %v, expected a timeout", err)
	}
}

func TestNoProtocolRunsAProgram(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	if _, err := ParseAddress("ext::sh -c touch% " + mark); err == nil {
		t.Error("accepted an address with a program in it")
	}
	// Even if one got through, git would refuse it.
	r := openAddress(t, Address{url: "ext::touch " + mark, name: "ext"}, nil)
	if _, err := r.list(t.Context(), ""); err == nil {
		t.Error("git ran the program of an address")
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the program of an address ran")
	}
}

func TestOpenRemovesUnfinishedArchives(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	left := filepath.Join(data, "spool", "archive-1")
	if err := os.MkdirAll(filepath.Dir(left), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Settings{DataDir: data}, zaptest.NewLogger(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there (%v)", err)
	}
}
