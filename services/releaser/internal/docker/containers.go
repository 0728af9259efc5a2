package docker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/go-connections/nat"

	"github.com/tagship/tagship/services/releaser/internal/release"
)

// Labels of a container.
const (
	labelInstallation = "tagship.instance"
	labelEnv          = "tagship.env"
	labelApp          = "tagship.app"
	labelVersion      = "tagship.version"
	labelRelease      = "tagship.release"
	labelIndex        = "tagship.index"
)

const loopback = "127.0.0.1"

// instance is a container of a release.
type instance struct {
	id      string
	app     string
	release string
	index   int
	addr    string // where its port is published; empty if it is not
	running bool
	exited  bool
	status  string // in words
	kept    bool   // the engine starts it again whenever it exits
}

func ofApp(app string) map[string]string { return map[string]string{labelApp: app} }

func ofRelease(p release.Plan) map[string]string {
	return map[string]string{labelApp: p.App, labelRelease: p.Release}
}

// instances lists the environment's containers that carry the labels, running or not.
func (t *Target) instances(ctx context.Context, labels map[string]string) ([]instance, error) {
	selected := t.filter()
	for name, value := range labels {
		selected.Add("label", name+"="+value)
	}
	listed, err := t.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: selected})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var found []instance
	for _, c := range listed {
		inspected, err := t.engine.ContainerInspect(ctx, c.ID)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("inspect container %s: %w", c.ID, err)
		}
		found = append(found, instanceOf(inspected))
	}
	slices.SortFunc(found, func(a, b instance) int { return a.index - b.index })
	return found, nil
}

func (t *Target) filter() filters.Args {
	return filters.NewArgs(
		filters.Arg("label", labelInstallation+"="+t.opts.Installation),
		filters.Arg("label", labelEnv+"="+t.opts.Env),
	)
}

func instanceOf(c container.InspectResponse) instance {
	index, _ := strconv.Atoi(c.Config.Labels[labelIndex]) // a label of our own
	i := instance{
		id:      c.ID,
		app:     c.Config.Labels[labelApp],
		release: c.Config.Labels[labelRelease],
		index:   index,
		running: c.State.Running && !c.State.Restarting,
		exited:  c.State.Status == container.StateExited || c.State.Status == container.StateDead,
		status:  "is " + c.State.Status,
		kept:    c.HostConfig.RestartPolicy.IsUnlessStopped(),
	}
	if i.exited || c.State.Restarting {
		i.status = fmt.Sprintf("exited with status %d", c.State.ExitCode)
		if c.State.OOMKilled {
			i.status += ", out of memory"
		}
		if c.State.Error != "" {
			i.status += ": " + c.State.Error
		}
	}
	for _, bindings := range c.NetworkSettings.Ports {
		for _, b := range bindings {
			i.addr = hostOf(b.HostIP, b.HostPort)
		}
	}
	return i
}

// start makes the plan's containers run, taking over those an earlier attempt has made.
func (t *Target) start(ctx context.Context, p release.Plan, there []instance) error {
	var missing []int
	for index := range p.Deploy.Instances {
		at := slices.IndexFunc(there, func(i instance) bool { return i.index == index })
		switch {
		case at < 0:
			missing = append(missing, index)
		case there[at].running:
		case there[at].kept:
			if err := t.engine.ContainerStart(ctx, there[at].id, container.StartOptions{}); err != nil {
				return fmt.Errorf("start container of %s again: %w", p.Release, err)
			}
		default:
			if err := t.remove(ctx, there[at:at+1]); err != nil {
				return err
			}
			missing = append(missing, index)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := t.pull(ctx, p); err != nil {
		return err
	}
	for _, index := range missing {
		if err := t.run(ctx, p, index); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) run(ctx context.Context, p release.Plan, index int) error {
	config, host := t.describe(p, index)
	name := containerName(t.opts.Installation, p, index)
	created, err := t.engine.ContainerCreate(ctx, config, host, nil, nil, name)
	if err != nil {
		return fmt.Errorf("create container %s: %w", name, err)
	}
	err = t.engine.ContainerStart(ctx, created.ID, container.StartOptions{})
	switch {
	case err == nil:
		return nil
	case errdefs.IsInvalidArgument(err), strings.Contains(err.Error(), "OCI runtime create failed"), strings.Contains(err.Error(), "failed to create task"):
		// The engine works, but the image's entrypoint cannot be run. The engine
		// says so in text alone, under status 400 or 500.
		return &release.Fault{Reason: fmt.Sprintf("the container cannot be started: %s", err)}
	}
	return fmt.Errorf("start container %s: %w", name, err)
}

func (t *Target) describe(p release.Plan, index int) (*container.Config, *container.HostConfig) {
	env := p.Environment()
	grace := int(time.Duration(p.Deploy.StopGrace).Round(time.Second) / time.Second)
	config := &container.Config{
		Image: p.Image.Ref(),
		Labels: map[string]string{
			labelInstallation: t.opts.Installation,
			labelEnv:          p.Env,
			labelApp:          p.App,
			labelVersion:      p.Version,
			labelRelease:      p.Release,
			labelIndex:        strconv.Itoa(index),
		},
		StopTimeout: &grace,
	}
	host := &container.HostConfig{}
	if p.Deploy.Port != 0 {
		port := nat.Port(strconv.Itoa(p.Deploy.Port) + "/tcp")
		env["PORT"] = strconv.Itoa(p.Deploy.Port)
		config.ExposedPorts = nat.PortSet{port: {}}
		host.PortBindings = nat.PortMap{port: {{HostIP: loopback}}}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		config.Env = append(config.Env, name+"="+env[name])
	}
	return config, host
}

// containerName is readable, and a second attempt at the same instance gets the same.
func containerName(installation string, p release.Plan, index int) string {
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, p.Release)
	unique := sha256.Sum256([]byte(installation + "\x00" + p.Release))
	return fmt.Sprintf("tagship-%s-%d-%x", readable, index, unique[:4])
}

// keep has the engine start a container again whenever it exits.
func (t *Target) keep(ctx context.Context, i instance) error {
	if i.kept {
		return nil
	}
	policy := container.RestartPolicy{Name: container.RestartPolicyUnlessStopped}
	if _, err := t.engine.ContainerUpdate(ctx, i.id, container.UpdateConfig{RestartPolicy: policy}); err != nil {
		return fmt.Errorf("keep container %s running: %w", i.id, err)
	}
	return nil
}

// remove stops containers, each within its grace, and removes them.
func (t *Target) remove(ctx context.Context, going []instance) error {
	var (
		removing sync.WaitGroup
		mu       sync.Mutex
		problems []error
	)
	for _, i := range going {
		removing.Go(func() {
			err := t.engine.ContainerStop(ctx, i.id, container.StopOptions{})
			if err == nil {
				err = t.engine.ContainerRemove(ctx, i.id, container.RemoveOptions{Force: true, RemoveVolumes: true})
			}
			if err != nil && !errdefs.IsNotFound(err) {
				mu.Lock()
				defer mu.Unlock()
				problems = append(problems, fmt.Errorf("remove container %s: %w", i.id, err))
			}
		})
	}
	removing.Wait()
	return errors.Join(problems...)
}
