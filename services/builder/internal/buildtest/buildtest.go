// Package buildtest is what the builder's tests share: a small app in Go, its
// staged source, and jobs to compile it.
package buildtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/builder/internal/build"
)

// Commit is the commit of every version, and CommitTime its time.
const Commit = "0123456789abcdef0123456789abcdef01234567"

// CommitTime is the time of [Commit].
func CommitTime() time.Time { return time.Unix(1700000000, 0).UTC() }

// Program is the source of a program that needs nothing but the standard library.
func Program() map[string]string {
	return map[string]string{
		"go.mod": "module example.com/web\n\ngo 1.24\n",
		// No imports: all of them would be compiled anew in every test.
		"main.go":             "package main\n\nvar version = \"unknown\"\n\nfunc main() { println(\"web\", version) }\n",
		"vendor-data/list":    "data that seldom changes\n",
		"vendor-data/sub/too": "and more of it\n",
	}
}

// GoEnv keeps Go away from the network and from the builder's own settings.
func GoEnv() map[string]string {
	return map[string]string{"CGO_ENABLED": "0", "GOPROXY": "off", "GOFLAGS": "-mod=mod -buildvcs=false", "GOWORK": "off", "GOTOOLCHAIN": "local"}
}

// Recipe builds [Program] into an image of two layers.
func Recipe() events.Recipe {
	return events.Recipe{
		Build: events.Build{
			Run: events.Commands{`go build -trimpath -ldflags "-s -w -X main.version=$TAGSHIP_VERSION" -o out/web .`},
			Env: GoEnv(), Timeout: events.Duration(5 * time.Minute),
		},
		Image: &events.RecipeImage{
			Base: "scratch",
			Layers: []events.Layer{
				{Name: "middleware", Copy: map[string]string{"vendor-data/": "/srv/data/"}},
				{Name: "app", Copy: map[string]string{"out/web": "/usr/local/bin/web"}},
			},
			Entrypoint: []string{"/usr/local/bin/web"}, Env: map[string]string{"MODE": "live"}, User: "65532", Workdir: "/srv",
		},
		Deploy: &events.Deploy{Instances: 1, Health: events.Health{Within: events.Duration(time.Minute)}},
	}
}

// Archive makes a staged source of files, as git archive does.
func Archive(t testing.TB, files map[string]string) (archive []byte, digest string) {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: CommitTime()}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(out.Bytes())
	return out.Bytes(), "sha256:" + hex.EncodeToString(sum[:])
}

// Tree writes files into a folder of the test's own.
func Tree(t testing.TB, files map[string]string) *os.Root {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(content, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	return root
}

// Job runs commands over files, and is to make outputs.
func Job(t testing.TB, log *Log, files map[string]string, outputs []string, commands ...string) build.Job {
	t.Helper()
	env := GoEnv()
	maps.Copy(env, map[string]string{"TAGSHIP_APP": "web", "TAGSHIP_VERSION": "v1.2.3", "TAGSHIP_COMMIT": Commit})
	return build.Job{App: "web", Version: "v1.2.3", Commands: commands, Env: env, Timeout: 5 * time.Minute, Tree: Tree(t, files), Outputs: outputs, Log: log}
}

// Log keeps what is written to it. Its zero value is ready for use.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is what was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
