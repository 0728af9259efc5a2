package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tagship/tagship/events/eventstest"
)

// repository is an app's git repository.
type repository struct {
	t   *testing.T
	app string
	dir string
}

// newRepository makes a repository with the sources of an app on its main branch.
func newRepository(t *testing.T, dir, app string, recipe recipe) *repository {
	t.Helper()
	r := &repository{t: t, app: app, dir: filepath.Join(dir, app+".repo")}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.git("init", "--quiet", "--initial-branch=main")
	r.write(".tagship.yaml", recipe.yaml(app))
	r.write("mode", "healthy")
	r.git("add", "--all")
	r.git("commit", "--quiet", "--message", "The first version")
	return r
}

// recipe says what an app is made of.
type recipe struct {
	toolchain string // the image to build in; empty for on the host
	image     bool   // it has an image, and is released
	packages  bool
	health    string // more settings of deploy.health
}

func (r recipe) yaml(app string) string {
	builder := filepath.Join(programs, "app")
	if r.toolchain != "" {
		builder = "/app"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "build:\n  run: %s build\n", builder)
	if r.toolchain != "" {
		fmt.Fprintf(&b, "  toolchain: %s\n", r.toolchain)
	}
	if r.image {
		health := r.health
		if health == "" {
			health = "within: 30s, soak: 200ms"
		}
		fmt.Fprintf(&b, `image:
  layers:
    - {name: runtime, copy: {out/app: /srv/app}}
    - {name: app, copy: {out/says: /srv/says, out/mode: /srv/mode}}
  entrypoint: [/srv/app]
deploy:
  instances: 2
  port: 8080
  health: {http: /healthz, %s}
  stop_grace: 2s
`, health)
	}
	if r.packages {
		fmt.Fprintf(&b, "packages:\n  - {file: \"out/%s-one-{version}.bin\"}\n  - {file: \"out/%s-two-{version}.bin\"}\n", app, app)
	}
	return b.String()
}

// packageContent is what "app build" puts into a package.
func packageContent(app, version, part string) string {
	return strings.Repeat(fmt.Sprintf("%s %s %s\n", app, version, part), 1<<16)
}

func (r *repository) write(name, content string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// tag makes a version of the sources as they are, with a commit of its own.
func (r *repository) tag(version string) {
	r.t.Helper()
	r.git("add", "--all")
	r.git("commit", "--quiet", "--allow-empty", "--message", "Version "+version)
	r.git("tag", version)
}

// git runs git whatever the user's own configuration says.
func (r *repository) git(args ...string) {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(),
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Test", "GIT_AUTHOR_EMAIL=test@example.com",
		"GIT_COMMITTER_NAME=Test", "GIT_COMMITTER_EMAIL=test@example.com")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// gate makes versions from here on wait in their build until the gate is opened.
func (r *repository) gate() *gate {
	r.t.Helper()
	g := &gate{t: r.t, path: filepath.Join(r.dir+".gate", "closed")}
	if err := os.MkdirAll(filepath.Dir(g.path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(g.path, nil, 0o644); err != nil {
		r.t.Fatal(err)
	}
	r.write("gate", g.path)
	return g
}

// gate is where a build waits.
type gate struct {
	t    *testing.T
	path string
}

// reached waits until a build waits at the gate.
func (g *gate) reached() {
	g.t.Helper()
	eventstest.Eventually(g.t, func() error {
		_, err := os.Stat(g.path + ".reached")
		return err
	})
}

// again forgets the build that waits.
func (g *gate) again() {
	g.t.Helper()
	if err := os.Remove(g.path + ".reached"); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gate) open() {
	g.t.Helper()
	if err := os.Remove(g.path); err != nil {
		g.t.Fatal(err)
	}
}
