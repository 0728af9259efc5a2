package oci_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/builder/internal/build"
	"github.com/tagship/tagship/services/builder/internal/buildtest"
	"github.com/tagship/tagship/services/builder/internal/oci"
)

// server is a registry that notes what is asked of it.
type server struct {
	host string

	mu    sync.Mutex
	calls []string
	login string // user:password that is demanded
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	handler := registry.New()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls = append(s.calls, r.Method+" "+r.URL.Path)
		login := s.login
		s.mu.Unlock()
		user, password, _ := r.BasicAuth()
		if login != "" && user+":"+password != login {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	s.host = strings.TrimPrefix(web.URL, "http://")
	return s
}

// uploads counts the blobs that were sent since the last call.
func (s *server) uploads() (blobs, manifests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, call := range s.calls {
		switch {
		case strings.HasPrefix(call, "PUT ") && strings.Contains(call, "/blobs/uploads"):
			blobs++
		case strings.HasPrefix(call, "PUT ") && strings.Contains(call, "/manifests/"):
			manifests++
		}
	}
	s.calls = nil
	return blobs, manifests
}

func client(t *testing.T, o oci.Options) *oci.Registry {
	t.Helper()
	o.Layers = t.TempDir()
	if o.Platform == "" {
		o.Platform = "linux/amd64"
	}
	r, err := oci.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func identity(version string) build.Identity {
	return build.Identity{App: "web", Version: version, Commit: buildtest.Commit, Repo: "github.com/acme/web", Time: buildtest.CommitTime()}
}

func files(version string) map[string]string {
	all := buildtest.Program()
	all["out/web"] = "#!/bin/false " + version
	return all
}

func pull(t *testing.T, reference string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestImage(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := client(t, oci.Options{Registry: s.host + "/team"})
	pushed, err := r.PushImage(t.Context(), identity("v1.2.3+build/5"), *buildtest.Recipe().Image, buildtest.Tree(t, files("one")))
	if err != nil {
		t.Fatal(err)
	}
	if pushed.Repository != s.host+"/team/web" {
		t.Errorf("repository is %s", pushed.Repository)
	}
	image := pull(t, pushed.Repository+":v1.2.3_2Bbuild_2F5")
	if digest, err := image.Digest(); err != nil || digest.String() != pushed.Digest {
		t.Errorf("the tag names %s, error %v, expected %s", digest, err, pushed.Digest)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{
		"org.opencontainers.image.title": "web", "org.opencontainers.image.version": "v1.2.3+build/5", "org.opencontainers.image.revision": buildtest.Commit,
		"org.opencontainers.image.source": "github.com/acme/web", "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
	}
	want := v1.Config{Entrypoint: []string{"/usr/local/bin/web"}, Env: []string{"MODE=live"}, User: "65532", WorkingDir: "/srv", Labels: labels}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("config (-want +got)\n%s", diff)
	}
	if config.OS+"/"+config.Architecture != "linux/amd64" || !config.Created.Equal(buildtest.CommitTime()) {
		t.Errorf("image is for %s/%s, of %s", config.OS, config.Architecture, config.Created)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	got := [][]string{}
	for _, l := range layers {
		got = append(got, entries(t, l))
	}
	wantEntries := [][]string{
		{"755 srv/", "755 srv/data/", "644 srv/data/list", "755 srv/data/sub/", "644 srv/data/sub/too"},
		{"755 usr/", "755 usr/local/", "755 usr/local/bin/", "755 usr/local/bin/web"},
	}
	if diff := cmp.Diff(wantEntries, got); diff != "" {
		t.Errorf("entries (-want +got)\n%s", diff)
	}
}

func entries(t *testing.T, l v1.Layer) (all []string) {
	t.Helper()
	content, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	archive := tar.NewReader(content)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%o %s", header.Mode, header.Name))
	}
}

func TestSameInputSameDigest(t *testing.T) {
	t.Parallel()
	var digests []string
	for range 2 {
		s := newServer(t)
		root := buildtest.Tree(t, files("one"))
		age := time.Now().Add(-time.Duration(len(digests)) * time.Hour)
		if err := os.Chtimes(filepath.Join(root.Name(), "out/web"), age, age); err != nil {
			t.Fatal(err)
		}
		pushed, err := client(t, oci.Options{Registry: s.host}).PushImage(t.Context(), identity("v1"), *buildtest.Recipe().Image, root)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, pushed.Digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("the same input gave %s and %s", digests[0], digests[1])
	}
}

func TestUnchangedLayersAreNotSentAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := client(t, oci.Options{Registry: s.host})
	push := func(version, content string) {
		t.Helper()
		if _, err := r.PushImage(t.Context(), identity(version), *buildtest.Recipe().Image, buildtest.Tree(t, files(content))); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		version, content string
		blobs, manifests int
	}{
		{"v1", "one", 3, 2}, // two layers, the config; the manifest by digest and by tag
		{"v1", "one", 0, 0},
		{"v2", "two", 2, 2}, // the app's layer and the config
		{"v3", "two", 1, 2}, // the config
	} {
		push(step.version, step.content)
		if blobs, manifests := s.uploads(); blobs != step.blobs || manifests != step.manifests {
			t.Errorf("%s with %s sent %d blobs and %d manifests, expected %d and %d", step.version, step.content, blobs, manifests, step.blobs, step.manifests)
		}
	}
	// A registry that lost everything is filled again from what is known of the layers.
	lost := newServer(t)
	again := client(t, oci.Options{Registry: lost.host})
	for range 2 {
		if _, err := again.PushImage(t.Context(), identity("v1"), *buildtest.Recipe().Image, buildtest.Tree(t, files("one"))); err != nil {
			t.Fatal(err)
		}
	}
	layers, err := pull(t, lost.host+"/web:v1").Layers()
	if err != nil || len(layers) != 2 || len(entries(t, layers[1])) != 4 {
		t.Errorf("%d layers, error %v", len(layers), err)
	}
}

func TestLayersKnownFromBeforeAreCompressedForAnotherRegistry(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	for range 2 {
		s := newServer(t)
		r, err := oci.New(oci.Options{Registry: s.host, Platform: "linux/arm64", Layers: cache})
		if err != nil {
			t.Fatal(err)
		}
		pushed, err := r.PushImage(t.Context(), identity("v1"), *buildtest.Recipe().Image, buildtest.Tree(t, files("one")))
		if err != nil {
			t.Fatal(err)
		}
		layers, err := pull(t, pushed.Ref()).Layers()
		if err != nil || len(layers) != 2 || len(entries(t, layers[0])) != 5 {
			t.Errorf("%d layers, error %v", len(layers), err)
		}
	}
}

func TestTagIsMovedForTheSameCommitOnly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := client(t, oci.Options{Registry: s.host})
	recipe := *buildtest.Recipe().Image
	if _, err := r.PushImage(t.Context(), identity("v1"), recipe, buildtest.Tree(t, files("one"))); err != nil {
		t.Fatal(err)
	}
	moved, err := r.PushImage(t.Context(), identity("v1"), recipe, buildtest.Tree(t, files("two")))
	if err != nil {
		t.Fatalf("a build that was not recorded keeps its successor from the tag: %v", err)
	}
	other := identity("v1")
	other.Commit = strings.Repeat("f", 40)
	_, err = r.PushImage(t.Context(), other, recipe, buildtest.Tree(t, files("three")))
	var failure *build.Failure
	if !errors.As(err, &failure) || !strings.Contains(err.Error(), "/web:v1 is in the registry already") {
		t.Errorf("error is %v, expected a failure", err)
	}
	if digest, err := pull(t, s.host+"/web:v1").Digest(); err != nil || digest.String() != moved.Digest {
		t.Errorf("the tag names %s, error %v, expected %s", digest, err, moved.Digest)
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	base, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(s.host + "/base:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, base); err != nil {
		t.Fatal(err)
	}
	r := client(t, oci.Options{Registry: s.host})
	recipe := *buildtest.Recipe().Image
	recipe.Base = ref.String()
	pushed, err := r.PushImage(t.Context(), identity("v1"), recipe, buildtest.Tree(t, files("one")))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := pull(t, pushed.Ref()).Layers()
	if err != nil || len(layers) != 4 {
		t.Errorf("%d layers, error %v, expected 2 of the base and 2 of the app", len(layers), err)
	}
	for base, want := range map[string]string{s.host + "/none:1": "is not in its registry", "NOT a reference": "is not a reference"} {
		recipe.Base = base
		_, err := r.PushImage(t.Context(), identity("v1"), recipe, buildtest.Tree(t, files("one")))
		var failure *build.Failure
		if !errors.As(err, &failure) || !strings.Contains(err.Error(), want) {
			t.Errorf("base %s: error is %v, expected a failure with %q", base, err, want)
		}
	}
	recipe.Base = "127.0.0.1:1/base:1"
	var failure *build.Failure
	if _, err := r.PushImage(t.Context(), identity("v1"), recipe, buildtest.Tree(t, files("one"))); err == nil || errors.As(err, &failure) {
		t.Errorf("error is %v, expected one that may pass", err)
	}
}

// TestBaseBreaksOff has the connection end within the base's manifest.
func TestBaseBreaksOff(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Content-Length", "500")
			fmt.Fprint(w, "{")
		}
	}))
	t.Cleanup(web.Close)
	host := strings.TrimPrefix(web.URL, "http://")
	recipe := *buildtest.Recipe().Image
	recipe.Base = host + "/base:1"
	_, err := client(t, oci.Options{Registry: host}).PushImage(t.Context(), identity("v1"), recipe, buildtest.Tree(t, files("one")))
	var failure *build.Failure
	if err == nil || errors.As(err, &failure) {
		t.Errorf("error is %v, expected one that may pass", err)
	}
}

