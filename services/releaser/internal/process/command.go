package process

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tagship/tagship/services/releaser/internal/release"
)

// defaultPath is where programs are looked for if the image does not say; what
// container engines use too.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// command is a program to run.
type command struct {
	path string // of the program, on the machine
	args []string
	env  []string
	dir  string
}

// commandOf is how to run the plan from its unpacked image.
func commandOf(p release.Plan, i *image) (command, error) {
	argv := slices.Concat(i.config.Entrypoint, i.config.Cmd)
	if len(argv) == 0 || argv[0] == "" {
		return command{}, &release.Fault{Reason: "the image has no entrypoint"}
	}
	env := environment(p, i)
	workdir := path.Join("/", i.config.WorkingDir)
	program, err := find(i.root, argv[0], workdir, env["PATH"])
	if err != nil {
		return command{}, err
	}
	dir := filepath.Join(i.root, filepath.FromSlash(workdir))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return command{}, fmt.Errorf("make the working directory: %w", err)
	}
	c := command{path: program, args: argv, dir: dir}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		c.env = append(c.env, name+"="+env[name])
	}
	return c, nil
}

func environment(p release.Plan, i *image) map[string]string {
	env := map[string]string{"PATH": defaultPath}
	for _, entry := range i.config.Env {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	maps.Copy(env, p.Environment())
	env["TAGSHIP_ROOT"] = i.root
	return env
}

// find resolves the entrypoint inside the unpacked image.
func find(root, program, workdir, searchPath string) (string, error) {
	var candidates []string
	switch {
	case path.IsAbs(program):
		candidates = []string{program}
	case strings.Contains(program, "/"):
		candidates = []string{path.Join(workdir, program)}
	default:
		for _, dir := range strings.Split(searchPath, ":") {
			candidates = append(candidates, path.Join("/", dir, program))
		}
	}
	realRoot, err := filepath.EvalSymlinks(root)
	if err != nil {
		return "", fmt.Errorf("find the entrypoint: %w", err)
	}
	for _, candidate := range candidates {
		found, err := filepath.EvalSymlinks(filepath.Join(realRoot, filepath.FromSlash(candidate)))
		if err != nil {
			continue
		}
		info, err := os.Stat(found)
		if err == nil && info.Mode().IsRegular() && strings.HasPrefix(found, realRoot+string(filepath.Separator)) {
			return found, nil
		}
	}
	return "", &release.Fault{Reason: fmt.Sprintf("the entrypoint %s is not in the image", program)}
}
