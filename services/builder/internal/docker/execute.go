package docker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/tagship/tagship/services/builder/internal/build"
	"github.com/tagship/tagship/services/builder/internal/command"
	"github.com/tagship/tagship/services/builder/internal/tree"
)

// execute runs a container to its end.
func (r *run) execute(ctx context.Context, id string, program command.Program) error {
	attached, err := r.engine.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return fmt.Errorf("attach to container: %w", err)
	}
	copied := make(chan error, 1)
	go func() { copied <- r.copyOutput(attached) }()
	defer attached.Close()

	ended, failed := r.engine.ContainerWait(ctx, id, container.WaitConditionNextExit)
	if err := r.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		if errdefs.IsInvalidArgument(err) || errdefs.IsNotFound(err) {
			return build.Failf("%s cannot be executed in the toolchain %s: %v", program.Args[0], r.job.Toolchain, err)
		}
		return fmt.Errorf("start container: %w", err)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx) // the container is killed when it is removed
	case err := <-failed:
		return fmt.Errorf("wait for container: %w", err)
	case status := <-ended:
		return r.outcome(ctx, id, program, status, copied)
	}
}

func (r *run) copyOutput(attached types.HijackedResponse) error {
	_, err := stdcopy.StdCopy(r.job.Log, r.job.Log, attached.Reader)
	return err
}

func (r *run) outcome(ctx context.Context, id string, program command.Program, status container.WaitResponse, copied <-chan error) error {
	if status.Error != nil {
		return fmt.Errorf("wait for container: %s", status.Error.Message)
	}
	select {
	case err := <-copied:
		if err != nil {
			return fmt.Errorf("read output: %w", err)
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if status.StatusCode == 0 {
		return nil
	}
	state, err := r.engine.ContainerInspect(ctx, id)
	if err != nil {
		return fmt.Errorf("inspect container: %w", err)
	}
	what := "the commands"
	if program.Args[0] != command.Shell {
		what = fmt.Sprintf("command %q", strings.Join(program.Args, " "))
	}
	if state.State != nil && state.State.OOMKilled {
		return build.Failf("%s ran out of memory (docker.memory is %d bytes)", what, r.options.Memory)
	}
	return build.Failf("%s exited with %d", what, status.StatusCode)
}

// copyIn puts the source into the volume.
func (r *run) copyIn(ctx context.Context, id string) error {
	reader, writer := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		archive := tar.NewWriter(writer)
		err := tree.Pack(archive, r.job.Tree, ".", "", time.Time{})
		if err == nil {
			err = archive.Close()
		}
		writer.CloseWithError(err)
		packed <- err
	}()
	err := r.engine.CopyToContainer(ctx, id, sourceFolder, reader, container.CopyToContainerOptions{})
	reader.CloseWithError(errors.New("the engine takes no more"))
	packErr := <-packed
	if err != nil {
		return fmt.Errorf("copy source into container: %w", errors.Join(err, packErr))
	}
	return packErr
}

// copyOut replaces each output in the tree by what the build made of it. What is
// missing is for the caller to find.
func (r *run) copyOut(ctx context.Context, id string) error {
	for _, output := range r.job.Outputs {
		if err := r.clear(output); err != nil {
			return err
		}
		content, _, err := r.engine.CopyFromContainer(ctx, id, path.Join(sourceFolder, output))
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("copy %s out of container: %w", output, err)
		}
		err = r.place(output, content)
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	return nil
}

// clear makes room for an output.
func (r *run) clear(output string) error {
	doomed := []string{output}
	if output == "." {
		entries, err := r.readFolder(".")
		if err != nil {
			return err
		}
		doomed = entries
	}
	for _, name := range doomed {
		if err := r.job.Tree.RemoveAll(name); err != nil {
			return build.Failf("output %s leads out of the source: %v", output, err)
		}
	}
	return nil
}

func (r *run) readFolder(name string) ([]string, error) {
	folder, err := r.job.Tree.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read tree: %w", err)
	}
	names, err := folder.Readdirnames(-1)
	if err := errors.Join(err, folder.Close()); err != nil {
		return nil, fmt.Errorf("read tree: %w", err)
	}
	return names, nil
}

// place unpacks the engine's archive of one output, whose entries begin with the last element of its path.
func (r *run) place(output string, content io.Reader) error {
	parent := path.Dir(output)
	if output == "." {
		parent = "."
	}
	if err := r.job.Tree.MkdirAll(parent, 0o755); err != nil {
		return build.Failf("output %s leads out of the source: %v", output, err)
	}
	root, err := r.job.Tree.OpenRoot(parent)
	if err != nil {
		return build.Failf("output %s leads out of the source: %v", output, err)
	}
	_, err = tree.Unpack(content, root, build.Limits())
	if err := errors.Join(err, root.Close()); err != nil {
		return build.Blame("copy "+output+" out of the container", err)
	}
	return nil
}
