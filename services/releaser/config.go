package releaser

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/releaser/internal/release"
)

// Config is the section releaser of tagship.yaml.
type Config struct {
	Environments map[string]Environment `yaml:"environments" key:"env" required:"true" doc:"The environments to release to."`
	Registries   map[string]Registry    `yaml:"registries" key:"host" doc:"Logins for registries, by host and port, such as registry.internal:5000. Others are used without one."`
	Slots        int                    `yaml:"slots" default:"4" doc:"How many apps are released to one environment at once."`
	GiveUp       events.Duration        `yaml:"give_up" default:"1h" doc:"How long a release is retried while its target or the registry is in trouble; then it fails."`
	StopOnExit   bool                   `yaml:"stop_on_exit" doc:"Remove the containers of docker targets when the releaser stops. Without it they keep running, and are taken over by the next start."`
}

// Environment is one environment.
type Environment struct {
	Target  Target   `yaml:"target" doc:"What runs the environment. Without it: docker where an engine answers, else process."`
	Promote *Promote `yaml:"promote" doc:"What gets here without a request. Without it: nothing."`
}

// Target is the system that runs an environment: exactly one of its fields, or none to have it chosen.
type Target struct {
	Docker  *Docker  `yaml:"docker" doc:"Containers of a Docker engine on this machine."`
	Process *Process `yaml:"process" doc:"Processes of this machine, without isolation: for trusted code only."`
}

// Docker is a target.
type Docker struct {
	Host   string         `yaml:"host" doc:"The engine, such as unix:///var/run/docker.sock. Default: what DOCKER_HOST says."`
	Listen string         `yaml:"listen" default:"127.0.0.1" doc:"The address of this machine on which the apps answer."`
	Ports  map[string]int `yaml:"ports" key:"app" doc:"The port an app answers on. Others get a free one, and keep it."`
}

// Process is a target.
type Process struct {
	Listen string         `yaml:"listen" default:"127.0.0.1" doc:"The address of this machine on which the apps answer."`
	Ports  map[string]int `yaml:"ports" key:"app" doc:"The port an app answers on. Others get a free one, and keep it."`
}

// Promote is how versions get into an environment without a request.
type Promote struct {
	From string          `yaml:"from" required:"true" doc:"build for every version that is built, or the environment in which a version must run first."`
	Soak events.Duration `yaml:"soak" default:"0s" doc:"How long it must have run there."`
	Apps []string        `yaml:"apps" doc:"Only these apps. Default: all."`
}

// Registry is the login for one registry.
type Registry struct {
	Username string        `yaml:"username" required:"true" doc:"The user."`
	Password config.Secret `yaml:"password" required:"true" doc:"The password or token."`
}

// The parts that follow the service's name, or an environment's, in the names of consumers.
const (
	requestsSuffix = "-requests"
	promoteSuffix  = "-promote"
)

// names lists the environments.
func (c *Config) names() []string { return slices.Sorted(maps.Keys(c.Environments)) }

// Check reports everything that is wrong with the section as a whole.
func (c *Config) Check() error {
	var problems []error
	add := func(field, format string, args ...any) {
		problems = append(problems, config.FieldError(field, fmt.Errorf(format, args...)))
	}
	if c.Slots < 1 || c.Slots > 1000 {
		add("slots", "is %d, expected 1 to 1000", c.Slots)
	}
	if c.GiveUp <= 0 {
		add("give_up", "is %s, expected a duration such as 1h", c.GiveUp)
	}
	ports := map[int]string{} // the field that has a port
	for _, name := range c.names() {
		field := "environments." + name
		if err := checkName(name); err != nil {
			add(field, "%w", err)
		}
		c.checkPromotion(name, add)
		target := c.Environments[name].Target
		if target.Docker != nil && target.Process != nil {
			add(field+".target", "has docker and process, expected one of them")
		}
		if target.Docker != nil {
			checkPorts(field+".target.docker.ports", target.Docker.Ports, ports, add)
		}
		if target.Process != nil {
			checkPorts(field+".target.process.ports", target.Process.Ports, ports, add)
		}
	}
	return errors.Join(problems...)
}

func checkName(env string) error {
	if err := events.CheckPlace(env); err != nil {
		return err
	}
	// The environment's consumers would have the names of others.
	if env == release.FromBuild || env == strings.TrimPrefix(requestsSuffix, "-") || strings.HasSuffix(env, promoteSuffix) {
		return fmt.Errorf("%q cannot be an environment's name, the word is Tagship's own", env)
	}
	return nil
}

func (c *Config) checkPromotion(name string, add func(field, format string, args ...any)) {
	promote := c.Environments[name].Promote
	if promote == nil {
		return
	}
	field := "environments." + name + ".promote"
	if promote.From != release.FromBuild && promote.From != "" {
		if _, known := c.Environments[promote.From]; !known {
			add(field+".from", "%q is no environment, expected build or one of %s", promote.From, strings.Join(c.names(), ", "))
		}
	}
	if circle := c.circle(name); circle != "" {
		add(field+".from", "goes round in a circle: %s", circle)
	}
	for i, app := range promote.Apps {
		if err := events.CheckApp(app); err != nil {
			add(fmt.Sprintf("%s.apps[%d]", field, i), "%w", err)
		}
	}
}

// circle follows promotions backwards, and tells the way if it comes back to the environment.
func (c *Config) circle(name string) string {
	way := []string{name}
	for at := c.Environments[name].Promote; at != nil && len(way) <= len(c.Environments); at = c.Environments[at.From].Promote {
		way = append(way, at.From)
		if at.From == name {
			return strings.Join(way, " from ")
		}
	}
	return ""
}

func checkPorts(field string, ports map[string]int, taken map[int]string, add func(field, format string, args ...any)) {
	for _, app := range slices.Sorted(maps.Keys(ports)) {
		port, own := ports[app], field+"."+app
		if err := events.CheckApp(app); err != nil {
			add(own, "%w", err)
		}
		if port < 1 || port > 65535 {
			add(own, "is %d, expected a port from 1 to 65535", port)
		}
		if other, is := taken[port]; is {
			add(own, "is %d, which %s has", port, other)
		}
		taken[port] = own
	}
}
