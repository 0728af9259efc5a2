package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/builder/internal/build"
)

const scratch = "scratch"

// PushImage implements [build.Images].
func (r *Registry) PushImage(ctx context.Context, of build.Identity, recipe events.RecipeImage, root *os.Root) (events.Image, error) {
	repository, err := r.repository(of.App)
	if err != nil {
		return events.Image{}, build.Failf("app %s cannot be the name of an image: %v", of.App, err)
	}
	base, err := r.base(ctx, recipe.Base)
	if err != nil {
		return events.Image{}, err
	}
	image, err := r.assemble(base, of, recipe, root)
	if err != nil {
		return events.Image{}, err
	}
	digest, err := image.Digest()
	if err != nil {
		return events.Image{}, fmt.Errorf("assemble image: %w", err)
	}
	pushed := events.Image{Repository: repository.Name(), Digest: digest.String()}
	if err := remote.Write(repository.Digest(digest.String()), image, r.remote(ctx)...); err != nil {
		return events.Image{}, build.Blame("push image "+pushed.Ref(), err)
	}
	return pushed, r.tag(ctx, repository, of, image, digest)
}

// base finds the image to build upon.
func (r *Registry) base(ctx context.Context, reference string) (v1.Image, error) {
	if reference == "" || reference == scratch {
		image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
		image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
		return mutate.ConfigFile(image, &v1.ConfigFile{OS: r.platform.OS, Architecture: r.platform.Architecture, Variant: r.platform.Variant, RootFS: v1.RootFS{Type: "layers"}})
	}
	ref, err := r.reference(reference)
	if err != nil {
		return nil, build.Failf("image.base %q is not a reference: %v", reference, err)
	}
	image, err := remote.Image(ref, r.remote(ctx)...)
	var answer *transport.Error
	var unreachable *url.Error
	var broken net.Error
	switch {
	case err == nil:
		return image, nil
	case notFound(err):
		return nil, build.Failf("image.base %s is not in its registry", reference)
	case errors.As(err, &answer), errors.As(err, &unreachable), errors.As(err, &broken), errors.Is(err, io.ErrUnexpectedEOF), ctx.Err() != nil:
		return nil, fmt.Errorf("fetch image.base %s: %w", reference, err)
	}
	return nil, build.Failf("image.base %s cannot be used for %s: %v", reference, r.platform, err)
}

// assemble puts the recipe's layers and configuration upon the base.
func (r *Registry) assemble(base v1.Image, of build.Identity, recipe events.RecipeImage, root *os.Root) (v1.Image, error) {
	manifestType, err := base.MediaType()
	if err != nil {
		return nil, fmt.Errorf("read image.base: %w", err)
	}
	layerType := types.OCILayer
	if manifestType == types.DockerManifestSchema2 {
		layerType = types.DockerLayer
	}
	var layers []mutate.Addendum
	for _, l := range recipe.Layers {
		if err := checkTargets(recipe.Base, l); err != nil {
			return nil, err
		}
		// A layer's files are of the same time in every version: one that did not change stays the same layer.
		made, err := r.newLayer(root, l, layerType, time.Unix(0, 0))
		if err != nil {
			return nil, err
		}
		layers = append(layers, mutate.Addendum{Layer: made, MediaType: layerType, History: v1.History{Created: v1.Time{Time: of.Time}, CreatedBy: "tagship layer " + l.Name}})
	}
	image, err := mutate.Append(base, layers...)
	if err != nil {
		return nil, fmt.Errorf("assemble image: %w", err)
	}
	if image, err = configure(image, of, recipe); err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(image, annotations(of)).(v1.Image)
	if !ok {
		return nil, errors.New("assemble image: the annotated image is no image")
	}
	return annotated, nil
}

// checkTargets refuses paths that would hide a base's symbolic link by a folder:
// in most distributions /bin is a link to usr/bin, and with it goes the shell.
func checkTargets(base string, l events.Layer) error {
	if base == "" || base == scratch {
		return nil
	}
	for _, to := range l.Copy {
		target := path.Clean(to) + "/"
		for _, link := range []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/var/run/", "/var/lock/"} {
			if strings.HasPrefix(target, link) {
				return build.Failf("layer %s copies to %s, but %s is a symbolic link in many base images, which a layer would replace: copy to a path below /usr or /run", l.Name, to, path.Clean(link))
			}
		}
	}
	return nil
}

func configure(image v1.Image, of build.Identity, recipe events.RecipeImage) (v1.Image, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read image.base: %w", err)
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: of.Time}
	file.Config.Entrypoint, file.Config.Cmd = recipe.Entrypoint, nil
	file.Config.Env = mergeEnv(file.Config.Env, recipe.Env)
	if recipe.User != "" {
		file.Config.User = recipe.User
	}
	if recipe.Workdir != "" {
		file.Config.WorkingDir = recipe.Workdir
	}
	if file.Config.Labels == nil {
		file.Config.Labels = map[string]string{}
	}
	maps.Copy(file.Config.Labels, annotations(of))
	configured, err := mutate.ConfigFile(image, file)
	if err != nil {
		return nil, fmt.Errorf("configure image: %w", err)
	}
	return configured, nil
}

func annotations(of build.Identity) map[string]string {
	return map[string]string{
		annotationTitle: of.App, annotationVersion: of.Version, annotationRevision: of.Commit, annotationSource: of.Repo,
		annotationCreated: of.Time.UTC().Format(time.RFC3339),
	}
}

// mergeEnv replaces variables of the base where they stand, and appends the others in the order of their names.
func mergeEnv(base []string, recipe map[string]string) []string {
	left := maps.Clone(recipe)
	merged := slices.Clone(base)
	for i, variable := range merged {
		key, _, _ := strings.Cut(variable, "=")
		if value, ok := left[key]; ok {
			merged[i] = key + "=" + value
			delete(left, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(left)) {
		merged = append(merged, key+"="+left[key])
	}
	return merged
}
