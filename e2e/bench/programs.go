package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	idle        = 5 * time.Second // from readiness to the look at the memory
	starts      = 5
	startGoal   = time.Second
	serviceGoal = 30 // MiB
	upGoal      = 120
	mebi        = 1 << 20
)

// measurePrograms takes the memory of the finished programs when they are idle,
// and the time that `tagship up` takes to start on an empty folder.
func measurePrograms(ctx context.Context, b *bench) error {
	bin, err := b.folder("bin")
	if err != nil {
		return err
	}
	fmt.Fprintln(b.log, "  building the programs")
	programs := []string{"cmd/tagship"}
	for _, s := range services() {
		programs = append(programs, "services/"+s+"/cmd/"+s)
	}
	if err := buildPrograms(ctx, bin, programs...); err != nil {
		return err
	}
	if err := measureServices(ctx, b, bin); err != nil {
		return err
	}
	return measureUp(ctx, b, bin)
}

func services() []string { return []string{"tagwatch", "builder", "releaser", "cdnpush"} }

// buildPrograms builds programs, which are named by their folders in the repository.
func buildPrograms(ctx context.Context, to string, programs ...string) error {
	// Without debug information linking takes half the time, and none of it is ever in memory.
	args := []string{"build", "-ldflags=-w", "-o", to + "/"}
	for _, program := range programs {
		args = append(args, "github.com/tagship/tagship/"+program)
	}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs (run this from the repository): %w\n%s", err, out)
	}
	return nil
}

// installation is a folder with a small configuration.
type installation struct {
	dir    string
	config string
}

// install writes a configuration with one of everything.
func install(ctx context.Context, b *bench, nats string) (*installation, error) {
	dir, err := b.folder("installation")
	if err != nil {
		return nil, err
	}
	repo := filepath.Join(dir, "web.git")
	if out, err := exec.CommandContext(ctx, "git", "init", "--quiet", "--bare", repo).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make a repository: %w\n%s", err, out)
	}
	registry, err := freePort()
	if err != nil {
		return nil, err
	}
	downloads, err := freePort()
	if err != nil {
		return nil, err
	}
	i := &installation{dir: dir, config: filepath.Join(dir, "tagship.yaml")}
	return i, os.WriteFile(i.config, fmt.Appendf(nil, `nats: {url: %q}
tagwatch:
  apps:
    web: {repo: %q}
builder:
  registry: 127.0.0.1:%d
  executor: host
releaser:
  environments:
    dev: {target: {process: {}}, promote: {from: build}}
cdnpush:
  channels:
    beta: {store: {folder: {path: %q, listen: "127.0.0.1:%d"}}, promote: {from: build}}
`, nats, repo, registry, filepath.Join(dir, "cdn"), downloads), 0o600)
}

// start starts a program on the installation.
func (i *installation) start(ctx context.Context, program string, args ...string) (*process, error) {
	p := &process{name: filepath.Base(program), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, program, append(args, "--config", i.config)...)
	p.cmd.Dir = i.dir
	p.cmd.Stderr = &p.output
	p.cmd.WaitDelay = time.Second
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		defer close(p.ended)
		// How it ended is in ProcessState.
		_ = p.cmd.Wait()
	}()
	return p, nil
}

// process is a running program.
type process struct {
	name   string
	cmd    *exec.Cmd
	began  time.Time
	output strings.Builder // complete once it has ended
	ended  chan struct{}
}

// until waits until the program is ready.
func (p *process) until(ctx context.Context, ready func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended (%v) before it was ready: %s", p.name, p.cmd.ProcessState, p.output.String())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s not ready within %s: %w", p.name, patience, err)
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s did not end within %s", p.name, patience), p.cmd.Process.Kill())
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s ended with %v: %s", p.name, p.cmd.ProcessState, p.output.String())
	}
	return nil
}

func measureServices(ctx context.Context, b *bench, bin string) (err error) {
	s, err := b.startNATS(ctx, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	i, err := install(ctx, b, s.url)
	if err != nil {
		return err
	}
	var running []*process
	defer func() {
		for _, p := range running {
			err = errors.Join(err, p.stop())
		}
	}()
	for _, name := range services() {
		port, err := freePort()
		if err != nil {
			return err
		}
		listen := fmt.Sprintf("127.0.0.1:%d", port)
		p, err := i.start(ctx, filepath.Join(bin, name), "--data", filepath.Join(i.dir, name), "--listen", listen)
		if err != nil {
			return err
		}
		running = append(running, p)
		if err := p.until(ctx, func() error { return askReady(ctx, "http://"+listen+"/readyz") }); err != nil {
			return err
		}
	}
	if err := wait(ctx, idle); err != nil {
		return err
	}
	for _, p := range running {
		r, err := memoryRow(p, p.name, serviceGoal)
		if err != nil {
			return err
		}
		b.report.add(r)
	}
	return nil
}

func measureUp(ctx context.Context, b *bench, bin string) error {
	var took []time.Duration
	var memory row
	for n := range starts {
		port, err := freePort()
		if err != nil {
			return err
		}
		i, err := install(ctx, b, fmt.Sprintf("nats://127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		data := filepath.Join(i.dir, "data")
		p, err := i.start(ctx, filepath.Join(bin, "tagship"), "up", "--data", data)
		if err != nil {
			return err
		}
		err = p.until(ctx, func() error {
			_, err := os.Stat(filepath.Join(data, "run.json"))
			return err
		})
		took = append(took, time.Since(p.began))
		if n == starts-1 && err == nil {
			if err = wait(ctx, idle); err == nil {
				memory, err = memoryRow(p, "tagship up", upGoal)
			}
		}
		if err := errors.Join(err, p.stop()); err != nil {
			return err
		}
	}
	middle := median(took)
	b.report.add(memory, row{
		what: "tagship up on an empty folder, until ready", measured: milliseconds(middle),
		beside: "slowest of " + strconv.Itoa(starts) + ": " + milliseconds(percentile(took, 100)),
		goal:   "< " + milliseconds(startGoal), met: middle < startGoal,
	})
	return nil
}

// memoryRow reads what a process has in memory. Pages of the program's file are
// part of it, which the system takes back when it needs them.
func memoryRow(p *process, what string, goal int) (row, error) {
	mib, err := memoryOf(p)
	return row{
		what: what + ", resident memory when idle", measured: fmt.Sprintf("%.1f MiB", mib["VmRSS"]), beside: memoryText(mib),
		goal: fmt.Sprintf("< %d MiB", goal), met: mib["VmRSS"] < float64(goal),
	}, err
}

func memoryText(mib map[string]float64) string {
	return fmt.Sprintf("own %.1f, of files %.1f, at most %.1f", mib["RssAnon"], mib["RssFile"], mib["VmHWM"])
}

// memoryOf is what Linux tells of a process's memory, in MiB, by the names of
// proc_pid_status(5).
func memoryOf(p *process) (map[string]float64, error) {
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return nil, fmt.Errorf("read the memory of %s, which needs Linux: %w", p.name, err)
	}
	defer status.Close()
	mib := map[string]float64{}
	lines := bufio.NewScanner(status)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[2] == "kB" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return nil, fmt.Errorf("read the memory of %s: %w", p.name, err)
			}
			mib[strings.TrimSuffix(fields[0], ":")] = kib * 1024 / mebi
		}
	}
	return mib, lines.Err()
}

func askReady(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	client := &http.Client{Timeout: time.Second}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