func TestImageFailures(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := client(t, oci.Options{Registry: s.host})
	root := buildtest.Tree(t, files("one"))
	base, err := r.PushImage(t.Context(), identity("v0"), *buildtest.Recipe().Image, root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(root.Name(), "etc")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		base string
		copy map[string]string
		want string
	}{
		"missing":                 {"", map[string]string{"out/none": "/x"}, "does not exist after the build"},
		"out of the tree":         {"", map[string]string{"etc/passwd": "/x"}, "cannot be read inside the source"},
		"a file as a folder":      {"", map[string]string{"out/web/": "/x"}, "is a file, not a folder"},
		"two to one path":         {"", map[string]string{"out/web": "/x", "go.mod": "/./x"}, "both go.mod and out/web are copied to /x"},
		"over a link of the base": {base.Ref(), map[string]string{"out/web": "/bin/web"}, "/bin is a symbolic link in many base images"},
	} {
		t.Run(name, func(t *testing.T) {
			recipe := events.RecipeImage{Base: test.base, Entrypoint: []string{"/x"}, Layers: []events.Layer{{Name: "app", Copy: test.copy}}}
			_, err := r.PushImage(t.Context(), identity("v1"), recipe, root)
			var failure *build.Failure
			if !errors.As(err, &failure) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, expected a failure with %q", err, test.want)
			}
		})
	}
}

