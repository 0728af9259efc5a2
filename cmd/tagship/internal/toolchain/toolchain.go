// Package toolchain makes an image to build Go programs in, from the Go tree of
// this machine on an empty base, for where no registry offers one.
package toolchain

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const goroot = "/usr/local/go" // in the image, as in the official one

// Push makes the image and pushes it under ref. The image has no shell: a recipe
// whose commands are simple needs none.
func Push(ctx context.Context, ref string) error {
	tree, err := goTree(ctx)
	if err != nil {
		return err
	}
	target, err := name.ParseReference(ref)
	if err != nil {
		return fmt.Errorf("name of the toolchain image: %w", err)
	}
	layer, remove, err := layerOf(tree)
	if err != nil {
		return fmt.Errorf("pack the Go tree %s: %w", tree, err)
	}
	defer remove()
	image, err := imageOf(layer)
	if err != nil {
		return fmt.Errorf("make the toolchain image: %w", err)
	}
	if err := remote.Write(target, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push the toolchain image %s: %w", ref, err)
	}
	return nil
}

func goTree(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find the Go tree by 'go env GOROOT': %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func imageOf(layer v1.Layer) (v1.Image, error) {
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	if err != nil {
		return nil, err
	}
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	return mutate.ConfigFile(image, withConfig(image))
}

func withConfig(image v1.Image) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil { // an image made in memory always has one
		config = &v1.ConfigFile{}
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Env = []string{
		"PATH=" + goroot + "/bin:/usr/local/bin:/usr/bin:/bin",
		"HOME=/root", "GOPATH=/go", "GOTOOLCHAIN=local", "GOTELEMETRY=off",
	}
	config.Config.WorkingDir = "/"
	return config
}

// layerOf packs the tree, uncompressed: it goes to a registry next door.
func layerOf(tree string) (layer v1.Layer, remove func(), err error) {
	file, err := os.CreateTemp("", "tagship-toolchain-*.tar")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { _ = os.Remove(file.Name()) } // a leftover in the temporary folder does no harm
	sum := sha256.New()
	counted := &counter{}
	err = errors.Join(pack(tar.NewWriter(io.MultiWriter(file, sum, counted)), tree), file.Close())
	if err != nil {
		remove()
		return nil, nil, err
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	return &plainLayer{path: file.Name(), digest: digest, size: counted.n}, remove, nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// plainLayer is a layer in a file that is not compressed.
type plainLayer struct {
	path   string
	digest v1.Hash
	size   int64
}

func (l *plainLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *plainLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l *plainLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l *plainLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }
func (l *plainLayer) Size() (int64, error)                 { return l.size, nil }
func (l *plainLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }

// certificates are where machines keep the roots that a module proxy's
// certificate is checked against (the list of crypto/x509, root_linux.go).
func certificates() []string {
	return []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}
}

func pack(w *tar.Writer, tree string) error {
	for _, dir := range []string{"tmp", "root", "go", "etc", "etc/ssl", "etc/ssl/certs", "usr", "usr/local"} {
		mode := int64(0o755)
		if dir == "tmp" {
			mode = 0o1777
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode}); err != nil {
			return err
		}
	}
	for _, roots := range certificates() {
		if info, err := os.Stat(roots); err == nil {
			if err := packFile(w, roots, "etc/ssl/certs/ca-certificates.crt", info); err != nil {
				return err
			}
			break
		}
	}
	// The tree may be a link, which WalkDir would not enter.
	resolved, err := filepath.EvalSymlinks(tree)
	if err != nil {
		return err
	}
	err = filepath.WalkDir(resolved, func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(resolved, p)
		if err != nil {
			return err
		}
		return packEntry(w, p, filepath.ToSlash(relative), entry)
	})
	if err != nil {
		return err
	}
	return w.Close()
}

func packEntry(w *tar.Writer, p, relative string, entry fs.DirEntry) error {
	if !needed(relative, entry.IsDir()) {
		if entry.IsDir() {
			return filepath.SkipDir
		}
		return nil
	}
	to := path.Join(strings.TrimPrefix(goroot, "/"), relative)
	if entry.IsDir() {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: to + "/", Mode: 0o755})
	}
	info, err := os.Stat(p)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	return packFile(w, p, to, info)
}

// needed leaves out what no build reads: tests, documents, and the tree's own history.
func needed(relative string, dir bool) bool {
	top, _, _ := strings.Cut(relative, "/")
	switch {
	case relative == ".":
		return true
	case dir && (path.Base(relative) == "testdata" || path.Base(relative) == ".git"):
		return false
	case !dir && strings.HasSuffix(relative, "_test.go"):
		return false
	}
	return slices.Contains([]string{"bin", "pkg", "src", "lib", "VERSION", "go.env"}, top)
}

func packFile(w *tar.Writer, from, to string, info fs.FileInfo) error {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer file.Close()
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: to, Mode: mode, Size: info.Size(), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = io.Copy(w, file)
	return err
}
