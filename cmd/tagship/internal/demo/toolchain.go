package demo

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

// findToolchain makes sure that the engine has the toolchain image, or returns
// the name under which one is to be made in the demonstration's own registry.
func (d *demo) findToolchain(ctx context.Context, registry string) (mirrored string, err error) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return "", fmt.Errorf("connect to Docker: %w", err)
	}
	defer engine.Close()
	if _, err := engine.ImageInspect(ctx, toolchainName); err == nil {
		return "", nil
	}
	d.say("pulling the toolchain image %s (some 300 MB, once) …", toolchainName)
	if pull(ctx, engine) != nil {
		return registry + "/toolchain/go:1.26", nil
	}
	return "", nil
}

func pull(ctx context.Context, engine *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	progress, err := engine.ImagePull(ctx, toolchainName, image.PullOptions{})
	if err != nil {
		return err
	}
	defer progress.Close()
	if _, err := io.Copy(io.Discard, progress); err != nil {
		return err
	}
	_, err = engine.ImageInspect(ctx, toolchainName)
	return err
}

// soon is how often something is tried that is expected to work shortly.
const soon = 50 * time.Millisecond