func TestPackages(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := client(t, oci.Options{Registry: s.host})
	root := buildtest.Tree(t, map[string]string{"a.tar.gz": "content of a", "b.deb": "content of b"})
	var set []build.PackageFile
	for _, file := range []string{"a.tar.gz", "b.deb"} {
		content, err := root.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		hash, size, err := v1.SHA256(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		set = append(set, build.PackageFile{Package: events.Package{Name: file, Digest: hash.String(), Size: size}, Path: filepath.Join(root.Name(), file)})
	}
	pushed, err := r.PushPackages(t.Context(), identity("v1"), set)
	if err != nil {
		t.Fatal(err)
	}
	if blobs, manifests := s.uploads(); blobs != 3 || manifests != 2 || pushed.Repository != s.host+"/web/packages" {
		t.Errorf("sent %d blobs and %d manifests to %s", blobs, manifests, pushed.Repository)
	}
	ref, err := name.ParseReference(pushed.Repository + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	described, err := remote.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	golden := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},` +
		`"layers":[{"mediaType":"application/octet-stream","size":12,"digest":"` + set[0].Digest + `","annotations":{"org.opencontainers.image.title":"a.tar.gz"}},` +
		`{"mediaType":"application/octet-stream","size":12,"digest":"` + set[1].Digest + `","annotations":{"org.opencontainers.image.title":"b.deb"}}],` +
		`"annotations":{"org.opencontainers.image.created":"2023-11-14T22:13:20Z","org.opencontainers.image.revision":"` + buildtest.Commit + `",` +
		`"org.opencontainers.image.source":"github.com/acme/web","org.opencontainers.image.title":"web","org.opencontainers.image.version":"v1"},` +
		`"artifactType":"application/vnd.tagship.packages.v1"}`
	if diff := cmp.Diff(golden, string(described.Manifest)); diff != "" || described.Digest.String() != pushed.Digest {
		t.Errorf("manifest %s (-want +got)\n%s", described.Digest, diff)
	}
	blob, err := remote.Layer(ref.Context().Digest(set[1].Digest))
	if err != nil {
		t.Fatal(err)
	}
	content, err := blob.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(content); err != nil || string(text) != "content of b" {
		t.Errorf("the blob is %q, error %v, expected the file as it is", text, err)
	}
	if again, err := r.PushPackages(t.Context(), identity("v1"), set); err != nil || again != pushed {
		t.Errorf("pushed again as %v, error %v", again, err)
	}
	if blobs, _ := s.uploads(); blobs != 0 {
		t.Errorf("%d blobs were sent again", blobs)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.login = "robot:s3cret-password"
	good := client(t, oci.Options{Registry: s.host, User: "robot", Password: "s3cret-password"})
	if _, err := good.PushImage(t.Context(), identity("v1"), *buildtest.Recipe().Image, buildtest.Tree(t, files("one"))); err != nil {
		t.Error(err)
	}
	login, err := good.Login(t.Context(), s.host+"/toolchain:1")
	if err != nil || login.Username != "robot" || login.Password != "s3cret-password" {
		t.Errorf("login is %q, error %v", login.Username, err)
	}
	if elsewhere, err := good.Login(t.Context(), "registry.invalid/golang:1"); err != nil || elsewhere.Password != "" {
		t.Errorf("another registry is told user %q, error %v", elsewhere.Username, err)
	}
	bad := client(t, oci.Options{Registry: s.host, User: "robot", Password: "wrong-password"})
	var failure *build.Failure
	_, err = bad.PushImage(t.Context(), identity("v1"), *buildtest.Recipe().Image, buildtest.Tree(t, files("one")))
	if err == nil || errors.As(err, &failure) || strings.Contains(err.Error(), "wrong-password") {
		t.Errorf("error is %v, expected one that may pass and holds no password", err)
	}
}

func TestTagOf(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	for version, want := range map[string]string{
		"v1.2.3": "v1.2.3", "v1.2.3-rc.1": "v1.2.3-rc.1", "v1+b": "v1_2Bb", "release/1": "release_2F1", ".x": "_2Ex", "-x": "_2Dx", "1_2": "1_2", "é": "_C3_A9",
	} {
		if got := oci.TagOf(version); got != want {
			t.Errorf("%s became %s, expected %s", version, got, want)
		}
	}
	if a, b := oci.TagOf(long+"a"), oci.TagOf(long+"b"); a == b || len(a) != 128 {
		t.Errorf("long versions became %s and %s", a, b)
	}
}

func FuzzTagOf(f *testing.F) {
	f.Add("v1.2.3+x/y")
	f.Fuzz(func(t *testing.T, version string) {
		if events.CheckVersion(version) != nil {
			return
		}
		if _, err := name.NewTag("registry.invalid/web:"+oci.TagOf(version), name.StrictValidation); err != nil {
			t.Errorf("%q: %v", version, err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, o := range []oci.Options{{Registry: "not a host", Platform: "linux/amd64"}, {Registry: "h:5000/Upper", Platform: "linux/amd64"}, {Registry: "h:5000", Platform: "a/b/c/d"}} {
		if _, err := oci.New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
