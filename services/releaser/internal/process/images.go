package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"go.uber.org/zap"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/releaser/internal/release"
)

// Login is how to get into a registry.
type Login struct{ Username, Password string }

// Images are the unpacked images. Each is unpacked once, and removed when the
// last release that runs it has been replaced. Safe for concurrent use.
type Images struct {
	dir    string
	logins map[string]Login // by the registry's host
	log    *zap.Logger
	mu     sync.Mutex
	uses   map[string]*use
}

// use counts who uses an image, and lets only one unpack it.
type use struct {
	count  int
	unpack sync.Mutex
}

// image is an unpacked image.
type image struct {
	digest string
	root   string // the folder that holds its file system
	config v1.Config
}

const (
	rootFolder = "root"
	configFile = "config.json"
	newPrefix  = ".new-"
)

// NewImages keeps images in dir, and removes what a killed predecessor left half unpacked there.
func NewImages(dir string, logins map[string]Login, log *zap.Logger) (*Images, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("keep images: %w", err)
	}
	half, err := filepath.Glob(filepath.Join(dir, newPrefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("find half unpacked images: %w", err)
	}
	for _, folder := range half {
		if err := os.RemoveAll(folder); err != nil {
			return nil, fmt.Errorf("remove half unpacked image: %w", err)
		}
	}
	return &Images{dir: dir, logins: logins, log: log, uses: map[string]*use{}}, nil
}

// acquire unpacks an image unless that is done, and keeps it until it is released.
func (i *Images) acquire(ctx context.Context, wanted events.Image) (*image, error) {
	i.mu.Lock()
	u := i.uses[wanted.Digest]
	if u == nil {
		u = &use{}
		i.uses[wanted.Digest] = u
	}
	u.count++
	i.mu.Unlock()

	u.unpack.Lock()
	defer u.unpack.Unlock()
	unpacked, err := i.open(wanted.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		if err = i.fetch(ctx, wanted); err == nil {
			unpacked, err = i.open(wanted.Digest)
		}
	}
	if err != nil {
		i.release(wanted.Digest, false)
		return nil, err
	}
	return unpacked, nil
}

// release gives an image back, and removes it if nobody else uses it and remove is set.
func (i *Images) release(digest string, remove bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	u := i.uses[digest]
	if u.count--; u.count > 0 {
		return
	}
	delete(i.uses, digest)
	if !remove {
		return
	}
	// Renamed first, so that it is there either whole or not at all.
	going := filepath.Join(i.dir, newPrefix+"gone-"+hexOf(digest))
	err := os.Rename(i.folder(digest), going)
	if err == nil {
		err = os.RemoveAll(going)
	}
	if err != nil {
		i.log.Warn("an unpacked image is not removed", zap.String("digest", digest), zap.Error(err))
	}
}

func (i *Images) folder(digest string) string { return filepath.Join(i.dir, hexOf(digest)) }

func hexOf(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex
}

func (i *Images) open(digest string) (*image, error) {
	folder := i.folder(digest)
	text, err := os.ReadFile(filepath.Join(folder, configFile))
	if err != nil {
		return nil, fmt.Errorf("open unpacked image: %w", err)
	}
	unpacked := &image{digest: digest, root: filepath.Join(folder, rootFolder)}
	if err := json.Unmarshal(text, &unpacked.config); err != nil {
		return nil, fmt.Errorf("open unpacked image %s: %w", folder, err)
	}
	return unpacked, nil
}

// fetch unpacks an image from its registry, in a folder that gets its name when
// all is there.
func (i *Images) fetch(ctx context.Context, wanted events.Image) error {
	source, err := i.pull(ctx, wanted)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp(i.dir, newPrefix)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", wanted.Ref(), err)
	}
	defer func() { _ = os.RemoveAll(folder) }() // it has its name already if all went well
	if err := unpackImage(source, folder); err != nil {
		return fmt.Errorf("unpack %s: %w", wanted.Ref(), err)
	}
	if err := os.Rename(folder, i.folder(wanted.Digest)); err != nil {
		return fmt.Errorf("unpack %s: %w", wanted.Ref(), err)
	}
	return nil
}

func (i *Images) pull(ctx context.Context, wanted events.Image) (v1.Image, error) {
	ref, err := name.NewDigest(wanted.Ref())
	if err != nil {
		return nil, &release.Fault{Reason: fmt.Sprintf("the image's name is not valid: %s", err)}
	}
	source, err := remote.Image(ref,
		remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.NewMultiKeychain(keychain(i.logins), authn.DefaultKeychain)),
		remote.WithPlatform(v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}),
	)
	var answered *transport.Error
	switch {
	case errors.As(err, &answered) && answered.StatusCode == http.StatusNotFound:
		return nil, &release.Fault{Reason: "the image " + wanted.Ref() + " does not exist in its registry"}
	case err != nil:
		return nil, fmt.Errorf("pull %s: %w", wanted.Ref(), err)
	}
	return source, nil
}

// keychain knows the configured logins.
type keychain map[string]Login

// Resolve implements authn.Keychain.
func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	login, known := k[target.RegistryStr()]
	if !known {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{Username: login.Username, Password: login.Password}), nil
}

func unpackImage(source v1.Image, folder string) error {
	file, err := source.ConfigFile()
	if err != nil {
		return fmt.Errorf("read its configuration: %w", err)
	}
	layers, err := source.Layers()
	if err != nil {
		return fmt.Errorf("list its layers: %w", err)
	}
	if err := os.Mkdir(filepath.Join(folder, rootFolder), 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Join(folder, rootFolder))
	if err != nil {
		return err
	}
	defer root.Close()
	unpacker := &unpacker{root: root, left: maxImage}
	for _, layer := range layers {
		if err := unpackLayer(unpacker, layer); err != nil {
			return err
		}
	}
	text, err := json.Marshal(file.Config)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, configFile), text, 0o644)
}

func unpackLayer(u *unpacker, layer v1.Layer) error {
	content, err := layer.Uncompressed()
	if err != nil {
		return fmt.Errorf("read a layer: %w", err)
	}
	err = u.apply(content)
	if err == nil {
		// The layer's digest is checked where its bytes end, which is behind the archive's end.
		_, err = io.Copy(io.Discard, content)
	}
	return errors.Join(err, content.Close())
}
