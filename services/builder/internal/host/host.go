// Package host compiles on the machine that the builder runs on. It keeps
// builds apart from each other's files by folder and environment only, so it is
// for trusted code.
package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tagship/tagship/services/builder/internal/build"
	"github.com/tagship/tagship/services/builder/internal/command"
)

// treeVariable marks every process of a build, so that those that outlive it are found.
const treeVariable = "TAGSHIP_TREE"

// pipeDelay is how long a command's output is read after the command ended: a
// process it left behind may hold the output open for ever.
const pipeDelay = 5 * time.Second

// Executor runs commands as processes of this machine. It may be used by several
// goroutines, for different versions.
type Executor struct {
	// Homes is where every app has a home folder that outlives its builds, for caches.
	Homes string
}

var _ build.Executor = (*Executor)(nil)

// Name implements [build.Executor].
func (*Executor) Name() string { return "host" }

// Run implements [build.Executor]. There is no toolchain image, so the job's
// toolchain and cache folders mean nothing here.
func (e *Executor) Run(ctx context.Context, job build.Job) (string, error) {
	dir, err := filepath.Abs(job.Tree.Name())
	if err != nil {
		return "", fmt.Errorf("find folder of the source: %w", err)
	}
	killMarked(dir)
	defer killMarked(dir)
	env, err := e.env(job, dir)
	if err != nil {
		return "", err
	}
	ctx, cancel := job.Limit(ctx)
	defer cancel()
	for _, line := range job.Commands {
		if err := run(ctx, line, dir, env, job); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (e *Executor) env(job build.Job, dir string) (map[string]string, error) {
	sum := sha256.Sum256([]byte(job.App))
	home, err := filepath.Abs(filepath.Join(e.Homes, hex.EncodeToString(sum[:8])))
	if err != nil {
		return nil, fmt.Errorf("find home folder: %w", err)
	}
	temp := dir + ".tmp" // beside the tree, to be removed with it
	if err := errors.Join(os.MkdirAll(home, 0o700), os.MkdirAll(temp, 0o700)); err != nil {
		return nil, fmt.Errorf("make folders of the build: %w", err)
	}
	env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": home, "TMPDIR": temp, "LANG": "C.UTF-8"}
	maps.Copy(env, job.Env)
	env[treeVariable] = dir
	return env, nil
}

func run(ctx context.Context, line, dir string, env map[string]string, job build.Job) error {
	program, _, err := command.Parse(line, env)
	if err != nil {
		return build.Failf("%v", err)
	}
	file, err := find(program.Args[0], env["PATH"])
	if err != nil {
		return build.Failf("command %q: %v", line, err)
	}
	if _, err := fmt.Fprintf(job.Log, "+ %s\n", line); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	cmd := exec.CommandContext(ctx, file, program.Args[1:]...)
	cmd.Args[0] = program.Args[0]
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, job.Log, job.Log
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	cmd.Env = append(cmd.Env, program.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeDelay
	return outcome(ctx, line, cmd.Run())
}

func outcome(ctx context.Context, line string, err error) error {
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var exit *exec.ExitError
	switch {
	case !errors.As(err, &exit):
		var errno syscall.Errno
		if errors.As(err, &errno) && slices.Contains([]syscall.Errno{syscall.ENOEXEC, syscall.EACCES, syscall.ENOENT, syscall.E2BIG, syscall.ENOTDIR}, errno) {
			return build.Failf("command %q cannot be executed: %v", line, errno)
		}
		return fmt.Errorf("run command %q: %w", line, err)
	case exit.Exited():
		return build.Failf("command %q exited with %d", line, exit.ExitCode())
	}
	return build.Failf("command %q ended by %s", line, exit.ProcessState)
}

// find looks a program up in the build's PATH, which may be another than the builder's.
func find(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil // relative to the tree, where the command starts
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && filepath.IsAbs(file) && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is not in the builder's PATH %s", name, path)
}
