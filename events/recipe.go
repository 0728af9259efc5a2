package events

import (
	"errors"
	"fmt"
	"path"
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
func (r *Recipe) Validate() error {
	var c fieldChecks
	c.forbid("build.run", len(r.Build.Run) == 0, "is missing, expected the command that compiles the app")
	for i, command := range r.Build.Run {
		c.forbid(fmt.Sprintf("build.run[%d]", i), strings.TrimSpace(command) == "", "is empty")
	}
	for i, folder := range r.Build.Cache {
		c.check(fmt.Sprintf("build.cache[%d]", i), absolute(folder))
	}
	c.forbid("image", r.Image == nil && len(r.Packages) == 0, "is missing, and so are packages: there would be nothing to ship")
	c.forbid("deploy", r.Deploy != nil && r.Image == nil, "needs an image")
	if r.Image != nil {
		r.Image.validate(&c)
	}
	for i, p := range r.Packages {
		p.validate(&c, fmt.Sprintf("packages[%d]", i))
	}
	if r.Deploy != nil {
		c.check("deploy", r.Deploy.Validate())
	}
	return c.err()
}

// Check lets a reader of configuration files report Validate's problems at the lines they stand on.
func (r *Recipe) Check() error { return r.Validate() }

func (i *RecipeImage) validate(c *fieldChecks) {
	c.forbid("image.layers", len(i.Layers) == 0, "is empty, expected at least one layer")
	c.forbid("image.entrypoint", len(i.Entrypoint) == 0 || i.Entrypoint[0] == "", "is missing, expected the program to run")
	names := map[string]bool{}
	for n, layer := range i.Layers {
		field := fmt.Sprintf("image.layers[%d]", n)
		c.require(field+".name", layer.Name)
		c.forbid(field+".name", names[layer.Name], "%q is the name of an earlier layer too", layer.Name)
		names[layer.Name] = true
		c.forbid(field+".copy", len(layer.Copy) == 0, "is empty, expected from: to")
		checkCopies(c, field+".copy", layer.Copy)
	}
}

func (p *RecipePackage) validate(c *fieldChecks, field string) {
	c.forbid(field, (p.File == "") == (p.Deb == nil), "must have exactly one of file and deb")
	if p.File != "" {
		c.check(field+".file", inside(p.File))
	}
	if p.Deb != nil {
		c.require(field+".deb.name", p.Deb.Name)
		c.forbid(field+".deb.contents", len(p.Deb.Contents) == 0, "is empty, expected from: to")
		checkCopies(c, field+".deb.contents", p.Deb.Contents)
	}
}

// Validate reports every problem of how an app is to run.
func (d *Deploy) Validate() error {
	var c fieldChecks
	c.forbid("instances", d.Instances < 1 || d.Instances > 1000, "is %d, expected 1 to 1000", d.Instances)
	c.forbid("port", d.Port < 0 || d.Port > 65535, "is %d, expected a port", d.Port)
	c.forbid("health.http", d.Health.HTTP != "" && !strings.HasPrefix(d.Health.HTTP, "/"), "%q is not a path, expected one such as /healthz", d.Health.HTTP)
	c.forbid("health.http", d.Health.HTTP != "" && d.Port == 0, "needs deploy.port")
	c.forbid("health.within", d.Health.Within <= 0, "is missing, expected a duration such as 60s")
	return c.err()
}

func checkCopies(c *fieldChecks, field string, copies map[string]string) {
	for from, to := range copies {
		c.check(field, inside(from))
		c.check(field, absolute(to))
	}
}

// inside refuses paths that lead out of the source.
func inside(p string) error {
	clean := path.Clean(p)
	if p == "" || path.IsAbs(p) || clean == ".." || strings.HasPrefix(clean, "../") {
		return fmt.Errorf("%q is not a path inside the source", p)
	}
	return nil
}

func absolute(p string) error {
	if !path.IsAbs(p) {
		return fmt.Errorf("%q is not an absolute path", p)
	}
	if strings.Contains(p, "\x00") {
		return errors.New("contains a zero byte")
	}
	return nil
}
