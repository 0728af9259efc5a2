package buildtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"go.uber.org/zap"
)

// Registry is an OCI registry that a Docker engine on this machine can pull from.
type Registry struct {
	Host string

	web    *httptest.Server
	folder string
	pulled []string
}

// NewRegistry starts a registry, which is to be closed.
func NewRegistry() (*Registry, error) {
	folder, err := os.MkdirTemp("", "buildtest-")
	if err != nil {
		return nil, err
	}
	web := httptest.NewServer(registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(folder)), registry.Logger(zap.NewStdLog(zap.NewNop()))))
	return &Registry{Host: strings.TrimPrefix(web.URL, "http://"), web: web, folder: folder}, nil
}

// Stop stops answering.
func (r *Registry) Stop() { r.web.Close() }

// Close stops the registry and removes its toolchains from the engine.
func (r *Registry) Close() error {
	r.web.Close()
	if err := os.RemoveAll(r.folder); err != nil {
		return err
	}
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return err
	}
	for _, reference := range r.pulled {
		if _, err := engine.ImageRemove(context.Background(), reference, image.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return engine.Close()
}

// Engine connects to the Docker engine. Without one the test is skipped, or
// fails where CI is set.
func Engine(t *testing.T) *client.Client {
	t.Helper()
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err == nil {
		_, err = engine.Ping(t.Context())
	}
	if err == nil {
		t.Cleanup(func() { _ = engine.Close() }) // only idle connections
		return engine
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("a Docker engine is needed: %v", err)
	}
	t.Skipf("no Docker engine answers: %v", err)
	return nil
}

// Push pushes an image of one layer, whose content write writes, and returns its reference.
func (r *Registry) Push(ctx context.Context, repository string, config v1.Config, write func(*tar.Writer) error) (string, error) {
	reference := r.Host + "/" + repository + ":1"
	ref, err := name.ParseReference(reference)
	if err != nil {
		return "", err
	}
	content, err := os.CreateTemp(r.folder, "layer-")
	if err != nil {
		return "", err
	}
	w := tar.NewWriter(content)
	if err := write(w); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	if err := content.Close(); err != nil {
		return "", err
	}
	layer, err := tarball.LayerFromFile(content.Name(), tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return "", err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return "", err
	}
	file := &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: config}
	if file.RootFS, err = rootFS(image); err != nil {
		return "", err
	}
	if image, err = mutate.ConfigFile(image, file); err != nil {
		return "", err
	}
	r.pulled = append(r.pulled, reference)
	return reference, remote.Write(ref, image, remote.WithContext(ctx))
}

func rootFS(image v1.Image) (v1.RootFS, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return v1.RootFS{}, err
	}
	return file.RootFS, nil
}

// PushGo pushes a toolchain of this machine's Go and nothing else: no shell, no user, no libraries.
func (r *Registry) PushGo(ctx context.Context) (string, error) {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go: %w", err)
	}
	root := strings.TrimSpace(string(goroot))
	tools := "pkg/tool/linux_" + runtime.GOARCH
	config := v1.Config{Env: []string{"PATH=/usr/local/go/bin", "GOROOT=/usr/local/go", "TOOLCHAIN=go"}}
	return r.Push(ctx, "toolchain/go", config, func(w *tar.Writer) error {
		if err := addFile(w, root, "go.env"); err != nil {
			return err
		}
		for _, name := range []string{"VERSION", "bin/go", tools + "/compile", tools + "/link", tools + "/asm", "pkg/include", "src"} {
			if err := addGo(w, root, name); err != nil {
				return err
			}
		}
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777})
	})
}

func addGo(w *tar.Writer, root, name string) error {
	return filepath.WalkDir(filepath.Join(root, name), func(file string, entry fs.DirEntry, err error) error {
		relative, relErr := filepath.Rel(root, file)
		switch {
		case err != nil:
			return err
		case relErr != nil:
			return relErr
		case entry.IsDir() && (entry.Name() == "testdata" || relative == "src/cmd"):
			return fs.SkipDir
		case entry.IsDir() || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		return addFile(w, root, relative)
	})
}

func addFile(w *tar.Writer, root, relative string) error {
	content, err := os.ReadFile(filepath.Join(root, relative))
	if err != nil {
		return err
	}
	return put(w, path.Join("usr/local/go", filepath.ToSlash(relative)), content)
}

func put(w *tar.Writer, name string, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content)), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err := io.Copy(w, bytes.NewReader(content))
	return err
}

// PushShell pushes a toolchain of this machine's shell and a few programs, with the libraries they need.
func (r *Registry) PushShell(ctx context.Context) (string, error) {
	libraries := regexp.MustCompile(`/\S+`)
	return r.Push(ctx, "toolchain/shell", v1.Config{Env: []string{"PATH=/bin", "GREETING=hello from the toolchain"}}, func(w *tar.Writer) error {
		done := map[string]bool{}
		for _, program := range []string{"sh", "cat", "touch", "sleep", "mkdir", "ln", "env", "head"} {
			file, err := exec.LookPath(program)
			if err != nil {
				return err
			}
			linked, err := exec.CommandContext(ctx, "ldd", file).Output()
			if err != nil {
				return fmt.Errorf("find the libraries of %s: %w", file, err)
			}
			targets := map[string]string{"bin/" + program: file}
			for _, line := range strings.Split(string(linked), "\n") {
				if library := libraries.FindString(line); library != "" {
					targets[strings.TrimPrefix(library, "/")] = library
				}
			}
			for target, source := range targets {
				if done[target] {
					continue
				}
				done[target] = true
				content, err := os.ReadFile(source)
				if err != nil {
					return err
				}
				if err := put(w, target, content); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
