package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// RecipeFile is where an app's recipe stands in its repository.
const RecipeFile = ".tagship.yaml"

// Recipe says how an app is built, packaged and deployed: .tagship.yaml at the
// root of its repository, at the tag.
type Recipe struct {
	Build    Build           `yaml:"build" json:"build" doc:"How the app is compiled."`
	Image    *RecipeImage    `yaml:"image" json:"image,omitempty" doc:"The runtime image; without it the app is packages only."`
	Deploy   *Deploy         `yaml:"deploy" json:"deploy,omitempty" doc:"How the image runs; without it the app is not released."`
	Packages []RecipePackage `yaml:"packages" json:"packages,omitempty" doc:"Files for the CDN."`
}

// Build is how an app is compiled.
type Build struct {
	Toolchain string            `yaml:"toolchain" json:"toolchain,omitempty" doc:"The image the build runs in, such as golang:1.26. Not used where the builder runs on the host."`
	Run       Commands          `yaml:"run" json:"run" required:"true" doc:"The command, or the list of commands, that compiles the app, run at the root of the source."`
	Env       map[string]string `yaml:"env" json:"env,omitempty" doc:"Environment of the commands. TAGSHIP_APP, TAGSHIP_VERSION and TAGSHIP_COMMIT are always there."`
	Cache     []string          `yaml:"cache" json:"cache,omitempty" doc:"Absolute folders of the toolchain that are kept from one build of the app to the next."`
	Timeout   Duration          `yaml:"timeout" json:"timeout,omitempty" default:"30m" doc:"How long the commands may take together."`
}

// Commands are shell commands, run one after the other; in YAML, one text or a list.
type Commands []string

// UnmarshalText accepts a single command.
func (c *Commands) UnmarshalText(text []byte) error {
	*c = Commands{string(text)}
	return nil
}

// UnmarshalJSON reads the list that commands are on the wire, which package json
// would otherwise refuse for a type that reads text.
func (c *Commands) UnmarshalJSON(body []byte) error {
	return json.Unmarshal(body, (*[]string)(c))
}

// RecipeImage is how the runtime image is put together.
type RecipeImage struct {
	Base       string            `yaml:"base" json:"base" default:"scratch" doc:"The image to build upon, or scratch for none."`
	Layers     []Layer           `yaml:"layers" json:"layers" required:"true" doc:"The layers, lowest first. An unchanged layer is neither rebuilt nor pushed."`
	Entrypoint []string          `yaml:"entrypoint" json:"entrypoint" required:"true" doc:"The program and its first arguments."`
	Env        map[string]string `yaml:"env" json:"env,omitempty" doc:"Environment that the image carries."`
	User       string            `yaml:"user" json:"user,omitempty" doc:"The user the program runs as, name or number."`
	Workdir    string            `yaml:"workdir" json:"workdir,omitempty" doc:"The folder the program starts in."`
}

// Layer is one layer of the runtime image.
type Layer struct {
	Name string            `yaml:"name" json:"name" required:"true" doc:"What the layer is, shown in the image's history."`
	Copy map[string]string `yaml:"copy" json:"copy" required:"true" doc:"From a path in the source after the build, to an absolute path in the image. A trailing slash means a folder."`
}

// Deploy is how the image runs in an environment.
type Deploy struct {
	Instances int               `yaml:"instances" json:"instances" default:"1" doc:"How many instances run."`
	Port      int               `yaml:"port" json:"port,omitempty" doc:"The port the program listens on; 0 if on none. The program is told in PORT."`
	Health    Health            `yaml:"health" json:"health" doc:"When an instance counts as healthy."`
	Env       map[string]string `yaml:"env" json:"env,omitempty" doc:"Environment of the program. TAGSHIP_APP, TAGSHIP_ENV and TAGSHIP_VERSION are always there."`
	StopGrace Duration          `yaml:"stop_grace" json:"stop_grace" default:"10s" doc:"How long an instance may take to stop after it was asked to."`
}

// Health is when an instance counts as healthy.
type Health struct {
	HTTP   string   `yaml:"http" json:"http,omitempty" doc:"A path that answers 2xx or 3xx; without it, the port must accept a connection, or with no port the program must keep running."`
	Within Duration `yaml:"within" json:"within" default:"60s" doc:"How long an instance may take to become healthy."`
	Soak   Duration `yaml:"soak" json:"soak" default:"10s" doc:"How long it must then stay healthy before the release is done."`
}

// RecipePackage is one file for the CDN: taken as built, or made into a package.
type RecipePackage struct {
	File string `yaml:"file" json:"file,omitempty" doc:"A file the build made, published under its own name. {version} stands for the version."`
	Deb  *Deb   `yaml:"deb" json:"deb,omitempty" doc:"A Debian package made of files the build made."`
}

// Deb is a Debian package.
type Deb struct {
	Name        string            `yaml:"name" json:"name" required:"true" doc:"The package's name."`
	Arch        string            `yaml:"arch" json:"arch" default:"amd64" doc:"The Debian architecture."`
	Maintainer  string            `yaml:"maintainer" json:"maintainer,omitempty" doc:"Name <address>."`
	Description string            `yaml:"description" json:"description,omitempty" doc:"What the package is."`
	Depends     []string          `yaml:"depends" json:"depends,omitempty" doc:"Packages it depends on."`
	Contents    map[string]string `yaml:"contents" json:"contents" required:"true" doc:"From a path in the source after the build, to an absolute path on the machine."`
}

