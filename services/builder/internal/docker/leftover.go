package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"

	"github.com/tagship/tagship/services/builder/internal/build"
)

// removeLeftovers removes what killed builders left on the engine: everything of
// the job's version, for nobody else builds it now, and of other versions what is
// past its deadline.
func (e *Executor) removeLeftovers(ctx context.Context, job build.Job) error {
	ours := filters.NewArgs(filters.Arg("label", labelInstance+"="+e.options.Instance), filters.Arg("label", labelBuild))
	name := job.App + "@" + job.Version
	containers, err := e.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	var problems []error
	for _, c := range containers {
		if leftover(c.Labels, name) {
			problems = append(problems, e.removeContainer(ctx, c.ID))
		}
	}
	volumes, err := e.engine.VolumeList(ctx, volume.ListOptions{Filters: ours})
	if err != nil {
		return errors.Join(append(problems, fmt.Errorf("list volumes: %w", err))...)
	}
	for _, v := range volumes.Volumes {
		if leftover(v.Labels, name) {
			problems = append(problems, e.removeVolume(ctx, v.Name))
		}
	}
	return errors.Join(problems...)
}

func leftover(labels map[string]string, name string) bool {
	deadline, err := strconv.ParseInt(labels[labelDeadline], 10, 64)
	return labels[labelBuild] == name || err == nil && time.Now().Unix() > deadline
}

func (e *Executor) removeContainer(ctx context.Context, id string) error {
	err := e.engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	// Another builder may be at it, as each removes what is past its deadline.
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
		return fmt.Errorf("remove container %.12s: %w", id, err)
	}
	return nil
}

func (e *Executor) removeVolume(ctx context.Context, name string) error {
	if err := e.engine.VolumeRemove(ctx, name, true); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove volume %.12s: %w", name, err)
	}
	return nil
}
