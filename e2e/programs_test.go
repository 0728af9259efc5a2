// Package e2e_test drives the finished programs as their users do: real
// processes, git repositories, NATS, registries and Docker. What it knows of
// their inside is the record, which it reads as the contract says.
package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tagship/tagship/events/eventstest"
)

// programs is the folder with the programs under test, and app.
var programs string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		// The tests wait much more than they work.
		if err := flag.Set("test.parallel", "6"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "tagship-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	programs = dir
	if err := buildPrograms(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// buildPrograms builds each program as its own module has it.
func buildPrograms(to string) error {
	modules := map[string]string{"../cmd/tagship": "."}
	for _, service := range services() {
		modules["../services/"+service] = "./cmd/" + service
	}
	var built sync.WaitGroup
	problems := make(chan error, len(modules)+1)
	build := func(module, pkg string, env ...string) {
		built.Go(func() {
			// Stripped, they are linked and loaded in half the time.
			cmd := exec.Command("go", "build", "-C", module, "-ldflags=-s -w", "-o", to+"/", pkg)
			cmd.Env = append(os.Environ(), env...)
			if out, err := cmd.CombinedOutput(); err != nil {
				problems <- fmt.Errorf("build %s: %w\n%s", module, err, out)
			}
		})
	}
	for module, pkg := range modules {
		build(module, pkg, "GOWORK=off")
	}
	build(".", "./internal/cmd/app", "CGO_ENABLED=0")
	built.Wait()
	close(problems)
	var all []error
	for err := range problems {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func services() []string { return []string{"tagwatch", "builder", "releaser", "cdnpush"} }

// program is a running program.
type program struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	output output
	ended  chan struct{} // closed when it has ended
}

// start starts a program in a folder. It ends with the test at the latest; what
// it wrote is shown if the test fails.
func start(t *testing.T, dir string, env []string, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, name: name, ended: make(chan struct{})}
	p.cmd = exec.Command(filepath.Join(programs, name), args...)
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.WaitDelay = 5 * time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		defer close(p.ended)
		// How it ended is in ProcessState.
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s %s (%v) wrote at last:\n%s", name, strings.Join(args, " "), p.cmd.ProcessState, p.output.tail())
		}
	})
	return p
}

// kill ends the program by SIGKILL, if it still runs.
func (p *program) kill() {
	// It may have just ended.
	_ = p.cmd.Process.Kill()
	<-p.ended
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("send %s %v: %v\n%s", p.name, s, err, p.output.tail())
	}
}

func (p *program) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// exited waits until the program ends by itself, and returns its exit code, -1
// for a signal.
func (p *program) exited(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		p.t.Fatalf("%s did not end within %s:\n%s", p.name, within, p.output.tail())
	}
	return p.cmd.ProcessState.ExitCode()
}

// crashed waits until the program was killed at the point it was told to.
func (p *program) crashed() {
	p.t.Helper()
	if code := p.exited(eventstest.Patience); code != -1 {
		p.t.Fatalf("%s exited with %d, expected that it is killed:\n%s", p.name, code, p.output.tail())
	}
}

// stop asks the program to stop, and expects that it does so in time and well.
func (p *program) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.exited(30 * time.Second); code != 0 {
		p.t.Fatalf("%s exited with %d after SIGTERM:\n%s", p.name, code, p.output.tail())
	}
}

// tagship runs a command to its end.
func tagship(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runProgram(t, dir, "tagship", args...)
}

func runProgram(t *testing.T, dir, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventstest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs, name), args...)
	cmd.Dir = dir
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s %s: %v", name, strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %s did not end within %s:\n%s%s", name, strings.Join(args, " "), eventstest.Patience, out.String(), problems.String())
	}
	return cmd.ProcessState.ExitCode(), out.String(), problems.String()
}

// output collects what a program writes.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// tail is the end of the output.
func (o *output) tail() string {
	const most = 12 << 10
	s := o.String()
	return s[max(0, len(s)-most):]
}
