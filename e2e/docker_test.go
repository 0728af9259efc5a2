package e2e_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/tagship/tagship/events/eventstest"
)

// newEngine connects to the Docker engine of this machine.
func newEngine(t *testing.T) *client.Client {
	t.Helper()
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err == nil {
		t.Cleanup(func() { engine.Close() })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = engine.Ping(ctx)
	}
	if err == nil {
		return engine
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("no Docker engine answers, and CI must have one: %v", err)
	}
	t.Skipf("no Docker engine answers: %v", err)
	return nil
}

// dockerInstallation is "tagship up" with containers for builds and apps.
type dockerInstallation struct {
	*installation
	engine   *client.Client
	registry string
}

// newDockerInstallation starts it, with a toolchain image in its own registry.
func newDockerInstallation(t *testing.T) *dockerInstallation {
	t.Helper()
	i := &dockerInstallation{engine: newEngine(t), registry: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	toolchain := i.registry + "/toolchain/app:1"
	i.installation = newInstallation(t, map[string]recipe{"web": {toolchain: toolchain, image: true, packages: true}})
	i.configure(fmt.Sprintf(`nats: {url: "nats://127.0.0.1:%d", ack_wait: 3s, grace: 5s}
tagwatch: {interval: 1s, apps: {web: {repo: %q}}}
builder: {registry: %q, executor: docker}
releaser: {environments: {dev: {target: {docker: {ports: {web: %d}}}, promote: {from: build}}}}
cdnpush: {channels: {beta: {store: {folder: {listen: "127.0.0.1:%d"}}, promote: {from: build}}}}
`, freePort(t), i.repos["web"].dir, i.registry, freePort(t), freePort(t)))
	t.Cleanup(i.removeAll)
	return i
}

// startWatched starts it, and pushes the toolchain image.
func (i *dockerInstallation) startWatched(env ...string) {
	i.t.Helper()
	i.installation.startWatched(env...)
	program, err := os.ReadFile(filepath.Join(programs, "app"))
	if err != nil {
		i.t.Fatal(err)
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	for _, header := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "root/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777},
		{Typeflag: tar.TypeReg, Name: "app", Mode: 0o755, Size: int64(len(program))},
	} {
		if err := w.WriteHeader(header); err != nil {
			i.t.Fatal(err)
		}
	}
	if _, err := w.Write(program); err != nil {
		i.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		i.t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil })
	if err != nil {
		i.t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		i.t.Fatal(err)
	}
	image, err = mutate.ConfigFile(image, withPlatform(i.t, image))
	if err != nil {
		i.t.Fatal(err)
	}
	reference, err := name.ParseReference(i.registry + "/toolchain/app:1")
	if err != nil {
		i.t.Fatal(err)
	}
	if err := remote.Write(reference, image, remote.WithContext(i.t.Context())); err != nil {
		i.t.Fatal(err)
	}
}

func withPlatform(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	return config
}

// labels are what tells this installation's containers and volumes from others'.
func (i *dockerInstallation) labels() []string {
	labels := []string{"tagship.instance=" + i.registry}
	id, err := os.ReadFile(filepath.Join(i.data, "releaser", "installation"))
	if err == nil {
		labels = append(labels, "tagship.instance="+strings.TrimSpace(string(id)))
	}
	return labels
}

// containers lists what there is on the engine of this installation.
func (i *dockerInstallation) containers(ctx context.Context) ([]container.Summary, error) {
	var all []container.Summary
	for _, label := range i.labels() {
		some, err := i.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label))})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// onlyContainers waits until there are n containers, all of them running an image.
func (i *dockerInstallation) onlyContainers(n int, digest string) {
	i.t.Helper()
	eventstest.Eventually(i.t, func() error {
		all, err := i.containers(i.t.Context())
		if err != nil {
			return err
		}
		var seen []string
		right := 0
		for _, c := range all {
			seen = append(seen, fmt.Sprintf("%v %s %s %v", c.Names, c.Image, c.State, c.Labels))
			if c.State == "running" && strings.HasSuffix(c.Image, digest) {
				right++
			}
		}
		if right != n || len(all) != n {
			return fmt.Errorf("expected %d containers that run %s, saw\n%s", n, digest, strings.Join(seen, "\n"))
		}
		return nil
	})
	volumes, err := i.engine.VolumeList(i.t.Context(), volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", i.labels()[0]))})
	if err != nil {
		i.t.Fatal(err)
	}
	for _, v := range volumes.Volumes {
		if v.Labels["tagship.cache"] == "" {
			i.t.Errorf("volume %s %v is left over", v.Name, v.Labels)
		}
	}
}

// removeAll leaves nothing on the engine, whatever the test came to.
func (i *dockerInstallation) removeAll() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if i.up != nil {
		i.up.kill()
	}
	all, err := i.containers(ctx)
	if err != nil {
		i.t.Errorf("list containers to remove: %v", err)
	}
	for _, c := range all {
		if err := i.engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			i.t.Errorf("remove a container: %v", err)
		}
	}
	for _, label := range i.labels() {
		volumes, err := i.engine.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
		if err != nil {
			i.t.Errorf("list volumes to remove: %v", err)
			continue
		}
		for _, v := range volumes.Volumes {
			if err := i.engine.VolumeRemove(ctx, v.Name, true); err != nil {
				i.t.Errorf("remove a volume: %v", err)
			}
		}
	}
}

// TestUpWithDocker ships in containers, and is killed at work in each step that
// has to do with them.
func TestUpWithDocker(t *testing.T) {
	t.Parallel()
	i := newDockerInstallation(t)
	i.startWatched()
	web := i.repos["web"]
	web.tag("v1.0.0")
	i.delivered("web", "v1.0.0")
	i.onlyContainers(2, i.built("web", "v1.0.0").Image.Digest)
	if toolchain := i.built("web", "v1.0.0").Toolchain; !strings.Contains(toolchain, "sha256:") {
		t.Errorf("the toolchain is recorded as %q, expected its digest", toolchain)
	}
	tagged := []string{"v1.0.0"}
	for n, point := range []string{"publish.before:build.done", "publish.after:release.started", "publish.before:release.done"} {
		i.up.stop()
		i.onlyContainers(0, "")
		i.start("TAGSHIP_CRASH=" + point)
		version := fmt.Sprintf("v1.%d.0", n+1)
		tagged = append(tagged, version)
		web.tag(version)
		i.up.crashed()
		i.start()
		i.delivered("web", tagged...)
		i.onlyContainers(2, i.built("web", version).Image.Digest)
	}

	// Killed while a container compiles.
	web.write("takes", "2s")
	web.tag("v2.0.0")
	eventstest.Eventually(t, func() error {
		all, err := i.containers(t.Context())
		for _, c := range all {
			if c.Labels["tagship.build"] == "web@v2.0.0" && c.State == "running" {
				return nil
			}
		}
		return fmt.Errorf("no container compiles (%v)", err)
	})
	i.up.kill()
	i.start()
	tagged = append(tagged, "v2.0.0")
	i.delivered("web", tagged...)
	i.onlyContainers(2, i.built("web", "v2.0.0").Image.Digest)
	i.up.stop()
	i.onlyContainers(0, "")
}
