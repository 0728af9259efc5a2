// Package repository checks what the modules of the repository have in common.
package repository_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// module is what "go mod edit -json" tells of a go.mod.
type module struct {
	dir     string // relative to the root
	Module  struct{ Path string }
	Go      string
	Require []struct {
		Path, Version string
		Indirect      bool
	}
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
}

const prefix = "github.com/tagship/tagship/"

// modules finds every go.mod of the repository.
func modules(t *testing.T) []module {
	t.Helper()
	var all []module
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || path != root && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".."):
			return fs.SkipDir
		case entry.Name() != "go.mod":
			return nil
		}
		m := module{}
		run(t, filepath.Dir(path), &m, "go", "mod", "edit", "-json")
		if m.dir, err = filepath.Rel(root, filepath.Dir(path)); err != nil {
			return err
		}
		all = append(all, m)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("there is no module")
	}
	return all
}

// run runs a program and decodes its output, if into is not nil.
func run(t *testing.T, dir string, into any, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("in %s: %s %s: %v\n%s%s", dir, name, strings.Join(args, " "), err, out, problems.String())
		return
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("in %s: %s: %v", dir, name, err)
	}
}

// A module's path is its folder, so that everyone finds it.
func TestModulePaths(t *testing.T) {
	t.Parallel()
	for _, m := range modules(t) {
		if want := prefix + filepath.ToSlash(m.dir); m.Module.Path != want {
			t.Errorf("module in %s is called %s, want %s", m.dir, m.Module.Path, want)
		}
	}
}

// go.work lists every module, so that "go test work" leaves none out.
func TestWorkspaceListsEveryModule(t *testing.T) {
	t.Parallel()
	var work struct {
		Use []struct{ DiskPath string }
	}
	run(t, root, &work, "go", "work", "edit", "-json", "go.work")
	var listed, there []string
	for _, use := range work.Use {
		listed = append(listed, filepath.Clean(use.DiskPath))
	}
	for _, m := range modules(t) {
		there = append(there, m.dir)
	}
	slices.Sort(listed)
	slices.Sort(there)
	if diff := cmp.Diff(there, listed); diff != "" {
		t.Errorf("modules that are there (-) and listed in go.work (+):\n%s", diff)
	}
}

// One Go version, and one version of every direct dependency.
func TestVersionsAgree(t *testing.T) {
	t.Parallel()
	var work struct{ Go string }
	run(t, root, &work, "go", "work", "edit", "-json", "go.work")
	versions := map[string]map[string][]string{} // module path, its version, who requires it
	for _, m := range modules(t) {
		if m.Go != work.Go {
			t.Errorf("%s/go.mod says go %s, go.work says go %s", m.dir, m.Go, work.Go)
		}
		for _, r := range m.Require {
			if r.Indirect || strings.HasPrefix(r.Path, prefix) {
				continue
			}
			if versions[r.Path] == nil {
				versions[r.Path] = map[string][]string{}
			}
			versions[r.Path][r.Version] = append(versions[r.Path][r.Version], m.dir)
		}
	}
	for path, by := range versions {
		if len(by) > 1 {
			t.Errorf("%s is required in several versions: %v", path, by)
		}
	}
}

// Modules of the repository are never downloaded: each is replaced by its folder.
func TestLocalModulesAreReplaced(t *testing.T) {
	t.Parallel()
	for _, m := range modules(t) {
		replaced := map[string]string{}
		for _, r := range m.Replace {
			replaced[r.Old.Path] = r.New.Path
		}
		for _, r := range m.Require {
			folder, local := strings.CutPrefix(r.Path, prefix)
			if !local {
				continue
			}
			want, err := filepath.Rel(m.dir, folder)
			if err != nil {
				t.Fatal(err)
			}
			if replaced[r.Path] != want {
				t.Errorf("%s/go.mod replaces %s with %q, want %q", m.dir, r.Path, replaced[r.Path], want)
			}
		}
	}
}

// go.mod and go.sum say what the code needs, without the workspace too.
func TestModulesAreTidy(t *testing.T) {
	t.Parallel()
	for _, m := range modules(t) {
		t.Run(m.dir, func(t *testing.T) {
			t.Parallel()
			run(t, filepath.Join(root, m.dir), nil, "go", "mod", "tidy", "-diff")
		})
	}
}