// Validate reports every problem of the recipe, each as a [FieldError].
func (r *Recipe) Validate() error { return r.checks().err() }

// Check lets a reader of configuration files report Validate's problems at the lines they stand on.
func (r *Recipe) Check() error { return r.Validate() }

func (r *Recipe) checks() *fieldChecks {
	var c fieldChecks
	c.nest("build", r.Build.checks())
	c.forbid("image", r.Image == nil && len(r.Packages) == 0, "is missing, and so are packages: there would be nothing to ship")
	c.forbid("deploy", r.Deploy != nil && r.Image == nil, "needs an image")
	if r.Image != nil {
		c.nest("image", r.Image.checks())
	}
	if r.Deploy != nil {
		c.nest("deploy", r.Deploy.checks())
	}
	files := map[string]bool{}
	for i, p := range r.Packages {
		field := fmt.Sprintf("packages[%d]", i)
		c.nest(field, p.checks())
		if p.File != "" {
			name := path.Base(p.File)
			c.forbid(field+".file", files[name], "is published as %q, as an earlier package is", name)
			files[name] = true
		}
	}
	return &c
}

func (b *Build) checks() *fieldChecks {
	var c fieldChecks
	c.forbid("run", len(b.Run) == 0, "is missing, expected the command that compiles the app")
	for i, command := range b.Run {
		c.forbid(fmt.Sprintf("run[%d]", i), strings.TrimSpace(command) == "", "is empty")
	}
	c.checkEnv("env", b.Env)
	for i, folder := range b.Cache {
		c.check(fmt.Sprintf("cache[%d]", i), absolute(folder))
	}
	c.forbidNegative("timeout", b.Timeout)
	return &c
}

func (i *RecipeImage) checks() *fieldChecks {
	var c fieldChecks
	c.forbid("layers", len(i.Layers) == 0, "is empty, expected at least one layer")
	names := map[string]bool{}
	for n, layer := range i.Layers {
		field := fmt.Sprintf("layers[%d]", n)
		c.require(field+".name", layer.Name)
		c.forbid(field+".name", layer.Name != "" && names[layer.Name], "%q is the name of an earlier layer too", layer.Name)
		names[layer.Name] = true
		c.checkCopies(field+".copy", layer.Copy)
	}
	c.forbid("entrypoint", len(i.Entrypoint) == 0 || i.Entrypoint[0] == "", "is missing, expected the program to run")
	c.checkEnv("env", i.Env)
	if i.Workdir != "" {
		c.check("workdir", absolute(i.Workdir))
	}
	return &c
}

// Validate reports every problem of how an app is to run, each as a [FieldError].
func (d *Deploy) Validate() error { return d.checks().err() }

func (d *Deploy) checks() *fieldChecks {
	var c fieldChecks
	c.forbid("instances", d.Instances < 1 || d.Instances > 1000, "is %d, expected 1 to 1000", d.Instances)
	c.forbid("port", d.Port < 0 || d.Port > 65535, "is %d, expected 1 to 65535, or 0 for none", d.Port)
	c.forbid("health.http", d.Health.HTTP != "" && !strings.HasPrefix(d.Health.HTTP, "/"), "%q is not a path, expected one such as /healthz", d.Health.HTTP)
	c.forbid("health.http", d.Health.HTTP != "" && d.Port == 0, "needs a port")
	c.forbid("health.within", d.Health.Within <= 0, "is %s, expected a duration such as 60s", d.Health.Within)
	c.forbidNegative("health.soak", d.Health.Soak)
	c.checkEnv("env", d.Env)
	c.forbidNegative("stop_grace", d.StopGrace)
	return &c
}

func (p *RecipePackage) checks() *fieldChecks {
	var c fieldChecks
	switch {
	case p.File != "" && p.Deb != nil:
		c.check("deb", errors.New("cannot stand beside file: a package is one or the other"))
	case p.File == "" && p.Deb == nil:
		c.check("file", errors.New("is missing, and so is deb"))
	}
	if p.File != "" {
		c.check("file", inside(p.File))
	}
	if p.Deb != nil {
		c.require("deb.name", p.Deb.Name)
		c.checkCopies("deb.contents", p.Deb.Contents)
	}
	return &c
}

// checkEnv checks names and values as execve(2) takes them.
func (c *fieldChecks) checkEnv(field string, env map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		c.forbid(field, name == "" || strings.ContainsAny(name, "=\x00"), "has %q, which cannot be the name of a variable", name)
		c.forbid(field, strings.Contains(env[name], "\x00"), "has a zero byte in the value of %q", name)
	}
}

func (c *fieldChecks) checkCopies(field string, copies map[string]string) {
	c.forbid(field, len(copies) == 0, "is empty, expected from: to")
	for _, from := range slices.Sorted(maps.Keys(copies)) {
		c.check(field, inside(from))
		c.check(field, absolute(copies[from]))
	}
}

// inside refuses paths that lead out of the source.
func inside(p string) error {
	clean := path.Clean(p)
	if p == "" || path.IsAbs(p) || clean == ".." || strings.HasPrefix(clean, "../") || strings.Contains(p, "\x00") {
		return fmt.Errorf("%q is not a path inside the source", p)
	}
	return nil
}

func absolute(p string) error {
	if !path.IsAbs(p) || strings.Contains(p, "\x00") {
		return fmt.Errorf("%q is not an absolute path", p)
	}
	return nil
}
