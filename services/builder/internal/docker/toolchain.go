package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"

	"github.com/tagship/tagship/services/builder/internal/build"
)

// Login is how to log in to a registry: by name and password, or by a token.
type Login struct{ User, Password, IdentityToken, RegistryToken string }

// toolchain is an image that the engine has.
type toolchain struct {
	id     string // on the engine
	digest string // name@sha256:… in its registry; the id if it is in none
	env    []string
}

// toolchain makes sure that the engine has the job's toolchain, in its newest
// state unless the recipe pins it. If the registry does not answer, the copy
// that the engine has will do: the record says which it was.
func (e *Executor) toolchain(ctx context.Context, job build.Job) (toolchain, error) {
	if job.Toolchain == "" {
		return toolchain{}, build.Failf("the recipe has no build.toolchain, which a build in a container needs")
	}
	text := job.Toolchain
	if other, ok := e.options.Toolchains[text]; ok {
		text = other
	}
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return toolchain{}, build.Failf("build.toolchain %q is not a reference: %v", text, err)
	}
	named = reference.TagNameOnly(named)
	found, inspectErr := e.inspect(ctx, named)
	if _, pinned := named.(reference.Digested); pinned && inspectErr == nil {
		return found, nil
	}
	pullErr := e.pull(ctx, named, job.Log)
	if pullErr == nil {
		return e.inspect(ctx, named)
	}
	if cause := context.Cause(ctx); cause != nil {
		return toolchain{}, cause
	}
	if inspectErr == nil {
		if _, err := fmt.Fprintf(job.Log, "using the copy of toolchain %s that the engine has: %v\n", text, pullErr); err != nil {
			return toolchain{}, fmt.Errorf("write log: %w", err)
		}
		return found, nil
	}
	if errdefs.IsNotFound(pullErr) {
		return toolchain{}, build.Failf("build.toolchain %s is not in its registry: %v", text, pullErr)
	}
	return toolchain{}, pullErr
}

func (e *Executor) inspect(ctx context.Context, named reference.Named) (toolchain, error) {
	found, err := e.engine.ImageInspect(ctx, named.String())
	if err != nil {
		return toolchain{}, fmt.Errorf("inspect toolchain %s: %w", named, err)
	}
	t := toolchain{id: found.ID, digest: found.ID}
	if found.Config != nil {
		t.env = found.Config.Env
	}
	for _, digest := range found.RepoDigests {
		if of, err := reference.ParseNormalizedNamed(digest); err == nil && of.Name() == named.Name() {
			t.digest = of.String()
		}
	}
	return t, nil
}

func (e *Executor) pull(ctx context.Context, named reference.Named, log io.Writer) error {
	login, err := e.options.Login(ctx, named.String())
	if err != nil {
		return err
	}
	auth := registry.AuthConfig{Username: login.User, Password: login.Password, IdentityToken: login.IdentityToken, RegistryToken: login.RegistryToken}
	encoded, err := registry.EncodeAuthConfig(auth)
	if err != nil {
		return fmt.Errorf("encode login: %w", err)
	}
	progress, err := e.engine.ImagePull(ctx, named.String(), image.PullOptions{RegistryAuth: encoded})
	if err != nil {
		return fmt.Errorf("pull toolchain %s: %w", named, err)
	}
	err = followPull(progress, log)
	if err := errors.Join(err, progress.Close()); err != nil {
		return fmt.Errorf("pull toolchain %s: %w", named, err)
	}
	return nil
}

// followPull reads the engine's report of a pull, which also holds its error.
func followPull(progress io.Reader, log io.Writer) error {
	for decoder := json.NewDecoder(progress); ; {
		var report struct{ ID, Status, Error string }
		err := decoder.Decode(&report)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the engine's report: %w", err)
		case report.Error != "":
			return errors.New(report.Error)
		case report.ID == "" || strings.HasPrefix(report.Status, "Pulling from"): // not the progress of single layers
			if _, err := fmt.Fprintln(log, report.Status); err != nil {
				return fmt.Errorf("write log: %w", err)
			}
		}
	}
}
