package host_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tagship/tagship/services/builder/internal/build"
	"github.com/tagship/tagship/services/builder/internal/buildtest"
	"github.com/tagship/tagship/services/builder/internal/host"
)

func TestCompiles(t *testing.T) {
	t.Parallel()
	var log buildtest.Log
	recipe := buildtest.Recipe()
	job := buildtest.Job(t, &log, buildtest.Program(), []string{"out/web"}, recipe.Build.Run...)
	toolchain, err := (&host.Executor{Homes: t.TempDir()}).Run(t.Context(), job)
	if err != nil || toolchain != "" {
		t.Fatalf("toolchain %q, error %v; output:\n%s", toolchain, err, log.String())
	}
	printed, err := exec.CommandContext(t.Context(), filepath.Join(job.Tree.Name(), "out/web")).CombinedOutput()
	if err != nil || string(printed) != "web v1.2.3\n" {
		t.Errorf("the program printed %q, error %v", printed, err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("BUILDERS_OWN", "must not be seen")
	var log buildtest.Log
	homes := t.TempDir()
	job := buildtest.Job(t, &log, nil, nil, `env`, `touch "$HOME/kept"`, `X=1 env | grep ^X= && cd / && pwd`, `pwd`)
	executor := &host.Executor{Homes: homes}
	for range 2 {
		if _, err := executor.Run(t.Context(), job); err != nil {
			t.Fatalf("%v; output:\n%s", err, log.String())
		}
	}
	for _, want := range []string{"TAGSHIP_VERSION=v1.2.3\n", "TAGSHIP_APP=web\n", "HOME=" + homes, "\nX=1\n/\n", "+ pwd\n" + job.Tree.Name() + "\n"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "BUILDERS_OWN") {
		t.Errorf("a command saw the builder's own environment:\n%s", log.String())
	}
	if kept, err := filepath.Glob(filepath.Join(homes, "*", "kept")); err != nil || len(kept) != 1 {
		t.Errorf("kept files %q, error %v, expected one", kept, err)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		command, want string
		timeout       time.Duration
	}{
		"exit code":         {`sh -c "exit 3"`, "exited with 3", 0},
		"exit code, shell":  {`true && exit 4`, "exited with 4", 0},
		"signal":            {`sh -c 'kill -9 $$'`, "killed", 0},
		"unknown program":   {`no-such-program --flag`, "no-such-program is not in the builder's PATH", 0},
		"missing script":    {`./configure`, "cannot be executed", 0},
		"not executable":    {`./data`, "cannot be executed", 0},
		"broken command":    {`go build "`, "is not valid", 0},
		"timeout":           {`sleep 600`, "longer than the recipe's timeout of 300ms", 300 * time.Millisecond},
		"first one decides": {`false`, "exited with 1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log buildtest.Log
			job := buildtest.Job(t, &log, map[string]string{"data": "x"}, nil, test.command, `echo not reached`)
			if test.timeout > 0 {
				job.Timeout = test.timeout
			}
			_, err := (&host.Executor{Homes: t.TempDir()}).Run(t.Context(), job)
			var failure *build.Failure
			if !errors.As(err, &failure) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, expected a failure with %q", err, test.want)
			}
			if strings.Contains(log.String(), "not reached") {
				t.Errorf("the second command ran:\n%s", log.String())
			}
		})
	}
}

// pidIn waits until a command has written its process id.
func pidIn(t *testing.T, path string) int {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		text, err := os.ReadFile(path)
		if pid, convErr := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && convErr == nil {
			return pid
		}
		if time.Now().After(deadline) {
			t.Fatalf("no process id in %s: %q, %v", path, text, err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func gone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for syscall.Kill(pid, 0) == nil {
		if state, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat")); err == nil && strings.Contains(string(state), ") Z ") {
			return // dead, and not yet collected by whoever inherited it
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still there", pid)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestCancelStopsEveryProcess(t *testing.T) {
	t.Parallel()
	var log buildtest.Log
	job := buildtest.Job(t, &log, nil, nil, `setsid sh -c 'echo $$ >escaped; sleep 600' & sh -c 'echo $$ >child; sleep 600' & wait`)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	ended := make(chan error, 1)
	go func() {
		_, err := (&host.Executor{Homes: t.TempDir()}).Run(ctx, job)
		ended <- err
	}()
	child, escaped := pidIn(t, filepath.Join(job.Tree.Name(), "child")), pidIn(t, filepath.Join(job.Tree.Name(), "escaped"))
	cancel(stop)
	if err := <-ended; !errors.Is(err, stop) {
		t.Errorf("error is %v, expected the cause of the cancellation", err)
	}
	gone(t, child)
	gone(t, escaped)
}

func TestLeftoversOfAKilledBuilder(t *testing.T) {
	t.Parallel()
	var log buildtest.Log
	job := buildtest.Job(t, &log, nil, nil, `true`)
	left := exec.CommandContext(t.Context(), "sleep", "600")
	left.Env = []string{"TAGSHIP_TREE=" + job.Tree.Name()}
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := (&host.Executor{Homes: t.TempDir()}).Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := left.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Errorf("the leftover ended with %v, expected it to be killed", err)
	}
}

func TestWhatACommandLeavesBehindDoesNotHoldTheBuild(t *testing.T) {
	t.Parallel()
	var log buildtest.Log
	job := buildtest.Job(t, &log, nil, nil, `sh -c 'echo $$ >daemon; exec sleep 600' & while ! [ -s daemon ]; do sleep 0.01; done`)
	if _, err := (&host.Executor{Homes: t.TempDir()}).Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	gone(t, pidIn(t, filepath.Join(job.Tree.Name(), "daemon")))
}
