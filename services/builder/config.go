package builder

import (
	"errors"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/builder/internal/oci"
)

// Executors that a configuration may name.
const (
	ExecutorDocker = "docker"
	ExecutorHost   = "host"
	ExecutorAuto   = "auto"
)

// Config is the section builder of tagship.yaml.
type Config struct {
	Registry         string                   `yaml:"registry" doc:"Where images and packages are pushed to: host, port and perhaps a path, such as registry.internal:5000/team."`
	RegistryUser     string                   `yaml:"registry_user" doc:"The user for the registry. Default: what docker login stored on this machine."`
	RegistryPassword config.Secret            `yaml:"registry_password" doc:"The password or token for the registry. It is sent to that registry only."`
	Insecure         bool                     `yaml:"insecure" doc:"The registry may be reached by plain HTTP. On this machine it may be in any case."`
	Executor         string                   `yaml:"executor" default:"docker" enum:"docker,host,auto" doc:"Where the commands of recipes run: in containers, on this machine (trusted code only), or in containers if a Docker engine answers at the start and on this machine otherwise."`
	Docker           Docker                   `yaml:"docker" doc:"How builds run in containers."`
	Toolchains       map[string]string        `yaml:"toolchains" key:"toolchain" doc:"References to use instead of those in recipes, for mirrors: golang:1.26 to registry.internal:5000/golang:1.26."`
	Env              map[string]config.Secret `yaml:"env" key:"variable" doc:"Environment of the commands of every recipe, such as GOPROXY. A recipe may replace it. Values of 6 bytes and more are struck out of the output."`
	Platform         string                   `yaml:"platform" doc:"What images are made for, such as linux/arm64. Default: linux and this machine's architecture."`
	Slots            int                      `yaml:"slots" default:"2" doc:"How many versions are built at once."`
	GiveUp           events.Duration          `yaml:"give_up" default:"2h" doc:"How long a build is tried again while the registry, the engine or the disk fails."`
}

// Docker is how builds run in containers.
type Docker struct {
	Host    string  `yaml:"host" doc:"The engine's address, such as tcp://engine:2376. Default: what the docker command uses."`
	Network string  `yaml:"network" doc:"The network that builds are in, or none. Default: the engine's default."`
	Memory  int64   `yaml:"memory" doc:"How many bytes of memory a build may use. Default: no bound."`
	CPUs    float64 `yaml:"cpus" doc:"How many processors a build may use, such as 1.5. Default: no bound."`
}

// Check reports everything that is wrong with the section as a whole.
func (c *Config) Check() error {
	var problems []error
	add := func(field string, wrong bool, message string) {
		if wrong {
			problems = append(problems, config.FieldError(field, errors.New(message)))
		}
	}
	if c.Registry != "" {
		_, err := oci.New(c.registry(""))
		problems = append(problems, config.FieldError("registry", err))
	}
	add("registry_user", (c.RegistryUser == "") != (c.RegistryPassword == ""), "and registry_password go together")
	add("docker.memory", c.Docker.Memory < 0 || c.Docker.Memory > 0 && c.Docker.Memory < 6<<20, "expected a number of bytes, at least 6291456")
	add("docker.cpus", c.Docker.CPUs < 0, "expected a number above 0")
	add("slots", c.Slots < 1 || c.Slots > 1000, "expected 1 to 1000")
	add("give_up", c.GiveUp <= 0, "expected a duration above 0")
	variable := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		add("env."+name, !variable.MatchString(name), "is not the name of a variable")
		add("env."+name, strings.HasPrefix(name, "TAGSHIP_"), "is set by Tagship")
		add("env."+name, strings.ContainsRune(c.Env[name].Reveal(), 0), "contains a zero byte")
	}
	return errors.Join(problems...)
}

// Complete reports what is missing in a section that nothing will fill in.
func (c *Config) Complete() error {
	if c.Registry == "" {
		return &events.FieldError{Name: "builder.registry", Err: errors.New("is missing, expected where images are pushed to, such as registry.internal:5000")}
	}
	return c.Check()
}

// registry are the options for the registry, with what is known of layers kept in a folder.
func (c *Config) registry(layers string) oci.Options {
	platform := c.Platform
	if platform == "" {
		platform = "linux/" + runtime.GOARCH
	}
	return oci.Options{
		Registry: c.Registry, User: c.RegistryUser, Password: c.RegistryPassword.Reveal(),
		Insecure: c.Insecure, Platform: platform, Layers: layers,
	}
}
