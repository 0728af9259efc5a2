package demo

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// The files of the two repositories. Each has .txt behind its real name, so that
// Go does not take them for its own.
//
//go:embed all:sample
var sample embed.FS

// repository is a git repository made for the demonstration.
type repository struct{ dir string }

// newRepository makes a repository with one commit of a sample app.
func newRepository(ctx context.Context, dir, app string) (*repository, error) {
	r := &repository{dir: dir}
	if err := copySample(dir, path.Join("sample", app)); err != nil {
		return nil, fmt.Errorf("write the sample app %s: %w", app, err)
	}
	if err := r.git(ctx, "init", "--quiet", "--initial-branch=main"); err != nil {
		return nil, err
	}
	return r, r.commit(ctx, "The first version")
}

func copySample(to, from string) error {
	return fs.WalkDir(sample, from, func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, filepath.FromSlash(strings.TrimPrefix(strings.TrimSuffix(p, ".txt"), from)))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		content, err := sample.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o644)
	})
}

func (r *repository) commit(ctx context.Context, message string) error {
	if err := r.git(ctx, "add", "--all"); err != nil {
		return err
	}
	return r.git(ctx, "commit", "--quiet", "--allow-empty", "--message", message)
}

func (r *repository) tag(ctx context.Context, tag string) error { return r.git(ctx, "tag", tag) }

// git runs git whatever the user's own configuration says.
func (r *repository) git(ctx context.Context, args ...string) error {
	command := exec.CommandContext(ctx, "git", args...)
	command.Dir = r.dir
	command.Env = append(os.Environ(),
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Tagship", "GIT_AUTHOR_EMAIL=demo@example.com",
		"GIT_COMMITTER_NAME=Tagship", "GIT_COMMITTER_EMAIL=demo@example.com")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
