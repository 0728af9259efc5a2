package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/pkg/jsonmessage"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/tagship/tagship/services/releaser/internal/release"
)

// pull gets the plan's image by digest, unless the engine has it.
func (t *Target) pull(ctx context.Context, p release.Plan) error {
	ref := p.Image.Ref()
	_, err := t.engine.ImageInspect(ctx, ref)
	if err == nil {
		return nil
	}
	if !errdefs.IsNotFound(err) {
		return fmt.Errorf("look for image %s: %w", ref, err)
	}
	var options image.PullOptions
	host, _, _ := strings.Cut(p.Image.Repository, "/")
	if login, known := t.opts.Logins[host]; known {
		auth := registry.AuthConfig{Username: login.Username, Password: login.Password, ServerAddress: host}
		if options.RegistryAuth, err = registry.EncodeAuthConfig(auth); err != nil {
			return fmt.Errorf("pull %s: encode the login: %w", ref, err)
		}
	}
	progress, err := t.engine.ImagePull(ctx, ref, options)
	if err == nil {
		err = errors.Join(jsonmessage.DisplayJSONMessagesStream(progress, io.Discard, 0, false, nil), progress.Close())
	}
	switch {
	case err == nil:
		return nil
	case errdefs.IsNotFound(err), strings.Contains(err.Error(), "manifest unknown"), strings.Contains(err.Error(), "name unknown"):
		return &release.Fault{Reason: "the image " + ref + " does not exist in its registry"}
	}
	return fmt.Errorf("pull %s: %w", ref, err)
}

const shownLines = "50"

// output is the last lines that a container wrote.
func (t *Target) output(ctx context.Context, i instance) ([]string, error) {
	logs, err := t.engine.ContainerLogs(ctx, i.id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: shownLines})
	if err != nil {
		return nil, fmt.Errorf("read output of container %s: %w", i.id, err)
	}
	defer logs.Close()
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, logs); err != nil {
		return nil, fmt.Errorf("read output of container %s: %w", i.id, err)
	}
	if text.Len() == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimRight(text.String(), "\n"), "\n"), nil
}
