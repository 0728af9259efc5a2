package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/builder/internal/build"
)

// The form of a set of packages: an OCI image manifest with an artifactType and
// an empty config (image specification 1.1, "Guidelines for Artifact Usage").
// Each package is a layer, as it is: the layer's digest is the file's.
const (
	ArtifactType  = "application/vnd.tagship.packages.v1"
	packageType   = types.MediaType("application/octet-stream")
	emptyConfig   = types.MediaType("application/vnd.oci.empty.v1+json")
	packageFolder = "/packages" // below the app's repository
)

// PushPackages implements [build.Images].
func (r *Registry) PushPackages(ctx context.Context, of build.Identity, files []build.PackageFile) (events.Image, error) {
	repository, err := r.repository(of.App + packageFolder)
	if err != nil {
		return events.Image{}, build.Failf("app %s cannot be the name of an image: %v", of.App, err)
	}
	pusher, err := remote.NewPusher(r.remote(ctx)...)
	if err != nil {
		return events.Image{}, fmt.Errorf("push packages: %w", err)
	}
	set, layers, err := packageSet(of, files)
	if err != nil {
		return events.Image{}, err
	}
	for _, l := range layers {
		if err := pusher.Upload(ctx, repository, l); err != nil {
			return events.Image{}, fmt.Errorf("push packages: %w", err)
		}
	}
	digest, _, err := v1.SHA256(bytes.NewReader(set.manifest))
	if err != nil {
		return events.Image{}, fmt.Errorf("push packages: %w", err)
	}
	pushed := events.Image{Repository: repository.Name(), Digest: digest.String()}
	if err := pusher.Put(ctx, repository.Digest(pushed.Digest), set); err != nil {
		return events.Image{}, fmt.Errorf("push packages %s: %w", pushed.Ref(), err)
	}
	return pushed, r.tag(ctx, repository, of, set, digest)
}

// artifact is a manifest to put into a registry.
type artifact struct{ manifest []byte }

var _ remote.Taggable = artifact{}

func (a artifact) RawManifest() ([]byte, error)        { return a.manifest, nil }
func (a artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func packageSet(of build.Identity, files []build.PackageFile) (artifact, []v1.Layer, error) {
	config := static.NewLayer([]byte("{}"), emptyConfig)
	described, err := describe(config)
	if err != nil {
		return artifact{}, nil, err
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: ArtifactType, Config: described, Annotations: annotations(of)}
	layers := []v1.Layer{config}
	for _, file := range files {
		digest, err := v1.NewHash(file.Digest)
		if err != nil {
			return artifact{}, nil, fmt.Errorf("package %s: %w", file.Name, err)
		}
		l := packageLayer{path: file.Path, digest: digest, size: file.Size}
		described, err := describe(l)
		if err != nil {
			return artifact{}, nil, err
		}
		described.Annotations = map[string]string{annotationTitle: file.Name}
		manifest.Layers = append(manifest.Layers, described)
		layers = append(layers, l)
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return artifact{}, nil, fmt.Errorf("encode manifest of packages: %w", err)
	}
	return artifact{manifest: text}, layers, nil
}

func describe(l v1.Layer) (v1.Descriptor, error) {
	digest, err := l.Digest()
	size, sizeErr := l.Size()
	mediaType, typeErr := l.MediaType()
	if err := errors.Join(err, sizeErr, typeErr); err != nil {
		return v1.Descriptor{}, fmt.Errorf("describe layer: %w", err)
	}
	return v1.Descriptor{MediaType: mediaType, Digest: digest, Size: size}, nil
}

// packageLayer is a file on disk as a layer, neither compressed nor wrapped.
type packageLayer struct {
	path   string
	digest v1.Hash
	size   int64
}

var _ v1.Layer = packageLayer{}

func (l packageLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l packageLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l packageLayer) Size() (int64, error)                 { return l.size, nil }
func (l packageLayer) MediaType() (types.MediaType, error)  { return packageType, nil }
func (l packageLayer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }
func (l packageLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
