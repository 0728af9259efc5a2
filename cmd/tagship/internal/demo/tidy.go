package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
)

// tidy removes from the engine what the demonstration left there: images that
// came from its registry, and the caches of its builds.
func tidy(registry string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return fmt.Errorf("connect to Docker: %w", err)
	}
	defer engine.Close()
	images, err := engine.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(
		filters.Arg("reference", registry+"/*"), filters.Arg("reference", registry+"/*/*"))})
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	var problems []error
	for _, i := range images {
		for _, name := range append(i.RepoTags, i.RepoDigests...) {
			if _, err := engine.ImageRemove(ctx, name, image.RemoveOptions{PruneChildren: true}); err != nil && !errdefs.IsNotFound(err) {
				problems = append(problems, fmt.Errorf("remove image %s: %w", name, err))
			}
		}
	}
	// Builders label what is theirs with the registry they push to.
	volumes, err := engine.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", "tagship.instance="+registry))})
	if err != nil {
		return errors.Join(append(problems, fmt.Errorf("list volumes: %w", err))...)
	}
	for _, v := range volumes.Volumes {
		if err := engine.VolumeRemove(ctx, v.Name, true); err != nil {
			problems = append(problems, fmt.Errorf("remove volume %s: %w", v.Name, err))
		}
	}
	return errors.Join(problems...)
}
